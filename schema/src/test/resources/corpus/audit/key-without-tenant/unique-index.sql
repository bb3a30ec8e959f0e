-- finds: public.users.users_lower_email error
create table users (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, email text not null);
create index on users (tenant_id);
select pg_temp.guard('users');
--- fault
create unique index users_lower_email on users (lower(email)) where email <> '';
--- fixed
create unique index users_lower_email on users (tenant_id, lower(email)) where email <> '';
