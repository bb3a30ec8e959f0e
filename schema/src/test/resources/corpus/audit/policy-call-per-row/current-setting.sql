-- finds: public.orders.tenant_rows note
-- page
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
alter policy tenant_rows on orders using (tenant_id = nullif(current_setting('app.tenant', true), '')::uuid);
--- fixed
alter policy tenant_rows on orders using (tenant_id = (select nullif(current_setting('app.tenant', true), '')::uuid));
