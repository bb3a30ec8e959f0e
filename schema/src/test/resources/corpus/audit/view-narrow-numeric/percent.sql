-- finds: public.quota_use warning
-- mend: by people
create table quotas (tenant_id uuid primary key references tenants, used bigint not null, most bigint not null);
select pg_temp.guard('quotas');
--- fault
create view quota_use with (security_invoker = true) as select tenant_id, (100.0 * used / most)::numeric(5,2) as percent from quotas;
--- fixed
create view quota_use with (security_invoker = true) as select tenant_id, round(100.0 * used / most, 2) as percent from quotas;
