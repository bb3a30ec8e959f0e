-- finds: public.order_count() warning
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
create function order_count() returns bigint language sql stable security definer set search_path = public, pg_temp begin atomic select count(*) from orders; end;
--- fixed
create function order_count() returns bigint language sql stable begin atomic select count(*) from orders; end;
