-- finds: public.orders warning
-- page
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
create index on orders (tenant_id);
select pg_temp.guard('orders');
alter table orders owner to corpus_owner;
--- fault
alter table orders no force row level security;
--- fixed
select 1;
