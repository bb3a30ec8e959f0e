-- finds: public.order_count() warning
-- page
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
create index on orders (tenant_id);
select pg_temp.guard('orders');
create function order_count() returns bigint language sql stable security definer set search_path = public, pg_temp as $$ select count(*) from orders $$;
--- fault
select 1;
--- fixed
revoke execute on function order_count() from public;
