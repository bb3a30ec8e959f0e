-- finds: public.orders.tenant_id warning
create table users (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
create index on users (tenant_id);
select pg_temp.guard('users');
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
select 1;
--- fixed
alter table orders add foreign key (tenant_id) references tenants;
