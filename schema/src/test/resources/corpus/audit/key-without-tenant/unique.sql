-- finds: public.users.users_email_key error
-- page
create table users (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, email text not null);
create index on users (tenant_id);
select pg_temp.guard('users');
--- fault
alter table users add constraint users_email_key unique (email);
--- fixed
alter table users add constraint users_email_key unique (tenant_id, email);
