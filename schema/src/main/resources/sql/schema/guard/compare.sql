with
  legacy as (
    select {legacy_tenant} as tenant, {legacy_bucket} as bucket, {legacy_key} as key, {legacy_measures}
    from {legacy}
    group by 1, 2, 3
  ),
  replacement as (
    select {replacement_tenant} as tenant, {replacement_bucket} as bucket, {replacement_key} as key, {replacement_measures}
    from {replacement}
    group by 1, 2, 3
  ),
  source as (
    {source}
  ),
  -- Of each tenant, the first bucket of the source may be purged in part.
  begun as (
    select s.tenant, min(s.bucket) as bucket
    from source s
    group by s.tenant
  ),
  span as (
    select min(l.bucket) as bucket_from, max(l.bucket) as bucket_to
    from legacy l
  ),
  expected as (
    select 'the legacy table' as side, l.tenant, l.bucket, l.key, v.measure, v.expected, v.found, v.absolute, v.relative,
      r.bucket is not null as is_there,
      -- Whether the source could give it.
      s.bucket is not null and (v.raw is null or v.raw >= v.expected - greatest(v.absolute, v.relative * abs(v.expected))) as in_source,
      -- Whether the replacement has more because the source has.
      v.raw is not distinct from v.found as is_source
    from legacy l
    left join replacement r on r.tenant = l.tenant and r.bucket = l.bucket and r.key = l.key
    left join source s on s.tenant = l.tenant and s.bucket = l.bucket and s.key = l.key
    cross join lateral (values ('presence', 1::numeric, (r.bucket is not null)::int::numeric, null::numeric, 0::numeric, 0::numeric), {legacy_values})
      v (measure, expected, found, raw, absolute, relative)
    union all
    select 'the source', s.tenant, s.bucket, s.key, v.measure, v.expected, v.found, v.absolute, v.relative,
      r.bucket is not null, true, false
    from source s
    cross join span p
    left join begun b on b.tenant = s.tenant
    left join replacement r on r.tenant = s.tenant and r.bucket = s.bucket and r.key = s.key
    cross join lateral (values ('presence', 1::numeric, (r.bucket is not null)::int::numeric, 0::numeric, 0::numeric){source_values})
      v (measure, expected, found, absolute, relative)
    -- What is not over yet, or came after the legacy table's last, is not at stake.
    where s.bucket <= coalesce(p.bucket_to, 'infinity') and s.bucket + {every} <= now()
      and not (s.bucket = b.bucket and v.found >= v.expected)
    union all
    select 'the legacy table', r.tenant, r.bucket, r.key, 'presence', 0, 1, 0, 0, true, false, false
    from replacement r
    cross join span p
    left join legacy l on l.tenant = r.tenant and l.bucket = r.bucket and l.key = r.key
    left join source s on s.tenant = r.tenant and s.bucket = r.bucket and s.key = r.key
    where l.bucket is null and s.bucket is null and r.bucket between p.bucket_from and p.bucket_to and not {excess}
    {coverage}
  )
select e.side, nullif(substr(e.tenant, 2), case when e.tenant = 'n' then '' end) as tenant, e.bucket, e.key, e.measure, e.expected, e.found, e.in_source
from expected e
where e.found is distinct from e.expected
  and not coalesce(abs(e.found - e.expected) <= greatest(e.absolute, e.relative * abs(e.expected)), false)
  and not (
    -- More than expected, where that is no fault: it is there, and not of the other sign.
    (e.side = 'the legacy table' or {excess}) and e.measure not in ('presence', 'coverage')
    and e.is_there and e.found <> 'NaN' and abs(e.found) > abs(e.expected) and sign(e.found) * sign(e.expected) >= 0
    and ({excess} or e.is_source or e.bucket + {every} > now()))
