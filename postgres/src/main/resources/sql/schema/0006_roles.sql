set local lock_timeout = '2s';

-- A refresher that is not the installer. What only an owner may do is done by functions of the installer, each of which does
-- just that one thing to Tallyroll's own tables, or to a table of a source; nobody but a refresher may call them.

alter table tallyroll.source
  add column log_functions text[],
  add column log_triggers text[];
comment on column tallyroll.source.log_functions is
  'For each partition of the change log, the statements that make the trigger functions write to it';
comment on column tallyroll.source.log_triggers is
  'The statements that give a table its triggers, with %s for the table';

-- Partitions of rollup tables. They are loaded between the two.

create function tallyroll.check_partition(parent regclass, partition text) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  -- Row-level security tells a rollup's table from a change log.
  if not exists (
    select from pg_class c
    where c.oid = parent and c.relnamespace = 'tallyroll'::regnamespace and c.relkind = 'p' and c.relrowsecurity
      and partition ~ '_p[0-9]{8}$' and left(partition, -10) = c.relname
  ) then
    raise exception '% is no partition of a rollup''s table %', partition, parent using errcode = 'insufficient_privilege';
  end if;
end
$$;

create function tallyroll.make_partition(parent regclass, partition text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform tallyroll.check_partition(parent, partition);
  execute format('create table tallyroll.%I (like %s including defaults including storage)', partition, parent);
end
$$;
comment on function tallyroll.make_partition(regclass, text) is 'Makes a table that is to become a partition of a rollup''s table';

create function tallyroll.attach_partition(parent regclass, partition text, range_from timestamptz, range_to timestamptz)
returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  keys text;
begin
  perform tallyroll.check_partition(parent, partition);
  select string_agg(quote_ident(a.attname), ', ' order by k.place) into keys
  from pg_index i, unnest(i.indkey::smallint[]) with ordinality k (attnum, place), pg_attribute a
  where i.indrelid = parent and i.indisunique and a.attrelid = parent and a.attnum = k.attnum;
  execute format('create unique index %I on tallyroll.%I (%s) nulls not distinct', partition || '_k', partition, keys);
  execute format('alter table %s attach partition tallyroll.%I for values from (%L) to (%L)', parent, partition, range_from, range_to);
  execute format('alter table tallyroll.%I enable row level security, force row level security', partition);
end
$$;
comment on function tallyroll.attach_partition(regclass, text, timestamptz, timestamptz) is
  'Indexes a loaded table and attaches it to a rollup''s table';

create function tallyroll.drop_partition(parent regclass, partition text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform tallyroll.check_partition(parent, partition);
  execute format('drop table if exists tallyroll.%I', partition);
end
$$;
comment on function tallyroll.drop_partition(regclass, text) is
  'Drops a partition of a rollup''s table, attached or not; an owner detaches it concurrently first';

-- The rotation of a change log.

create function tallyroll.advance_log(of_source bigint, slot_from integer, slot_to integer) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  functions text[];
begin
  -- Locked before they are read: an apply that adds a column makes these functions too.
  select s.log_functions into functions from tallyroll.source s where s.id = of_source and s.log_slot = slot_from for update;
  if functions is not null then
    update tallyroll.source set log_slot = slot_to where id = of_source;
    execute functions[slot_to + 1];
  end if;
end
$$;
comment on function tallyroll.advance_log(bigint, integer, integer) is 'Points the writers of a source to another partition of its change log';

create function tallyroll.truncate_log(of_source bigint, slot integer) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  partition text := (select s.log || '_' || slot from tallyroll.source s where s.id = of_source);
  is_unread boolean;
begin
  -- The lock first: what is committed after it was taken cannot lie in this partition.
  execute format('lock table tallyroll.%I in access exclusive mode', partition);
  execute format(
    'select exists (
       select from tallyroll.rollup r, tallyroll.%I l
       where r.source = $1 and r.changes = ''any''
         and (l.tallyroll_xid >= pg_snapshot_xmax(r.cursor) or l.tallyroll_xid = any (array(select pg_snapshot_xip(r.cursor)))))',
    partition) into is_unread using of_source;
  if not is_unread then
    execute format('truncate tallyroll.%I', partition);
    execute format('drop index if exists tallyroll.%I', partition || '_xid');
  end if;
end
$$;
comment on function tallyroll.truncate_log(bigint, integer) is
  'Truncates a partition of a change log if every rollup has read it; waits for its lock as lock_timeout says';

create function tallyroll.index_log(of_source bigint, slot integer) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  partition text := (select s.log || '_' || slot from tallyroll.source s where s.id = of_source);
begin
  execute format('lock table tallyroll.%I in share update exclusive mode', partition);
  if pg_relation_size(format('tallyroll.%I', partition)::regclass) > 0 then
    execute format('create index if not exists %I on tallyroll.%I (tallyroll_xid)', partition || '_xid', partition);
  end if;
end
$$;
comment on function tallyroll.index_log(bigint, integer) is
  'Gives a partition of a change log that cannot be truncated an index';

-- Tables of a source that came later.

create function tallyroll.capture_table(of_source bigint, of_relation regclass) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  statement text;
begin
  if not exists (
    select from tallyroll.source s
    where s.id = of_source and (of_relation = s.relation or pg_partition_root(of_relation) = s.relation)
  ) then
    raise exception '% is no table of this source', of_relation using errcode = 'undefined_table';
  end if;
  if not has_table_privilege(of_relation, 'trigger') then
    raise exception '% may not put triggers on %, which was added to a source', current_user, of_relation
      using errcode = 'insufficient_privilege',
            hint = format('run: GRANT TRIGGER ON %s TO %I;', of_relation, current_user);
  end if;
  -- The first one locks the table against writers. Only an owner can have them fire always.
  for statement in
    select s.one from tallyroll.source, unnest(log_triggers) with ordinality s (one, place)
    where id = of_source and (s.one not like 'alter %'
      or pg_has_role((select relowner from pg_class where oid = of_relation), 'usage'))
    order by s.place
  loop
    execute format(statement, of_relation);
  end loop;
end
$$;
comment on function tallyroll.capture_table(bigint, regclass) is
  'Gives a table of a source the triggers that write to the change log';

revoke execute on function
  tallyroll.check_partition(regclass, text), tallyroll.make_partition(regclass, text),
  tallyroll.attach_partition(regclass, text, timestamptz, timestamptz), tallyroll.drop_partition(regclass, text),
  tallyroll.advance_log(bigint, integer, integer), tallyroll.truncate_log(bigint, integer), tallyroll.index_log(bigint, integer),
  tallyroll.capture_table(bigint, regclass)
from public;

-- A refresher is whom the installer has granted to write Tallyroll's state.

create function tallyroll.is_refresher(role name) returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  select has_table_privilege(role, 'tallyroll.rollup'::regclass, 'update')
$$;
comment on function tallyroll.is_refresher(name) is 'Whether a role may refresh: the installer, and whom it has granted to write Tallyroll''s state';

create or replace function tallyroll.caller_sees_all(owner oid) returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  select r.rolsuper or r.rolbypassrls or pg_has_role(r.oid, owner, 'usage') or tallyroll.is_refresher(r.rolname)
  from pg_roles r
  where r.rolname = tallyroll.acting_role()
$$;

create or replace function tallyroll.is_own_purge(of_relation oid) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce(current_setting('tallyroll.purge', true) = of_relation::text, false)
    and tallyroll.is_refresher(tallyroll.acting_role())
$$;

-- Default privileges give a refresher all tables. These are the installer's alone to write: what its functions execute, and the audit.
do $$
declare
  one record;
begin
  for one in
    select distinct pg_get_userbyid(a.grantee) as role from pg_class c, aclexplode(c.relacl) a
    where c.oid = 'tallyroll.rollup'::regclass and a.grantee not in (0, c.relowner)
  loop
    execute format(
      'revoke insert, update, delete on tallyroll.schema_version, tallyroll.source, tallyroll.start, tallyroll.purger, tallyroll.erasure from %I',
      one.role);
  end loop;
end
$$;
