select i.indexrelid::bigint, i.indrelid::bigint, c.relname, pg_catalog.pg_relation_filenode(c.oid)::bigint, c.relkind = 'I',
  (
    select k.contype::text
    from pg_catalog.pg_constraint k
    where k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x')
    limit 1),
  pg_catalog.pg_get_indexdef(i.indexrelid),
  (
    select substring(pg_catalog.pg_get_constraintdef(k.oid), '\)( DEFERRABLE.*)$')
    from pg_catalog.pg_constraint k
    where k.conindid = i.indexrelid and k.contype in ('p', 'u')
    limit 1)
from pg_catalog.pg_index i
join pg_catalog.pg_class c on c.oid = i.indexrelid
join pg_catalog.pg_class t on t.oid = i.indrelid
join pg_catalog.pg_namespace n on n.oid = t.relnamespace
where t.relkind in ('r', 'p', 'm')
  and t.relpersistence <> 't'
  and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
  and (?::oid[] is null or t.oid = any (?::oid[]))
