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
  -- The first bucket of the source may be purged in part.
  begun as (
    select min(s.bucket) as bucket
    from source s
  ),
  expected as (
    select 'the legacy table' as side, l.tenant, l.bucket, l.key, v.measure, v.expected, v.found, v.absolute, v.relative
    from legacy l
    left join replacement r on r.tenant is not distinct from l.tenant and r.bucket = l.bucket and r.key = l.key
    cross join lateral (values {legacy_values}) v (measure, expected, found, absolute, relative)
    {source_values}
    {coverage}
  )
select e.side, e.tenant, e.bucket, e.key, e.measure, e.expected, e.found,
  exists (select from source s where s.tenant is not distinct from e.tenant and s.bucket = e.bucket) as in_source
from expected e
where e.found < e.expected - greatest(e.absolute, e.relative * abs(e.expected))
  or e.found > e.expected + greatest(e.absolute, e.relative * abs(e.expected))
    and not {excess}
    -- What is not over yet grows on.
    and e.bucket + {every} <= now()
    and not (e.side = 'the source' and e.bucket = (select b.bucket from begun b))
