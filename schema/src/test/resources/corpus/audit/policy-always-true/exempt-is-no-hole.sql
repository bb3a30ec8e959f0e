-- finds: public.orders.for_all error
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
create policy for_all on orders for select to corpus_reader using (true);
--- fixed
create policy for_all on orders for select to postgres using (true);
