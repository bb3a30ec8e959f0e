-- finds: public.orders.tenant_id warning
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
select pg_temp.guard('orders');
--- fault
select 1;
--- fixed
create index on orders (tenant_id);
