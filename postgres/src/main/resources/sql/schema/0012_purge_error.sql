set local lock_timeout = '2s';

-- A purge that fails hour after hour is to be seen by whoever looks at the rollup.

alter table tallyroll.refresh
  add column purge_error text,
  add column purge_error_at timestamptz;
comment on column tallyroll.refresh.purge_error is 'Why the last purge by source.keep did not go through; null if it did';
