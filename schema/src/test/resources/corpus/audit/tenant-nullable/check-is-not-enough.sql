-- finds: public.orders.tenant_id error
create table orders (id bigint generated always as identity primary key, tenant_id uuid references tenants);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
alter table orders add constraint orders_tenant_check check (tenant_id is not null) not valid;
--- fixed
alter table orders alter tenant_id set not null;
