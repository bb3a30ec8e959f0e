-- finds: public.lines.tenant_id warning
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, unique (tenant_id, id));
select pg_temp.guard('orders');
create table lines (id bigint generated always as identity primary key, tenant_id uuid not null, order_id bigint, foreign key (tenant_id, order_id) references orders (tenant_id, id));
create index on lines (tenant_id);
select pg_temp.guard('lines');
--- fault
select 1;
--- fixed
alter table lines alter order_id set not null;
