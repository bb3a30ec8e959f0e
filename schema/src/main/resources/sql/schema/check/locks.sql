select l.relation::bigint, l.mode, least(
    nullif(current_setting('lock_timeout')::interval, interval '0'),
    nullif(current_setting('statement_timeout')::interval, interval '0')) <= interval '1 minute'
from pg_catalog.pg_locks l
where l.pid = pg_catalog.pg_backend_pid()
  and l.locktype = 'relation'
  and l.granted
  and l.mode in ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
