-- finds: public.orders.tenant_id warning
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, is_open boolean not null);
select pg_temp.guard('orders');
--- fault
create index on orders (tenant_id) where is_open;
--- fixed
create index on orders (tenant_id, is_open);
