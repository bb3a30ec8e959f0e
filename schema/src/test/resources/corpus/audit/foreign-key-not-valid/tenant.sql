-- finds: public.orders.orders_tenant_id_fkey warning
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
alter table orders add foreign key (tenant_id) references tenants not valid;
--- fixed
alter table orders add foreign key (tenant_id) references tenants not valid;
alter table orders validate constraint orders_tenant_id_fkey;
