-- From 18 on attnotnull is true while a constraint NOT NULL NOT VALID still lets old NULLs be.
select a.attrelid, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), t.typname, a.attnotnull,
       (select k.conname from pg_constraint k
         where k.conrelid = a.attrelid and k.contype = 'n' and k.conkey = array[a.attnum] and not k.convalidated),
       pg_get_expr(d.adbin, d.adrelid), a.attidentity <> '', a.attgenerated <> ''
  from pg_attribute a
  join pg_class c on c.oid = a.attrelid
  join pg_type t on t.oid = a.atttypid
  left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
 where c.relnamespace = any (?) and c.relkind in ('r', 'p', 'v', 'm', 'f') and a.attnum > 0 and not a.attisdropped
 order by a.attrelid, a.attnum
