select s.query, s.calls
from {schema}.pg_stat_statements s
join pg_catalog.pg_database d on d.oid = s.dbid
where d.datname = pg_catalog.current_database()
  and s.toplevel
  and s.queryid is not null
  and s.query not like '<%'
order by s.calls desc, s.queryid
