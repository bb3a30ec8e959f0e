-- finds: public.notes.tenant_rows warning
create table notes (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
create index on notes (tenant_id);
select pg_temp.guard('notes');
--- fault
alter policy tenant_rows on notes using (tenant_id::text = (select current_setting('app.tenant')));
--- fixed
alter policy tenant_rows on notes using (tenant_id::text = (select current_setting('app.tenant', true)));
