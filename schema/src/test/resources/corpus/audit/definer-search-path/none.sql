-- finds: public.add_tenant(text) error
--- fault
create function add_tenant(called text) returns void language sql security definer as $$ insert into public.tenants (name) values (called) $$;
revoke execute on function add_tenant(text) from public;
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fixed
create function add_tenant(called text) returns void language sql security definer set search_path = public, pg_temp as $$ insert into public.tenants (name) values (called) $$;
revoke execute on function add_tenant(text) from public;
