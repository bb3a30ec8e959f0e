with
  s as (
    select n.oid, n.nspname
    from pg_catalog.pg_namespace n
    where n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') and n.nspname not like 'pg\_temp\_%' and n.nspname not like 'pg\_toast\_temp\_%'
  ),
  extended as (
    select d.classid, d.objid
    from pg_catalog.pg_depend d
    where d.deptype = 'e'
  )
select 'schema ' || s.nspname, concat_ws(' ', pg_catalog.pg_get_userbyid(n.nspowner), (select pg_catalog.string_agg(x::text, ',' order by x::text) from unnest(coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner))) x))
from s
join pg_catalog.pg_namespace n on n.oid = s.oid
where not exists (select from extended e where e.classid = 'pg_catalog.pg_namespace'::regclass and e.objid = s.oid)
union all
select
  case c.relkind when 'v' then 'view ' when 'm' then 'materialized view ' when 'S' then 'sequence ' when 'f' then 'foreign table ' else 'table ' end
    || s.nspname || '.' || c.relname,
  concat_ws(' ',
    pg_catalog.pg_get_userbyid(c.relowner), (select pg_catalog.string_agg(x::text, ',' order by x::text) from unnest(coalesce(c.relacl, pg_catalog.acldefault(case c.relkind when 'S' then 's'::"char" else 'r' end, c.relowner))) x),
    (select pg_catalog.string_agg(o, ',' order by o) from unnest(c.reloptions) o),
    case c.relpersistence when 'u' then 'unlogged' end,
    case when c.relrowsecurity then 'rls' end, case when c.relforcerowsecurity then 'forced' end,
    case when c.relkind in ('r', 'p') then 'replica identity ' || c.relreplident::text end,
    case when c.relkind = 'p' then pg_catalog.pg_get_partkeydef(c.oid) end,
    case when c.relispartition then pg_catalog.pg_get_expr(c.relpartbound, c.oid) end,
    (select pg_catalog.string_agg(i.inhparent::regclass::text, ',' order by i.inhseqno) from pg_catalog.pg_inherits i where i.inhrelid = c.oid),
    case when c.relkind in ('v', 'm') then pg_catalog.pg_get_viewdef(c.oid) end,
    (select concat_ws(',', q.seqtypid::regtype, q.seqstart, q.seqincrement, q.seqmin, q.seqmax, q.seqcache, q.seqcycle) from pg_catalog.pg_sequence q where q.seqrelid = c.oid),
    (select 'owned by ' || o.refobjid::regclass || '.' || a.attname from pg_catalog.pg_depend o join pg_catalog.pg_attribute a on a.attrelid = o.refobjid and a.attnum = o.refobjsubid where o.classid = 'pg_catalog.pg_class'::regclass and o.objid = c.oid and c.relkind = 'S' and o.deptype in ('a', 'i') limit 1))
from pg_catalog.pg_class c
join s on s.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')
  and not exists (select from extended e where e.classid = 'pg_catalog.pg_class'::regclass and e.objid = c.oid)
union all
select 'column ' || s.nspname || '.' || c.relname || '.' || a.attname,
  concat_ws(' ', pg_catalog.format_type(a.atttypid, a.atttypmod), case when a.attnotnull then 'not null' end,
    pg_catalog.pg_get_expr(d.adbin, d.adrelid), nullif(a.attidentity, ''), nullif(a.attgenerated, ''),
    case when a.attcollation <> t.typcollation then a.attcollation::regcollation::text end, nullif(a.attstorage, t.typstorage), nullif(a.attcompression, ''),
    nullif(a.attstattarget, -1), (select pg_catalog.string_agg(x::text, ',' order by x::text) from unnest(a.attacl) x))
from pg_catalog.pg_attribute a
join pg_catalog.pg_class c on c.oid = a.attrelid
join s on s.oid = c.relnamespace
join pg_catalog.pg_type t on t.oid = a.atttypid
left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p', 'v', 'm', 'f', 'c')
  and not exists (select from extended e where e.classid = 'pg_catalog.pg_class'::regclass and e.objid = c.oid)
union all
select 'order of columns of ' || s.nspname || '.' || c.relname, pg_catalog.string_agg(a.attname, ', ' order by a.attnum)
from pg_catalog.pg_attribute a
join pg_catalog.pg_class c on c.oid = a.attrelid
join s on s.oid = c.relnamespace
where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p')
  and not exists (select from extended e where e.classid = 'pg_catalog.pg_class'::regclass and e.objid = c.oid)
group by s.nspname, c.relname
union all
select 'constraint ' || coalesce(k.conrelid::regclass::text, k.contypid::regtype::text) || ' ' || k.conname,
  concat_ws(' ', pg_catalog.pg_get_constraintdef(k.oid), case when not k.convalidated then 'not valid' end)
from pg_catalog.pg_constraint k
join s on s.oid = k.connamespace
where not exists (select from extended e where (e.classid, e.objid) in (('pg_catalog.pg_class'::regclass::oid, k.conrelid), ('pg_catalog.pg_type'::regclass::oid, k.contypid)))
union all
select 'index ' || s.nspname || '.' || c.relname,
  concat_ws(' ', pg_catalog.pg_get_indexdef(i.indexrelid), case when not i.indisvalid then 'invalid' end, case when not i.indisready then 'not ready' end,
    case when i.indisclustered then 'clustered' end, case when i.indisreplident then 'replica identity' end)
from pg_catalog.pg_index i
join pg_catalog.pg_class c on c.oid = i.indexrelid
join s on s.oid = c.relnamespace
where not exists (select from extended e where e.classid = 'pg_catalog.pg_class'::regclass and e.objid = i.indrelid)
union all
select 'policy ' || p.polrelid::regclass::text || ' ' || p.polname,
  concat_ws(' ', p.polcmd, p.polpermissive, (select pg_catalog.string_agg(coalesce(r.rolname, 'public'), ',' order by r.rolname) from unnest(p.polroles) o left join pg_catalog.pg_roles r on r.oid = o),
    pg_catalog.pg_get_expr(p.polqual, p.polrelid), '|', pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid))
from pg_catalog.pg_policy p
join pg_catalog.pg_class c on c.oid = p.polrelid
join s on s.oid = c.relnamespace
union all
select 'trigger ' || t.tgrelid::regclass::text || ' ' || t.tgname, pg_catalog.pg_get_triggerdef(t.oid) || ' ' || t.tgenabled::text::text
from pg_catalog.pg_trigger t
join pg_catalog.pg_class c on c.oid = t.tgrelid
join s on s.oid = c.relnamespace
where not t.tgisinternal
union all
select 'rule ' || r.ev_class::regclass::text || ' ' || r.rulename, pg_catalog.pg_get_ruledef(r.oid)
from pg_catalog.pg_rewrite r
join pg_catalog.pg_class c on c.oid = r.ev_class
join s on s.oid = c.relnamespace
where r.rulename <> '_RETURN'
union all
select 'function ' || p.oid::regprocedure::text,
  concat_ws(' ', pg_catalog.pg_get_userbyid(p.proowner), (select pg_catalog.string_agg(x::text, ',' order by x::text) from unnest(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) x), case when p.prokind <> 'a' then pg_catalog.pg_get_functiondef(p.oid) end,
    (select concat_ws(',', g.aggtransfn, g.aggfinalfn, g.aggtranstype::regtype, g.agginitval) from pg_catalog.pg_aggregate g where g.aggfnoid = p.oid))
from pg_catalog.pg_proc p
join s on s.oid = p.pronamespace
where not exists (select from extended e where e.classid = 'pg_catalog.pg_proc'::regclass and e.objid = p.oid)
union all
select 'type ' || t.oid::regtype::text,
  concat_ws(' ', t.typtype, pg_catalog.pg_get_userbyid(t.typowner), (select pg_catalog.string_agg(x::text, ',' order by x::text) from unnest(coalesce(t.typacl, pg_catalog.acldefault('T', t.typowner))) x),
    (select pg_catalog.string_agg(l.enumlabel, ',' order by l.enumsortorder) from pg_catalog.pg_enum l where l.enumtypid = t.oid),
    case when t.typtype = 'd' then concat_ws(' ', pg_catalog.format_type(t.typbasetype, t.typtypmod), t.typnotnull, t.typdefault) end)
from pg_catalog.pg_type t
join s on s.oid = t.typnamespace
left join pg_catalog.pg_class c on c.oid = t.typrelid
where t.typtype in ('e', 'd', 'r', 'c') and (c.relkind is null or c.relkind = 'c')
  and not exists (select from extended e where e.classid = 'pg_catalog.pg_type'::regclass and e.objid = t.oid)
union all
select 'statistics ' || s.nspname || '.' || x.stxname, pg_catalog.pg_get_statisticsobjdef(x.oid)
from pg_catalog.pg_statistic_ext x
join s on s.oid = x.stxnamespace
union all
select 'extension ' || e.extname, e.extversion || ' ' || e.extnamespace::regnamespace::text
from pg_catalog.pg_extension e
union all
select 'publication ' || p.pubname,
  concat_ws(' ', p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate,
    (select pg_catalog.string_agg(r.prrelid::regclass::text, ',' order by r.prrelid::regclass::text) from pg_catalog.pg_publication_rel r where r.prpubid = p.oid))
from pg_catalog.pg_publication p
union all
select 'event trigger ' || v.evtname, concat_ws(' ', v.evtevent, v.evtenabled, v.evtfoid::regproc, v.evttags::text)
from pg_catalog.pg_event_trigger v
union all
select 'default privileges of ' || pg_catalog.pg_get_userbyid(d.defaclrole) || coalesce(' in ' || n.nspname, '') || ' on ' || d.defaclobjtype::text, (select pg_catalog.string_agg(x::text, ',' order by x::text) from unnest(d.defaclacl) x)
from pg_catalog.pg_default_acl d
left join pg_catalog.pg_namespace n on n.oid = d.defaclnamespace
union all
select 'comment on ' || pg_catalog.pg_describe_object(d.classoid, d.objoid, d.objsubid), d.description
from pg_catalog.pg_description d
where d.classoid in ('pg_catalog.pg_namespace'::regclass, 'pg_catalog.pg_class'::regclass, 'pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_type'::regclass, 'pg_catalog.pg_constraint'::regclass, 'pg_catalog.pg_policy'::regclass, 'pg_catalog.pg_trigger'::regclass)
  and d.objoid >= 16384
  and not exists (select from extended e where e.classid = d.classoid and e.objid = d.objoid)
order by 1, 2
