-- finds: public.orders_id_seq note
create table orders (id bigserial primary key, tenant_id uuid not null references tenants);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
grant usage, select on sequence orders_id_seq to corpus_reader;
--- fixed
grant usage on sequence orders_id_seq to corpus_reader;
