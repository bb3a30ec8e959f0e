set local lock_timeout = '2s';

-- Cheaper capture: the partition of a change log that writers fill has no index, and its trigger functions name it.

do $$
declare
  one record;
begin
  for one in select log from tallyroll.source where log is not null loop
    execute format('drop index if exists tallyroll.%I', one.log || '_tallyroll_xid_idx');
  end loop;
end
$$;

create function tallyroll.is_elsewhere(of_relation oid, of_log text) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce(
    (select of_relation <> s.relation and pg_partition_root(of_relation) is distinct from s.relation::oid
     from tallyroll.source s where s.log = of_log), false)
$$;
comment on function tallyroll.is_elsewhere(oid, text) is
  'Whether a table belongs no longer to the source of a change log; false where the caller''s snapshot does not know the log';

create or replace function tallyroll.is_current(of_rollup text) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  log text;
  seen pg_snapshot;
  marked boolean;
begin
  select s.log, r.cursor into log, seen from tallyroll.rollup r join tallyroll.source s on s.id = r.source where r.name = of_rollup;
  execute format(
    'select exists (select from tallyroll.%I where (tallyroll_xid >= $1 or tallyroll_xid = any ($2)) and tallyroll_sign = 0)', log)
  into marked using pg_snapshot_xmax(seen), array(select pg_snapshot_xip(seen));
  return not marked and not exists (
    select from tallyroll.rollup r join tallyroll.source s on s.id = r.source
    join pg_partitioned_table p on p.partrelid = s.relation, lateral (
      select from pg_partition_tree(s.relation) t
      full join (select relation from tallyroll.leaf l where l.source = s.id) l on l.relation = t.relid
      where l.relation is null or t.relid is null) other
    where r.name = of_rollup);
end
$$;

-- Changing a definition: the new one is built beside, under the rollup's name with a tilde, and takes its name at the end.

alter table tallyroll.rollup
  drop constraint rollup_name_check,
  add constraint rollup_name_check check (name ~ '^[a-z_][a-z0-9_]{0,47}~?$');

alter table tallyroll.grain
  drop constraint grain_rollup_fkey,
  add constraint grain_rollup_fkey foreign key (rollup) references tallyroll.rollup on delete cascade on update cascade;
alter table tallyroll.slice
  drop constraint slice_rollup_fkey,
  add constraint slice_rollup_fkey foreign key (rollup) references tallyroll.rollup on delete cascade on update cascade;
alter table tallyroll.refresh
  drop constraint refresh_rollup_fkey,
  add constraint refresh_rollup_fkey foreign key (rollup) references tallyroll.rollup on delete cascade on update cascade;
alter table tallyroll.quarantine
  drop constraint quarantine_rollup_fkey,
  add constraint quarantine_rollup_fkey foreign key (rollup) references tallyroll.rollup on delete cascade on update cascade;

create table tallyroll.start (
  rollup text not null references tallyroll.rollup on delete cascade on update cascade,
  name   text not null,
  since  timestamptz not null,
  primary key (rollup, name)
);
comment on table tallyroll.start is
  'Measures and dimensions that were added when the source rows of an earlier time were gone: they are known from then on';

create function tallyroll.known_from(of_rollup text) returns timestamptz
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce(max(since), '-infinity') from tallyroll.start where rollup = of_rollup
$$;
comment on function tallyroll.known_from(text) is 'From when on all measures and dimensions of a rollup are known';

alter table tallyroll.rollup
  add column carried tstzmultirange not null default '{}',
  add column definition_hash text;
comment on column tallyroll.rollup.carried is 'Ranges whose buckets were carried over from an earlier definition, since the source rows were gone';
comment on column tallyroll.rollup.definition_hash is 'Tells definitions apart; NULL for one from before it was kept';

create function tallyroll.is_defined(of_rollup text, hash text) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from tallyroll.rollup where name = of_rollup and definition_hash <> hash) then
    raise exception 'the definition of % was changed since this transaction began to read', of_rollup
      using errcode = 'serialization_failure', hint = 'run the query again, in a new transaction';
  end if;
  return true;
end
$$;
comment on function tallyroll.is_defined(text, text) is
  'Fails for a reader whose snapshot is older than the definition that the caller was made for';

-- Quarantine that can be replayed: what an entry stands for.

alter table tallyroll.quarantine
  add column kind text not null default 'row' check (kind in ('row', 'change', 'bucket'));
comment on column tallyroll.quarantine.kind is
  'row: a source row that is counted nowhere; change: one of a row behind a seal; bucket: one that could not be computed anew';
update tallyroll.quarantine set kind = case when jsonb_exists_all(source_row, array['grain', 'bucket', 'key']) then 'bucket' else 'change' end
where jsonb_exists_all(source_row, array['grain', 'bucket', 'key']) or reason like 'a row behind a seal %';

-- Purges behind a seal: those who may delete without that being taken for a change.

create table tallyroll.purger (
  source bigint not null references tallyroll.source on delete cascade,
  role   name not null,
  primary key (source, role)
);
comment on table tallyroll.purger is 'Roles whose deletions behind a seal are purges: what they delete there stays counted';

create function tallyroll.acting_role() returns name
language sql stable set search_path = pg_catalog, pg_temp as $$
  select coalesce(nullif(nullif(current_setting('role'), 'none'), ''), session_user)::name
$$;
comment on function tallyroll.acting_role() is 'The role of the session, also within functions that run as their owner';

create function tallyroll.is_own_purge(of_relation oid) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce(current_setting('tallyroll.purge', true) = of_relation::text, false)
    and pg_has_role(tallyroll.acting_role(), (select relowner from pg_class where oid = 'tallyroll.rollup'::regclass), 'usage')
$$;
comment on function tallyroll.is_own_purge(oid) is 'Whether Tallyroll itself deletes from this source, behind a seal';

create function tallyroll.purge_sign(of_log text) returns smallint
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select case when exists (select from tallyroll.source s where s.log = of_log and tallyroll.is_own_purge(s.relation)) then null
    when exists (select from tallyroll.purger p join tallyroll.source s on s.id = p.source
                 where s.log = of_log and p.role = tallyroll.acting_role()) then -3
    else -1 end::smallint
$$;
comment on function tallyroll.purge_sign(text) is
  'The sign of a deletion in a change log: -3 for a registered purger, -1 for others, NULL for Tallyroll''s own purge, which is not logged';

create or replace function tallyroll.refuse_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'DELETE' and tallyroll.is_own_purge(coalesce(pg_partition_root(tg_relid)::oid, tg_relid)) then
    return old;
  end if;
  raise exception '% on %.% refused: a Tallyroll rollup reads this table as append-only', tg_op, tg_table_schema, tg_table_name
    using errcode = 'restrict_violation',
          hint = 'drop the rollup first, or insert a correcting row';
end
$$;

-- Who serves a rollup: several may watch, one refreshes it.

alter table tallyroll.refresh
  add column served_by text,
  add column served_until timestamptz;
comment on column tallyroll.refresh.served_until is 'Until then others leave the rollup to the process that serves it';

-- Erasures: that they happened, and not what was erased.

create table tallyroll.erasure (
  id               bigint generated always as identity primary key,
  erased_at        timestamptz not null default clock_timestamp(),
  erased_by        name not null default session_user,
  sources          text[] not null,
  tenant           text not null,
  predicate_sha256 bytea,
  rows             bigint not null,
  entries          bigint not null
);
comment on table tallyroll.erasure is 'Audit of forget: a line for each erasure';
comment on column tallyroll.erasure.predicate_sha256 is 'Hash of the predicate, which may name a person; NULL for a whole tenant';
comment on column tallyroll.erasure.entries is 'Entries that left the quarantine';
