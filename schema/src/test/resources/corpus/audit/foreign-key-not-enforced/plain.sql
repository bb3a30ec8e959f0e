-- finds: public.orders.orders_tenant_id_fkey error
-- server: 18
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
alter table orders add foreign key (tenant_id) references tenants not enforced;
--- fixed
alter table orders add foreign key (tenant_id) references tenants;
