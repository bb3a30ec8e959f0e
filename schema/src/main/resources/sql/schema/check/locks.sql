select l.relation::bigint, l.mode, current_setting('lock_timeout') <> '0' or current_setting('statement_timeout') <> '0'
from pg_catalog.pg_locks l
where l.pid = pg_catalog.pg_backend_pid()
  and l.locktype = 'relation'
  and l.granted
  and l.mode in ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
