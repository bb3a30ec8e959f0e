-- finds: public.outer_totals error
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, cents bigint not null);
create index on orders (tenant_id);
select pg_temp.guard('orders');
create view inner_totals with (security_invoker = true) as select tenant_id, sum(cents) as cents from orders group by tenant_id;
--- fault
create view outer_totals as select * from inner_totals;
grant select on outer_totals to corpus_reader;
--- fixed
create view outer_totals with (security_invoker) as select * from inner_totals;
grant select on outer_totals to corpus_reader;
