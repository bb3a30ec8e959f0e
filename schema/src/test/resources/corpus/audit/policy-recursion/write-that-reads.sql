-- finds: public.members.joins error
-- mend: by people
create table members (tenant_id uuid not null references tenants, login text not null, primary key (tenant_id, login));
select pg_temp.guard('members');
--- fault
create policy joins on members for all using (tenant_id in (select m.tenant_id from members m where m.login = current_user));
--- fixed
create policy joins on members for insert with check (tenant_id in (select m.tenant_id from members m where m.login = current_user));
