-- finds: public.orders.own error
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
create policy own on orders using (tenant_id = tenant_id);
--- fixed
create policy own on orders for delete using (false);
