-- finds: public.usage.usage_key warning
create table usage (tenant_id uuid not null references tenants, day date not null, model text, project text);
create index on usage (tenant_id);
select pg_temp.guard('usage');
--- fault
create unique index usage_key on usage (tenant_id, day, model, project) where model is not null;
--- fixed
create unique index usage_key on usage (tenant_id, day, model, project) where model is not null and project is not null;
