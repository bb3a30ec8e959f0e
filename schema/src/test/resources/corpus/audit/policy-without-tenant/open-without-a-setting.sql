-- finds: public.orders.own warning
-- mend: by people
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
create policy own on orders using ((select current_setting('app.tenant', true)) is null or tenant_id = (select nullif(current_setting('app.tenant', true), '')::uuid));
--- fixed
select 1;
