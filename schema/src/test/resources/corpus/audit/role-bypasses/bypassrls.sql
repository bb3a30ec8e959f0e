-- finds: corpus_loud warning
-- mend: by people
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
alter role corpus_loud bypassrls;
--- fixed
alter role corpus_loud nobypassrls;
