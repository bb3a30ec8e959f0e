-- finds: public.tenants.deleted_at note
-- mend: by people
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants on delete cascade);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
alter table tenants add deleted_at timestamptz;
--- fixed
select 1;
