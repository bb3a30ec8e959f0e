-- finds: public.orders.writes error
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
create policy writes on orders for insert with check (1 = 1);
--- fixed
create policy writes on orders for insert with check (tenant_id = (select nullif(current_setting('app.tenant', true), '')::uuid));
