-- finds: public.usage.usage_key warning
-- page
create table usage (tenant_id uuid not null references tenants, day date not null, model text);
create index on usage (tenant_id);
select pg_temp.guard('usage');
--- fault
create unique index usage_key on usage (tenant_id, day, coalesce(model, ''));
--- fixed
create unique index usage_key on usage (tenant_id, day, model) nulls not distinct;
