-- finds: public.users.users_email_key error
create table users (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, email text not null);
create index on users (tenant_id);
select pg_temp.guard('users');
--- fault
create unique index users_email_key on users (email) where tenant_id is not null;
--- fixed
create unique index users_email_key on users (email) where tenant_id = '00000000-0000-0000-0000-000000000000';
