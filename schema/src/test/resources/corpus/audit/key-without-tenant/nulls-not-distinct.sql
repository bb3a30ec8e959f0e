-- finds: public.users.users_external_key error
create table users (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, source text, external_id text);
create index on users (tenant_id);
select pg_temp.guard('users');
--- fault
alter table users add constraint users_external_key unique nulls not distinct (source, external_id);
--- fixed
alter table users add constraint users_external_key unique nulls not distinct (tenant_id, source, external_id);
