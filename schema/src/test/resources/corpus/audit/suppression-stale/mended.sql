-- finds: key-without-tenant public.users.users_email_key warning
-- mend: by people
--| suppress: [{rule: key-without-tenant, object: public.users.users_email_key, reason: one login for all}]
create table users (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, email text not null);
create index on users (tenant_id);
select pg_temp.guard('users');
--- fault
alter table users add constraint users_email_key unique (tenant_id, email);
--- fixed
alter table users add constraint users_email_key unique (email);
