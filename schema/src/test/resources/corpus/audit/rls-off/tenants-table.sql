-- finds: public.tenants error
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
drop policy own_row on tenants;
alter table tenants disable row level security;
--- fixed
select 1;
