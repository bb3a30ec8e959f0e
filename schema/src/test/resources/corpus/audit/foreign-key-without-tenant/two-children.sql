-- finds: public.invoices.invoices_customer_fkey error
-- finds: public.orders.orders_customer_fkey error
create table customers (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
create index on customers (tenant_id);
select pg_temp.guard('customers');
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, customer bigint);
create index on orders (tenant_id);
select pg_temp.guard('orders');
create table invoices (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, customer bigint);
create index on invoices (tenant_id);
select pg_temp.guard('invoices');
--- fault
alter table orders add foreign key (customer) references customers on update cascade deferrable initially deferred;
alter table invoices add foreign key (customer) references customers;
--- fixed
alter table customers add unique (tenant_id, id);
alter table orders add foreign key (tenant_id, customer) references customers (tenant_id, id);
alter table invoices add foreign key (tenant_id, customer) references customers (tenant_id, id);
