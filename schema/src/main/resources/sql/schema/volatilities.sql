select p.oid, n.nspname, p.proname, p.provolatile from pg_proc p join pg_namespace n on n.oid = p.pronamespace where p.oid = any (?)
