select k.oid::bigint, k.conrelid::bigint, k.conname, k.contype::text, k.convalidated, pg_catalog.pg_get_constraintdef(k.oid),
  array(
    select a.attname
    from pg_catalog.pg_attribute a
    where a.attrelid = k.conrelid and a.attnum = any (k.conkey))
from pg_catalog.pg_constraint k
join pg_catalog.pg_class t on t.oid = k.conrelid
join pg_catalog.pg_namespace n on n.oid = t.relnamespace
where k.contype in ('c', 'f', 'n')
  and t.relkind in ('r', 'p', 'm')
  and t.relpersistence <> 't'
  and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
  and (?::oid[] is null or t.oid = any (?::oid[]))
