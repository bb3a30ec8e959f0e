select c.oid, coalesce(g.rolname, 'public'), a.privilege_type
  from pg_class c
 cross join aclexplode(c.relacl) a
  left join pg_roles g on g.oid = a.grantee
 where c.relnamespace = any (?) and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
   and (a.grantee = 0 or g.rolname is not null)
union
select c.oid, coalesce(g.rolname, 'public'), a.privilege_type
  from pg_class c
  join pg_attribute t on t.attrelid = c.oid
 cross join aclexplode(t.attacl) a
  left join pg_roles g on g.oid = a.grantee
 where c.relnamespace = any (?) and c.relkind in ('r', 'p', 'v', 'm', 'f') and not t.attisdropped
   and (a.grantee = 0 or g.rolname is not null)
 order by 1, 2, 3
