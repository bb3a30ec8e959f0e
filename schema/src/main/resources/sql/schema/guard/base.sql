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
            hint = format('create policy guard_reads on %s for select to %I using (true); or run the migration as a role with BYPASSRLS', of_table, current_user);
  end if;
end
$guard$;
comment on function tallyroll.guard_sees_all(text) is 'Refuses if row-level security hides rows of a table from whoever asks';

create or replace function tallyroll.assert_covered(of_guard text) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp as $guard$
declare
  g tallyroll.guard;
  content record;
  found_differences bigint;
  buckets bigint;
  not_in_source bigint;
  first record;
  waived tallyroll.guard_waiver;
  remedy text;
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
  if to_regclass(g.legacy) is null then
    -- Nothing is there that could be lost.
    insert into tallyroll.guard_proof (guard, legacy_rows, legacy_groups, replacement_groups, source_groups, differences, legacy_hash, definition_hash, version)
    values (of_guard, 0, 0, 0, 0, 0, 'no table', md5(g.definition), g.version)
    returning id into proof;
    return proof;
  end if;
  execute format('lock table %s in share row exclusive mode', g.legacy);
  perform tallyroll.guard_sees_all(g.legacy);
  if to_regclass(g.replacement) is null then
    raise exception 'guard %: there is no table %, which is to replace %', of_guard, g.replacement, g.legacy
      using errcode = 'undefined_table', hint = coalesce(g.backfill, g.copy);
  end if;
  execute format('lock table %s in share mode', g.replacement);
  perform tallyroll.guard_sees_all(g.replacement);
  if to_regclass(g.source) is not null then
    perform tallyroll.guard_sees_all(g.source);
  end if;
  execute format('select * from tallyroll.%I()', 'guard_' || of_guard || '_content') into content;
  execute format(
    'select count(*), count(distinct (tenant, bucket)), count(distinct (tenant, bucket)) filter (where not in_source) from tallyroll.%I()', 'guard_' || of_guard)
    into found_differences, buckets, not_in_source;
  if found_differences > 0 then
    select * into waived from tallyroll.guard_waiver w where w.guard = of_guard and w.until > clock_timestamp() order by w.until desc limit 1;
    execute format('select * from tallyroll.%I() order by bucket, tenant, measure limit 1', 'guard_' || of_guard) into first;
    if waived.id is not null then
      raise warning 'guard %: % of % buckets differ, and it passes only by a waiver of % until %: %',
        of_guard, buckets, content.legacy_groups, waived.granted_by, waived.until, waived.reason;
    else
      remedy := concat_ws(E'\n',
        case when buckets > not_in_source then coalesce(g.backfill, g.copy) end,
        case when not_in_source > 0 then format('-- of %s buckets the source has no rows any more:', not_in_source) end,
        case when not_in_source > 0 then g.copy end);
      raise exception 'guard %: % is not covered by %: % differences in %, the first of tenant % at %, %: % expected (%), % found',
        of_guard, replace(g.legacy, '"', ''), replace(g.replacement, '"', ''), found_differences, buckets || case when buckets = 1 then ' bucket' else ' buckets' end, coalesce(first.tenant, '-'), first.bucket, first.measure,
        trim_scale(first.expected), first.side, trim_scale(first.found)
        using errcode = 'restrict_violation', hint = remedy;
    end if;
  end if;
  insert into tallyroll.guard_proof
    (guard, legacy_rows, legacy_groups, replacement_groups, source_groups, differences, legacy_hash, definition_hash, version, waiver)
  values
    (of_guard, content.legacy_rows, content.legacy_groups, content.replacement_groups, content.source_groups, found_differences, content.legacy_hash,
     md5(g.definition), g.version, waived.id)
  returning id into proof;
  return proof;
end
$guard$;
comment on function tallyroll.assert_covered(text) is 'Fails unless the replacement holds what the legacy table does; to be called by the transaction that drops the latter';
