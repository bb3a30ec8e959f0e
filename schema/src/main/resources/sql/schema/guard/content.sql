with
  legacy as (
    select {legacy_tenant} as tenant, {legacy_bucket} as bucket, {legacy_key} as key, count(*) as rows_of_group, {legacy_measures}
    from {legacy}
    group by 1, 2, 3
  )
select
  coalesce((select sum(l.rows_of_group) from legacy l), 0)::bigint as legacy_rows,
  (select count(*) from legacy) as legacy_groups,
  (select count(*) from (select from {replacement} group by {replacement_tenant}, {replacement_bucket}, {replacement_key}) g) as replacement_groups,
  (select count(*) from ({source}) s) as source_groups,
  -- In any order, and of any number of groups.
  (select coalesce(sum(hashtextextended(l::text, 0)::numeric), 0)::text from legacy l) as legacy_hash
