-- Days of named zones: where they begin is told by the program, which need not have the server's time zone data.

alter table tallyroll.grain
  drop constraint grain_grain_check,
  add constraint grain_grain_check check (grain ~ '^(1m|5m|1h|1d|1d@.+)$'),
  add column days_version text,
  add constraint grain_days_version_check check ((grain like '1d@%') = (days_version is not null));
comment on column tallyroll.grain.days_version is 'Of which time zone data its days are, for the days of a zone';

create table tallyroll.local_day (
  zone    text not null,
  version text not null,
  starts  timestamptz[] not null,
  primary key (zone, version)
);
comment on table tallyroll.local_day is 'When the days of a zone begin, from 1970 to 2100, by version of the time zone data';

create function tallyroll.local_days(of_rollup text, of_grain text) returns timestamptz[]
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  -- Flat in memory, so that no lookup has to unpack it.
  select array_cat(d.starts, '{}')
  from tallyroll.grain g join tallyroll.local_day d on d.zone = substr(g.grain, 4) and d.version = g.days_version
  where g.rollup = of_rollup and g.grain = of_grain
$$;
comment on function tallyroll.local_days(text, text) is 'When the days of a rollup''s zone begin';

create function tallyroll.uncovered_days(of_rollup text, of_grain text) returns tstzmultirange
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce(range_agg(tstzrange(coalesce(d.starts[width_bucket(lower(u), d.starts)], lower(u)), upper(u))), '{}')
  from unnest(tallyroll.uncovered(of_rollup)) u, (select tallyroll.local_days(of_rollup, of_grain)) d (starts)
$$;
comment on function tallyroll.uncovered_days(text, text) is
  'The same as tallyroll.uncovered, widened to the start of the day of the rollup''s zone: it holds the start of every day that is filled in part';
