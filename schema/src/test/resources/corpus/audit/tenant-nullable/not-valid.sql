-- finds: public.orders.tenant_id error
-- server: 18
create table orders (id bigint generated always as identity primary key, tenant_id uuid references tenants);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
alter table orders add constraint orders_tenant_not_null not null tenant_id not valid;
--- fixed
alter table orders add constraint orders_tenant_not_null not null tenant_id;
