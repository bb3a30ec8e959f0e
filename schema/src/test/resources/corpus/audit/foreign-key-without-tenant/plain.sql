-- finds: public.lines.lines_order_id_fkey error
-- page
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
create index on orders (tenant_id);
select pg_temp.guard('orders');
create table lines (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, order_id bigint not null);
create index on lines (tenant_id);
select pg_temp.guard('lines');
--- fault
alter table lines add foreign key (order_id) references orders;
--- fixed
alter table orders add unique (tenant_id, id);
alter table lines add foreign key (tenant_id, order_id) references orders (tenant_id, id);
