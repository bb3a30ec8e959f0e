-- finds: public.orders.own note
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, until date);
create index on orders (tenant_id);
select pg_temp.guard('orders');
create schema "Auth";
create function "Auth".uid() returns uuid language sql stable as 'select null::uuid';
--- fault
create policy own on orders using (tenant_id = "Auth".uid() and until > now()::date);
--- fixed
create policy own on orders using (tenant_id = (select "Auth".uid()) and until > now()::date);
