-- finds: public.settings.settings_pkey error
--- fault
create table settings (tenant_id uuid not null references tenants, name text, value text, primary key (name));
create index on settings (tenant_id);
select pg_temp.guard('settings');
--- fixed
create table settings (tenant_id uuid not null references tenants, name text, value text, primary key (tenant_id, name));
select pg_temp.guard('settings');
