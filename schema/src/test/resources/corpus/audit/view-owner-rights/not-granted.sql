-- finds: public.order_totals warning
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, cents bigint not null);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
create view order_totals as select tenant_id, sum(cents) as cents from orders group by tenant_id;
--- fixed
create view order_totals as select tenant_id, sum(cents) as cents from orders group by tenant_id;
alter view order_totals owner to corpus_owner;
