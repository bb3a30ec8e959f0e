select p.polname, p.polrelid, p.polpermissive, p.polcmd,
       array(select coalesce(r.rolname, 'public') from unnest(p.polroles) with ordinality o (role, at)
               left join pg_roles r on r.oid = o.role order by o.at),
       pg_get_expr(p.polqual, p.polrelid), p.polqual::text, pg_get_expr(p.polwithcheck, p.polrelid), p.polwithcheck::text
  from pg_policy p
  join pg_class c on c.oid = p.polrelid
 where c.relnamespace = any (?)
 order by p.polrelid, p.polname
