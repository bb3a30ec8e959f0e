-- Who claims a key appends its event; of the staging table only what this transaction has put there. In order of keys, so that transactions that have some in common wait and never deadlock.
with claimed as (
  insert into tallyroll.event_key (tenant, key, received_at)
  select tenant, key, received_at from pg_temp.incoming where staged_by = pg_current_xact_id(){eligible} order by key, tenant
  on conflict (tenant, key) do nothing
  returning tenant, key
)
insert into tallyroll.event ({columns})
select {incoming}
from pg_temp.incoming i
where i.staged_by = pg_current_xact_id() and ((select count(*) from claimed) = ? or (i.tenant, i.key) in (select tenant, key from claimed)){unless}
