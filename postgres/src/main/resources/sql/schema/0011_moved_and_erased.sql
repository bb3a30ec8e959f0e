set local lock_timeout = '2s';

-- A purge's own deletions are logged like a registered purger's: a foreign key or a trigger may take rows with them that are not behind the seal.

create or replace function tallyroll.purge_sign(of_log text) returns smallint
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select case when exists (select from tallyroll.source s where s.log = of_log and tallyroll.is_own_purge(s.relation))
      or exists (select from tallyroll.purger p join tallyroll.source s on s.id = p.source
                 where s.log = of_log and p.role = tallyroll.acting_role()) then -3
    else -1 end::smallint
$$;
comment on function tallyroll.purge_sign(text) is
  'The sign of a deletion in a change log: -3 for Tallyroll''s own purge and for a registered purger, -1 for others';

-- forget may delete from an append-only table; its deletions are changes like others, which it merges itself.

create function tallyroll.is_own_erasure(of_relation oid) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce(current_setting('tallyroll.erase', true) = of_relation::text, false)
    and tallyroll.is_refresher(tallyroll.acting_role())
$$;
comment on function tallyroll.is_own_erasure(oid) is 'Whether Tallyroll itself erases a tenant from this source';

create or replace function tallyroll.refuse_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  source constant oid := coalesce(pg_partition_root(tg_relid)::oid, tg_relid);
begin
  if tg_op = 'DELETE' and (tallyroll.is_own_purge(source) or tallyroll.is_own_erasure(source)) then
    return old;
  end if;
  raise exception '% on %.% refused: a Tallyroll rollup reads this table as append-only', tg_op, tg_table_schema, tg_table_name
    using errcode = 'restrict_violation',
          hint = 'drop the rollup first, or insert a correcting row';
end
$$;

-- A table that was detached and comes back takes the seal of its absence with it.

alter table tallyroll.seal add column relation oid;
comment on column tallyroll.seal.relation is 'The table that was detached or dropped; NULL for other seals';

-- A restored dump, into another cluster or another database of the same one: the numbers of tables and transactions mean nothing there.

create function tallyroll.is_moved(of_rollup text) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select r.system_identifier <> (select system_identifier from pg_control_system())
      or (exists (select from tallyroll.leaf l where l.source = s.id)
          and not exists (select from tallyroll.leaf l where l.source = s.id and l.relation = s.relation::oid))
  from tallyroll.rollup r join tallyroll.source s on s.id = r.source where r.name = of_rollup
$$;
comment on function tallyroll.is_moved(text) is
  'Whether a rollup came here with a dump, so that what it stores of tables and transactions is of another database';

create or replace function tallyroll.is_defined(of_rollup text, hash text) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from tallyroll.rollup where name = of_rollup and definition_hash <> hash) then
    raise exception 'the definition of % was changed since this transaction began to read', of_rollup
      using errcode = 'serialization_failure', hint = 'run the query again, in a new transaction';
  end if;
  if tallyroll.is_moved(of_rollup) then
    raise exception 'rollup % was made in another database, and its fresh views cannot tell here what is new', of_rollup
      using errcode = 'object_not_in_prerequisite_state', hint = format('run: tallyroll reanchor %s', of_rollup);
  end if;
  return true;
end
$$;
comment on function tallyroll.is_defined(text, text) is
  'Fails for a reader whose snapshot is older than the definition that the caller was made for, and in a database that the rollup was not made in';

-- What is written to a table that was detached is no business of its former source.

create or replace function tallyroll.is_current(of_rollup text) returns boolean
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  log text;
  seen pg_snapshot;
  root regclass;
  marked boolean;
begin
  select s.log, r.cursor, s.relation into log, seen, root
  from tallyroll.rollup r join tallyroll.source s on s.id = r.source where r.name = of_rollup;
  execute format(
    'select exists (select from tallyroll.%I where (tallyroll_xid >= $1 or tallyroll_xid = any ($2)) and tallyroll_sign = 0
                    and (tallyroll_leaf = $3 or tallyroll_leaf in (select relid from pg_partition_tree($3))))', log)
  into marked using pg_snapshot_xmax(seen), array(select pg_snapshot_xip(seen)), root;
  return not marked and not exists (
    select from tallyroll.rollup r join tallyroll.source s on s.id = r.source
    join pg_partitioned_table p on p.partrelid = s.relation, lateral (
      select from pg_partition_tree(s.relation) t
      full join (select relation from tallyroll.leaf l where l.source = s.id) l on l.relation = t.relid
      where l.relation is null or t.relid is null) other
    where r.name = of_rollup);
end
$$;
