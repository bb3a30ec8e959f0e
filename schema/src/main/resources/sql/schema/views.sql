select r.ev_class, pg_get_viewdef(r.ev_class),
       array(select distinct d.refobjid::bigint from pg_depend d
              where d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
                and d.refclassid = 'pg_class'::regclass and d.refobjid <> r.ev_class order by 1)
  from pg_rewrite r
  join pg_class c on c.oid = r.ev_class
 where c.relkind in ('v', 'm') and r.ev_type = '1' and c.relnamespace = any (?)
 order by r.ev_class
