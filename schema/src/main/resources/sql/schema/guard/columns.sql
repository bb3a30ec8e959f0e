select a.attname,
  pg_catalog.format_type(case when t.typtype = 'd' then t.typbasetype else a.atttypid end, null)
from pg_catalog.pg_attribute a
join pg_catalog.pg_class c on c.oid = a.attrelid
join pg_catalog.pg_type t on t.oid = a.atttypid
where c.oid = pg_catalog.to_regclass(?)
  -- No views: they may show what is to go, and cannot be locked.
  and c.relkind in ('r', 'p')
  and a.attnum > 0
  and not a.attisdropped
