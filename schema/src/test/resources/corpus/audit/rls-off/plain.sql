-- finds: public.orders error
-- page
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
create index on orders (tenant_id);
--- fault
select 1;
--- fixed
select pg_temp.guard('orders');
