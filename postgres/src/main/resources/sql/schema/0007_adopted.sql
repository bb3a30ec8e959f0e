set local lock_timeout = '2s';

-- Buckets that were taken over from a table of the user's, whose raw rows are gone.

create table tallyroll.adopted (
  rollup     text not null references tallyroll.rollup on delete cascade on update cascade,
  range_from timestamptz not null,
  range_to   timestamptz not null,
  origin     text not null,
  grain      text not null,
  rows       bigint not null,
  mapped     jsonb not null,
  adopted_at timestamptz not null default clock_timestamp(),
  adopted_by name not null default session_user,
  primary key (rollup, range_from),
  check (range_from < range_to)
);
comment on table tallyroll.adopted is 'Ranges whose buckets were taken over from another table, since the source never had their rows';
comment on column tallyroll.adopted.origin is 'The table that they come from, as it was called then';
comment on column tallyroll.adopted.grain is 'The width of its rows; finer buckets do not exist of this range';
comment on column tallyroll.adopted.rows is 'How many of its rows were taken';
comment on column tallyroll.adopted.mapped is 'Which of its columns became what';

create function tallyroll.adopted(of_rollup text) returns tstzmultirange
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce(range_agg(tstzrange(range_from, range_to)), '{}') from tallyroll.adopted where rollup = of_rollup
$$;
comment on function tallyroll.adopted(text) is 'The ranges of a rollup whose buckets were taken over from another table';

comment on table tallyroll.start is
  'Measures, dimensions and columns of measures that are not known of an earlier time, whose source rows are gone: they are known from then on';
