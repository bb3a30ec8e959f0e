-- finds: public.groups.visible error
-- finds: public.members.visible error
-- mend: by people
create table groups (tenant_id uuid not null references tenants, name text not null, primary key (tenant_id, name));
select pg_temp.guard('groups');
create table members (tenant_id uuid not null references tenants, login text not null, primary key (tenant_id, login));
select pg_temp.guard('members');
create policy visible on members for select using (exists (select from groups g where g.tenant_id = members.tenant_id));
--- fault
create policy visible on groups for select using (exists (select from members m where m.tenant_id = groups.tenant_id));
--- fixed
select 1;
