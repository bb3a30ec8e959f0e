-- finds: corpus_loud warning
-- mend: by people
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
create index on orders (tenant_id);
select pg_temp.guard('orders');
alter role corpus_owner bypassrls;
--- fault
grant corpus_owner to corpus_loud;
--- fixed
alter role corpus_owner nobypassrls;
