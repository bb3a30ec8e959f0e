create or replace function tallyroll.{compare_name}()
returns table (side text, tenant text, bucket timestamptz, key jsonb, measure text, expected numeric, found numeric, in_source boolean)
language sql stable set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $tallyroll_guard$
{compare}
$tallyroll_guard$;

create or replace function tallyroll.{content_name}()
returns table (legacy_rows bigint, legacy_groups bigint, replacement_groups bigint, source_groups bigint, legacy_hash text)
language sql stable set search_path = pg_catalog, pg_temp set timezone = 'UTC' as $tallyroll_guard$
{content}
$tallyroll_guard$;

insert into tallyroll.guard (name, definition, legacy, legacy_oid, replacement, source, backfill, copy, version)
values ({name}, {definition}, {legacy}, to_regclass({legacy}), {replacement}, {source}, {backfill}, {copy}, {version})
on conflict (name) do update
set definition = excluded.definition, legacy = excluded.legacy, legacy_oid = excluded.legacy_oid, replacement = excluded.replacement,
    source = excluded.source, backfill = excluded.backfill, copy = excluded.copy, version = excluded.version, installed_at = now();
