select p.oid, n.nspname, p.proname, oidvectortypes(p.proargtypes), pg_get_userbyid(p.proowner), p.prosecdef,
       coalesce(p.proconfig, '{}'), l.lanname, case when p.prosqlbody is null then p.prosrc else pg_get_function_sqlbody(p.oid) end, p.prosqlbody is not null, p.prokind,
       p.proacl is null or exists (select from aclexplode(p.proacl) a where a.grantee = 0 and a.privilege_type = 'EXECUTE'),
       array(select coalesce(g.rolname, 'public') from aclexplode(p.proacl) a left join pg_roles g on g.oid = a.grantee
              where a.privilege_type = 'EXECUTE' order by 1),
       p.prorettype in ('trigger'::regtype, 'event_trigger'::regtype)
  from pg_proc p
  join pg_namespace n on n.oid = p.pronamespace
  join pg_language l on l.oid = p.prolang
 where n.oid = any (?) and p.prokind in ('f', 'p')
   and not exists (select from pg_depend d
                    where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
 order by n.nspname, p.proname, 4
