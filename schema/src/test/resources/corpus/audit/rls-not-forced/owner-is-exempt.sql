-- finds: public.orders note
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
alter table orders no force row level security;
--- fixed
select 1;
