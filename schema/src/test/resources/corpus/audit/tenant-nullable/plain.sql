-- finds: public.orders.tenant_id error
-- page
create table orders (id bigint generated always as identity primary key, tenant_id uuid references tenants);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
select 1;
--- fixed
alter table orders alter tenant_id set not null;
