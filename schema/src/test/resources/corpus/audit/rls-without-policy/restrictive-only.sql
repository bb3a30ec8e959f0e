-- finds: public.orders warning
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
drop policy tenant_rows on orders;
create policy only_own on orders as restrictive using (tenant_id = (select nullif(current_setting('app.tenant', true), '')::uuid));
--- fixed
create policy only_own on orders as restrictive using (tenant_id = (select nullif(current_setting('app.tenant', true), '')::uuid));
