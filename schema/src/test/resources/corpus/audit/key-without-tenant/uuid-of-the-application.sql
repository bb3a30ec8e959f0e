-- finds: public.files.files_pkey note
--- fault
create table files (id uuid primary key, tenant_id uuid not null references tenants);
create index on files (tenant_id);
select pg_temp.guard('files');
--- fixed
create table files (id uuid default gen_random_uuid() primary key, tenant_id uuid not null references tenants);
create index on files (tenant_id);
select pg_temp.guard('files');
