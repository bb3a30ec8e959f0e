-- finds: public.tenant_names() note
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
create function tenant_names() returns setof text language sql security definer set search_path = public as 'select name from tenants';
revoke execute on function tenant_names() from public;
--- fixed
create function tenant_names() returns setof text language sql security definer set search_path = '' as 'select name from public.tenants';
revoke execute on function tenant_names() from public;
