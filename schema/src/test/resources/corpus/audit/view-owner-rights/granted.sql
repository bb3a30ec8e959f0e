-- finds: public.order_totals error
-- page
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, cents bigint not null);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
create view order_totals as select tenant_id, sum(cents) as cents from orders group by tenant_id;
grant select on order_totals to corpus_reader;
--- fixed
create view order_totals with (security_invoker = true) as select tenant_id, sum(cents) as cents from orders group by tenant_id;
grant select on order_totals to corpus_reader;
