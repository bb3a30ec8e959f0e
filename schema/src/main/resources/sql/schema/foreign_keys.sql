select k.oid, k.conname, k.conrelid, k.conkey, k.confrelid, k.confkey, k.convalidated, {enforced}, k.confdeltype, k.confupdtype,
       k.condeferrable, k.condeferred
  from pg_constraint k
  join pg_class c on c.oid = k.conrelid
 where k.contype = 'f' and k.conparentid = 0 and c.relnamespace = any (?)
 order by k.conrelid, k.conname
