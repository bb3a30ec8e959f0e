-- finds: public.members.visible error
-- page
-- mend: by people
create table members (tenant_id uuid not null references tenants, login text not null, primary key (tenant_id, login));
select pg_temp.guard('members');
--- fault
create policy visible on members for select using (tenant_id in (select m.tenant_id from members m where m.login = current_user));
--- fixed
create function tenants_of(who text) returns setof uuid language sql stable security definer set search_path = public, pg_temp
  as $$ select tenant_id from public.members where login = who $$;
revoke execute on function tenants_of(text) from public;
create policy visible on members for select using (tenant_id in (select tenants_of(current_user)));
