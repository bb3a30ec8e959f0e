-- finds: public.orders.published error
-- page
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, status text not null);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
create policy published on orders for select using (status = 'published');
--- fixed
create policy published on orders as restrictive for select using (status = 'published');
