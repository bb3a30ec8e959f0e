-- Bodies name tables that a fresh database may make later.
set check_function_bodies = off;

do $$
begin
  -- Not "if not exists", which asks for the right to create schemas even if it is there.
  if to_regnamespace('tallyroll') is null then
    create schema tallyroll;
  end if;
end
$$;

create table if not exists tallyroll.guard (
  name         text primary key check (name ~ '^[a-z_][a-z0-9_]{0,39}$'),
  definition   text not null,
  legacy       text not null,
  legacy_oid   oid,
  replacement  text not null,
  source       text,
  backfill     text,
  copy         text not null,
  version      text not null,
  installed_at timestamptz not null default now()
);
comment on table tallyroll.guard is 'What must be covered by what before it may go';

create table if not exists tallyroll.guard_waiver (
  id         bigint generated always as identity primary key,
  guard      text not null,
  granted_by text not null check (granted_by ~ '\S'),
  reason     text not null check (reason ~ '\S'),
  granted_at timestamptz not null default now(),
  until      timestamptz not null,
  check (until > granted_at)
);
comment on table tallyroll.guard_waiver is 'Who has let a guard pass, why, and until when';

create table if not exists tallyroll.guard_proof (
  id                  bigint generated always as identity primary key,
  guard               text not null,
  proved_at           timestamptz not null default clock_timestamp(),
  proved_by           name not null default session_user,
  snapshot            pg_snapshot not null default pg_current_snapshot(),
  legacy_rows         bigint not null,
  legacy_groups       bigint not null,
  replacement_groups  bigint not null,
  source_groups       bigint not null,
  differences         bigint not null,
  legacy_hash         text not null,
  definition_hash     text not null,
  version             text not null,
  waiver              bigint references tallyroll.guard_waiver
);
comment on table tallyroll.guard_proof is 'Each time a guard has passed: what was compared, in which snapshot, and by which definition. Nothing reads it to pass';

create or replace function tallyroll.guard_sees_all(of_table text) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $guard$
declare
  relation regclass := to_regclass(of_table);
begin
  if not row_security_active(relation) then
    return;
  end if;
  if exists (
       select from pg_policy p
       where p.polrelid = relation and not p.polpermissive and p.polcmd in ('r', '*')
         and exists (select from unnest(p.polroles) r where r = 0 or pg_has_role(current_user, r, 'usage')))
     or not exists (
       select from pg_policy p
       where p.polrelid = relation and p.polpermissive and p.polcmd in ('r', '*')
         and pg_get_expr(p.polqual, p.polrelid) = 'true'
         and exists (select from unnest(p.polroles) r where r = 0 or pg_has_role(current_user, r, 'usage')))
  then
    raise exception 'the role % sees only some rows of %, so that nothing can be proved', current_user, of_table
      using errcode = 'insufficient_privilege',
            hint = format('where no policy is restrictive: create policy guard_reads on %s for select to %I using (true); or run the migration as a role with BYPASSRLS', of_table, current_user);
  end if;
end
$guard$;
comment on function tallyroll.guard_sees_all(text) is 'Refuses if row-level security hides rows of a table from whoever asks';

create or replace function tallyroll.assert_covered(of_guard text) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp as $guard$
declare
  g tallyroll.guard;
  content record;
  differ record;
  waived tallyroll.guard_waiver;
  named text;
  is_empty boolean;
  proof bigint;
begin
  select * into g from tallyroll.guard where name = of_guard;
  if not found then
    raise exception 'there is no guard %', of_guard
      using errcode = 'undefined_object', hint = 'tallyroll schema guard install makes it, or --emit a migration that does';
  end if;
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'guard %: the transaction is %, and may not see what was committed before its locks', of_guard, current_setting('transaction_isolation')
      using errcode = 'active_sql_transaction', hint = 'run the migration as read committed';
  end if;
  select * into waived from tallyroll.guard_waiver w where w.guard = of_guard and w.until > clock_timestamp() order by w.until desc limit 1;
  if waived.id is not null then
    raise warning 'guard %: it passes whatever is missing, by a waiver of % until %: %', of_guard, waived.granted_by, waived.until, waived.reason;
  end if;
  if to_regclass(g.legacy) is null then
    named := (select c.oid::regclass from pg_class c where c.oid = g.legacy_oid);
    if named is not null and waived.id is null then
      raise exception 'guard %: % is called % now, and is not looked at by that name', of_guard, g.legacy, named
        using errcode = 'undefined_table', hint = 'name it so in the definition, and install the guard again';
    end if;
    -- Nothing is there that could be lost.
    insert into tallyroll.guard_proof (guard, legacy_rows, legacy_groups, replacement_groups, source_groups, differences, legacy_hash, definition_hash, version, waiver)
    values (of_guard, 0, 0, 0, 0, 0, 'no table', md5(g.definition), g.version, waived.id)
    returning id into proof;
    return proof;
  end if;
  execute format('lock table %s in share row exclusive mode', g.legacy);
  perform tallyroll.guard_sees_all(g.legacy);
  execute format('select not exists (select from %s)', g.legacy) into is_empty;
  if is_empty and to_regclass(g.source) is not null then
    perform tallyroll.guard_sees_all(g.source);
    execute format('select not exists (select from %s)', g.source) into is_empty;
  end if;
  if is_empty or (waived.id is not null and to_regclass(g.replacement) is null) then
    -- A fresh database, on which the replacement may not even be made yet.
    insert into tallyroll.guard_proof (guard, legacy_rows, legacy_groups, replacement_groups, source_groups, differences, legacy_hash, definition_hash, version, waiver)
    values (of_guard, 0, 0, 0, 0, 0, 'no rows', md5(g.definition), g.version, waived.id)
    returning id into proof;
    return proof;
  end if;
  if to_regclass(g.replacement) is null then
    raise exception 'guard %: there is no table %, which is to replace %', of_guard, g.replacement, g.legacy
      using errcode = 'undefined_table', hint = 'make it first' || coalesce(' and fill it: ' || g.backfill, '');
  end if;
  if g.source is not null and to_regclass(g.source) is null then
    raise exception 'guard %: there is no table % any more, which is its source', of_guard, g.source
      using errcode = 'undefined_table', hint = 'take source out of the definition, and install the guard again';
  end if;
  execute format('lock table %s in share mode', g.replacement);
  perform tallyroll.guard_sees_all(g.replacement);
  execute format('select * from tallyroll.%I()', 'guard_content_' || of_guard) into content;
  execute format(
    'select count(*) as differences, count(distinct (tenant, bucket)) as buckets, count(distinct (tenant, bucket)) filter (where not in_source) as elsewhere,'
      ' (array_agg(tenant order by bucket, tenant, measure <> ''presence'', measure, side))[1] as first_tenant,'
      ' (array_agg(bucket order by bucket, tenant, measure <> ''presence'', measure, side))[1] as first_bucket,'
      ' (array_agg(measure order by bucket, tenant, measure <> ''presence'', measure, side))[1] as first_measure,'
      ' (array_agg(expected order by bucket, tenant, measure <> ''presence'', measure, side))[1] as first_expected,'
      ' (array_agg(found order by bucket, tenant, measure <> ''presence'', measure, side))[1] as first_found,'
      ' (array_agg(side order by bucket, tenant, measure <> ''presence'', measure, side))[1] as first_side from tallyroll.%I()', 'guard_compare_' || of_guard)
    into differ;
  if differ.differences > 0 and waived.id is null then
    raise exception 'guard %: % is not covered by %: % in %, the first of tenant % at %, %: % expected (%), % found',
      of_guard, replace(g.legacy, '"', ''), replace(g.replacement, '"', ''),
      differ.differences || case when differ.differences = 1 then ' difference' else ' differences' end,
      differ.buckets || case when differ.buckets = 1 then ' bucket' else ' buckets' end,
      coalesce(differ.first_tenant, '-'), differ.first_bucket, differ.first_measure,
      trim_scale(differ.first_expected), differ.first_side, trim_scale(differ.first_found)
      using errcode = 'restrict_violation',
            hint = concat_ws(E'\n',
              case when differ.buckets > differ.elsewhere or differ.elsewhere = 0 then coalesce(g.backfill, g.copy) end,
              case when differ.elsewhere > 0 and g.source is not null then format('-- of %s buckets the source has not enough any more:', differ.elsewhere) end,
              case when differ.elsewhere > 0 then g.copy end);
  end if;
  insert into tallyroll.guard_proof
    (guard, legacy_rows, legacy_groups, replacement_groups, source_groups, differences, legacy_hash, definition_hash, version, waiver)
  values
    (of_guard, content.legacy_rows, content.legacy_groups, content.replacement_groups, content.source_groups, differ.differences, content.legacy_hash,
     md5(g.definition), g.version, waived.id)
  returning id into proof;
  return proof;
end
$guard$;
comment on function tallyroll.assert_covered(text) is 'Fails unless the replacement holds what the legacy table does; to be called by the transaction that drops the latter';
