select row_security_active(c.oid)
  and (
    exists (
      select
      from pg_catalog.pg_policy p
      where p.polrelid = c.oid
        and not p.polpermissive
        and p.polcmd in ('r', '*')
        and exists (select from unnest(p.polroles) r where r = 0 or pg_catalog.pg_has_role(current_user, r, 'usage')))
    or not exists (
      select
      from pg_catalog.pg_policy p
      where p.polrelid = c.oid
        and p.polpermissive
        and p.polcmd in ('r', '*')
        and pg_catalog.pg_get_expr(p.polqual, p.polrelid) = 'true'
        and exists (select from unnest(p.polroles) r where r = 0 or pg_catalog.pg_has_role(current_user, r, 'usage'))))
from pg_catalog.pg_class c
where c.oid = pg_catalog.to_regclass(?)
