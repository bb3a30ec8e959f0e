-- finds: stray.plans warning
--| schemas: [public]
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
create schema stray;
create table stray.plans (id int primary key);
--- fixed
create table plans (id int primary key);
