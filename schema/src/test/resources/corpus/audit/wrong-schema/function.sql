-- finds: stray.plan() warning
--| schemas: [public]
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
create schema stray;
create function stray.plan() returns int language sql as 'select 1';
--- fixed
create function plan() returns int language sql as 'select 1';
