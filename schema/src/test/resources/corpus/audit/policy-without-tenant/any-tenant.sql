-- finds: public.orders.own error
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
create policy own on orders using (tenant_id is not null);
--- fixed
select 1;
