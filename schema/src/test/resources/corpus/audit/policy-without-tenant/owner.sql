-- finds: public.orders.own error
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, made_by text not null);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
create policy own on orders using (made_by = current_user);
--- fixed
create policy own on orders using (made_by = current_user and tenant_id = (select nullif(current_setting('app.tenant', true), '')::uuid));
