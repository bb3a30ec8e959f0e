set local lock_timeout = '2s';

-- How far keep has followed the clock, so that a clock that jumps ahead takes nothing with it.

alter table tallyroll.refresh
  add column keep_time timestamptz,
  add column held_at timestamptz;
comment on column tallyroll.refresh.keep_time is
  'The moment of the clock by which keep was applied last, to the hour; NULL before the first time';
comment on column tallyroll.refresh.held_at is
  'What the clock showed when it had gone too far ahead of that to be believed; NULL while it is';

update tallyroll.refresh f
set keep_time = greatest(
  f.finished_at, r.installed_at, (select max(s.published_at) from tallyroll.slice s where s.rollup = f.rollup))
from tallyroll.rollup r
where r.name = f.rollup;
