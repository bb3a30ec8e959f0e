-- What changes: any needs. A source may have both captures at once; each rollup's definition says which one it reads.

alter table tallyroll.source
  drop column changes,
  add column log text unique,
  add column log_columns text[],
  add column log_slot smallint not null default 0 check (log_slot between 0 and 3),
  add check ((log is null) = (log_columns is null));
comment on column tallyroll.source.log is 'Name of the change log, if a rollup of the source reads one';
comment on column tallyroll.source.log_columns is 'The source columns that the change log copies';
comment on column tallyroll.source.log_slot is 'The partition of the change log that writers fill now';

alter table tallyroll.rollup
  add column changes text not null default 'append' check (changes in ('any', 'append')),
  add column columns text[] not null default '{}';
comment on column tallyroll.rollup.changes is 'Which capture it reads';
comment on column tallyroll.rollup.columns is 'The source columns that the definition reads';

alter table tallyroll.slice add column seen pg_snapshot;
comment on column tallyroll.slice.seen is
  'What the slice has counted of a source whose rows may change; NULL once a refresh has gone past it';

create table tallyroll.leaf (
  source     bigint not null references tallyroll.source on delete cascade,
  relation   oid not null,
  name       text not null,
  range_from timestamptz,
  range_to   timestamptz,
  recorded_at timestamptz not null default clock_timestamp(),
  primary key (source, relation)
);
comment on table tallyroll.leaf is 'The tables of a source whose changes are captured: itself and all below it';
comment on column tallyroll.leaf.range_from is 'The least event time that the table can hold; NULL if its bounds do not tell';

create table tallyroll.seal (
  source     bigint not null references tallyroll.source on delete cascade,
  range_from timestamptz not null,
  range_to   timestamptz not null,
  seen       pg_snapshot not null,
  reason     text not null,
  sealed_at  timestamptz not null default clock_timestamp(),
  primary key (source, range_from, range_to),
  check (range_from < range_to)
);
comment on column tallyroll.seal.seen is 'Changes that it sees were made before the seal';
comment on table tallyroll.seal is 'Ranges whose source rows are gone or going: their buckets are never computed from the source again';

create function tallyroll.log_is_whole(log regclass) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  -- The catalog is read as of the caller's snapshot, the function tells what is so now: TRUNCATE changes the file.
  if exists (
    select from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = log and c.relfilenode <> pg_relation_filenode(c.oid)
  ) then
    raise exception 'the change log has moved on since this transaction began to read'
      using errcode = 'serialization_failure', hint = 'run the query again, in a new transaction';
  end if;
  return true;
end
$$;
comment on function tallyroll.log_is_whole(regclass) is
  'Fails if rows of a change log were removed after the snapshot that the caller reads with';

create function tallyroll.is_counted(of_rollup text, at timestamptz, xid xid8, sign smallint) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select exists (
      select from tallyroll.slice s
      where s.rollup = of_rollup and s.seen is not null and pg_visible_in_snapshot(xid, s.seen)
        and at >= s.day_from::timestamp at time zone 'UTC' and at < s.day_to::timestamp at time zone 'UTC')
    or sign <> 1 and exists (
      select from tallyroll.rollup r join tallyroll.seal l on l.source = r.source
      where r.name = of_rollup and at >= l.range_from and at < l.range_to and not pg_visible_in_snapshot(xid, l.seen))
$$;
comment on function tallyroll.is_counted(text, timestamptz, xid8, smallint) is
  'Whether a change is counted by a slice of the backfill, or changes a row behind a seal, and is not to be merged';

create function tallyroll.is_current(of_rollup text) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  log text;
  seen pg_snapshot;
  marked boolean;
begin
  select s.log, r.cursor into log, seen from tallyroll.rollup r join tallyroll.source s on s.id = r.source where r.name = of_rollup;
  execute format(
    'select exists (select from tallyroll.%1$I where tallyroll_xid >= $1 and tallyroll_sign = 0)
         or exists (select from tallyroll.%1$I where tallyroll_xid = any ($2) and tallyroll_sign = 0)', log)
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
comment on function tallyroll.is_current(text) is
  'False if the next refresh must compute a range anew, after a TRUNCATE or an ATTACH of the source';
