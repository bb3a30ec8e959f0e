-- finds: public.usage.usage_key warning
-- page
create table usage (tenant_id uuid not null references tenants, day date not null, model text);
select pg_temp.guard('usage');
--- fault
alter table usage add constraint usage_key unique (tenant_id, day, model);
--- fixed
alter table usage add constraint usage_key unique nulls not distinct (tenant_id, day, model);
