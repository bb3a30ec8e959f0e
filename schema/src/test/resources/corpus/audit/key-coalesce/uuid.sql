-- finds: public.usage.usage_key warning
create table usage (tenant_id uuid not null references tenants, day date not null, "projectId" uuid);
create index on usage (tenant_id);
select pg_temp.guard('usage');
--- fault
create unique index usage_key on usage (tenant_id, day, coalesce("projectId", '00000000-0000-0000-0000-000000000000'::uuid));
--- fixed
create unique index usage_key on usage (tenant_id, day, "projectId") nulls not distinct;
