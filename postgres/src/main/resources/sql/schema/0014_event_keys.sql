set local lock_timeout = '2s';

-- The key first: it tells nearly all rows apart by itself, where a comparison of tenants says nothing of two events of one tenant.
alter table tallyroll.event_key drop constraint event_key_pkey, add primary key (key, tenant);

-- Of an event that came before this time nobody can tell any more whether it was counted, whatever a server's settings say now.
create table tallyroll.event_key_purge (
  is_only boolean primary key default true check (is_only),
  before  timestamptz not null,
  said_at timestamptz not null default clock_timestamp()
);
comment on table tallyroll.event_key_purge is 'Before which time of receipt keys of events are purged, or will be an hour after that was said';

do $$
declare
  one record;
begin
  for one in
    select distinct pg_get_userbyid(a.grantee) as role from pg_class c, aclexplode(c.relacl) a
    where c.oid = 'tallyroll.rollup'::regclass and a.grantee not in (0, c.relowner)
  loop
    execute format('revoke all on tallyroll.event_key_purge from %I', one.role);
  end loop;
  for one in select s.role from tallyroll.server_role s join pg_roles r on r.rolname = s.role loop
    execute format('grant select on tallyroll.event_key_purge to %I', one.role);
  end loop;
end
$$;
