union all
    select 'its backfill', l.tenant, l.bucket, l.key, 'coverage', 1, 0, 0::numeric, 0::numeric
    from legacy l
    join tallyroll.rollup p on p.name = {rollup}
    where l.bucket < p.history_to::timestamp at time zone 'UTC'
      and not exists (
        select
        from tallyroll.slice s
        where s.rollup = p.name
          and l.bucket >= s.day_from::timestamp at time zone 'UTC'
          and l.bucket < s.day_to::timestamp at time zone 'UTC')
      and not exists (
        select
        from tallyroll.adopted a
        where a.rollup = p.name and l.bucket >= a.range_from and l.bucket < a.range_to)
