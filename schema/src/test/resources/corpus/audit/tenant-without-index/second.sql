-- finds: public.orders.tenant_id warning
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, at timestamptz);
select pg_temp.guard('orders');
--- fault
create index on orders (at, tenant_id);
--- fixed
create index on orders (tenant_id, at);
