select c.oid, n.nspname, c.relname, c.relkind, pg_get_userbyid(c.relowner), c.relrowsecurity, c.relforcerowsecurity,
       c.relispartition, (select i.inhparent from pg_inherits i where i.inhrelid = c.oid and c.relispartition),
       coalesce(c.reloptions, '{}'),
       (select d.refobjid from pg_depend d
         where c.relkind = 'S' and d.classid = 'pg_class'::regclass and d.objid = c.oid
           and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i') limit 1)
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where n.oid = any (?) and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
   and not exists (select from pg_depend d
                    where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
 order by n.nspname, c.relname
