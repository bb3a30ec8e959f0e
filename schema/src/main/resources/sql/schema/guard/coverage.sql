union all
    select 'its backfill', l.tenant, l.bucket, l.key, 'coverage', 1, 0, 0, 0, true, s.tenant is not null, false
    from legacy l
    join tallyroll.rollup p on p.name = {rollup}
    left join (select distinct g.tenant, g.bucket from source g) s on s.tenant = l.tenant and s.bucket = l.bucket
    where not (
      -- All of the bucket that is history is published, or adopted.
      tstzmultirange(tstzrange(l.bucket, l.bucket + {every}))
        * tstzmultirange(tstzrange(p.history_from::timestamp at time zone 'UTC', p.history_to::timestamp at time zone 'UTC'))
      <@ (
        select coalesce(range_agg(c.covered), '{}')
        from (
          select tstzrange(d.day_from::timestamp at time zone 'UTC', d.day_to::timestamp at time zone 'UTC') as covered
          from tallyroll.slice d
          where d.rollup = p.name
          union all
          select tstzrange(a.range_from, a.range_to)
          from tallyroll.adopted a
          where a.rollup = p.name
        ) c))
