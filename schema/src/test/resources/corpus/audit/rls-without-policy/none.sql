-- finds: public.orders warning
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
drop policy tenant_rows on orders;
--- fixed
select 1;
