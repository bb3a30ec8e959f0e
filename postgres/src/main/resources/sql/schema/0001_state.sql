-- What Tallyroll remembers. No row-level security and no grants: only the role that installs reaches these tables.

create table tallyroll.source (
  id         bigint generated always as identity primary key,
  relation   regclass not null unique,
  changes    text not null check (changes in ('append')),
  created_at timestamptz not null default now()
);
comment on table tallyroll.source is 'Tables that rollups are kept over, with how their changes are captured';

create table tallyroll.rollup (
  name              text primary key check (name ~ '^[a-z_][a-z0-9_]{0,47}$'),
  source            bigint not null references tallyroll.source,
  definition        text not null,
  types             text[] not null,
  system_identifier bigint not null,
  anchor            pg_snapshot not null,
  cursor            pg_snapshot not null,
  history_from      date,
  history_to        date,
  installed_at      timestamptz not null default now(),
  check ((history_from is null) = (history_to is null)),
  check (history_from < history_to)
);
comment on table tallyroll.rollup is 'One row for each rollup: its definition, its anchor and its cursor';
comment on column tallyroll.rollup.types is 'Types of tenant, dimensions and measure inputs, in the order of the definition';
comment on column tallyroll.rollup.anchor is 'Snapshot after the capture was in place: what it sees is history';
comment on column tallyroll.rollup.cursor is 'Snapshot of the last refresh: what it sees is merged';
comment on column tallyroll.rollup.history_to is 'First UTC day after the history';

create table tallyroll.grain (
  rollup    text not null references tallyroll.rollup on delete cascade,
  grain     text not null check (grain in ('1m', '5m', '1h', '1d')),
  kept_from timestamptz not null default '-infinity',
  primary key (rollup, grain)
);
comment on column tallyroll.grain.kept_from is 'Buckets that start here or later are complete; older ones are gone or going';

create table tallyroll.slice (
  rollup       text not null references tallyroll.rollup on delete cascade,
  day_from     date not null,
  day_to       date not null,
  rows         bigint not null,
  published_at timestamptz not null default clock_timestamp(),
  primary key (rollup, day_from),
  check (day_from < day_to)
);
comment on table tallyroll.slice is 'Published slices of history: their union is what the backfill covers';

create table tallyroll.refresh (
  rollup        text primary key references tallyroll.rollup on delete cascade,
  finished_at   timestamptz,
  duration_ms   bigint,
  rows          bigint,
  total_rows    bigint not null default 0,
  expired_rows  bigint not null default 0,
  merged_to     timestamptz,
  error         text,
  error_at      timestamptz,
  errors        bigint not null default 0
);
comment on table tallyroll.refresh is 'The last refresh of each rollup, and its last error, which a rolled back refresh leaves too';

create table tallyroll.quarantine (
  id             bigint generated always as identity primary key,
  rollup         text not null references tallyroll.rollup on delete cascade,
  quarantined_at timestamptz not null default clock_timestamp(),
  reason         text not null,
  tenant         text,
  source_row     jsonb not null
);
create index on tallyroll.quarantine (rollup);
comment on table tallyroll.quarantine is 'Source rows that could not be folded, with the reason';

create function tallyroll.refuse_change() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception '% on %.% refused: a Tallyroll rollup reads this table as append-only', tg_op, tg_table_schema, tg_table_name
    using errcode = 'restrict_violation',
          hint = 'drop the rollup first, or insert a correcting row';
end
$$;
comment on function tallyroll.refuse_change() is 'Refuses UPDATE, DELETE and TRUNCATE of tables that are declared as append-only';
