select i.indexrelid, c.relname, i.indrelid, i.indisunique, i.indisprimary, i.indisexclusion, k.conname,
       i.indisvalid, i.indisready, i.indislive, i.indnullsnotdistinct, c.relispartition, m.amname,
       i.indkey::text, i.indnkeyatts, i.indclass::text, i.indcollation::text, i.indoption::text,
       pg_get_expr(i.indpred, i.indrelid),
       k.condeferrable, k.condeferred, pg_get_indexdef(i.indexrelid)
  from pg_index i
  join pg_class c on c.oid = i.indexrelid
  join pg_class r on r.oid = i.indrelid
  join pg_am m on m.oid = c.relam
  left join pg_constraint k on k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x')
 where r.relnamespace = any (?) and r.relkind in ('r', 'p', 'm')
 order by i.indrelid, c.relname
