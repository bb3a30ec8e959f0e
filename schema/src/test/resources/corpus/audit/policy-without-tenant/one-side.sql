-- finds: public.orders.published warning
-- mend: by people
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, is_public boolean not null);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
create policy published on orders for select using (is_public or tenant_id = (select nullif(current_setting('app.tenant', true), '')::uuid));
--- fixed
create policy published on orders for select using ((is_public or id > 0) and tenant_id = (select nullif(current_setting('app.tenant', true), '')::uuid));
