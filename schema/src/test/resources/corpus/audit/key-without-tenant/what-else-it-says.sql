-- finds: public.users.users_email_key error
create table users (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, email text not null, name text);
create index on users (tenant_id);
select pg_temp.guard('users');
--- fault
create unique index users_email_key on users (lower(email) collate "C" text_pattern_ops desc) include (name) with (fillfactor = 70) where email <> 'a,b)';
--- fixed
create unique index users_email_key on users (tenant_id, lower(email) collate "C" text_pattern_ops desc) include (name) with (fillfactor = 70) where email <> 'a,b)';
