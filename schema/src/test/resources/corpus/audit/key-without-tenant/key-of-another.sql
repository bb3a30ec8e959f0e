-- finds: public.profiles.profiles_pkey note
create table logins (id uuid default gen_random_uuid() primary key);
--- fault
create table profiles (id uuid primary key references logins, tenant_id uuid not null references tenants);
create index on profiles (tenant_id);
select pg_temp.guard('profiles');
--- fixed
create table profiles (id uuid references logins, tenant_id uuid not null references tenants, primary key (tenant_id, id));
select pg_temp.guard('profiles');
