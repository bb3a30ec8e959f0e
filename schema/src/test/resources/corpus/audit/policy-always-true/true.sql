-- finds: public.orders.for_support error
-- page
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
create policy for_support on orders for select using (true);
--- fixed
create policy for_support on orders for select to corpus_trusted using (true);
