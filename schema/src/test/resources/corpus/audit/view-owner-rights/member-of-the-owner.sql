-- finds: public.order_totals error
-- also: rls-not-forced public.orders warning
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, cents bigint not null);
create index on orders (tenant_id);
select pg_temp.guard('orders');
alter table orders owner to corpus_owner;
create view order_totals as select tenant_id, sum(cents) as cents from orders group by tenant_id;
grant corpus_owner to corpus_loud;
alter view order_totals owner to corpus_loud;
grant select on order_totals to corpus_reader;
--- fault
alter table orders no force row level security;
--- fixed
select 1;
