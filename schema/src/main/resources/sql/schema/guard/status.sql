select g.name, g.legacy, g.replacement,
  (select to_char(max(p.proved_at) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') from tallyroll.guard_proof p where p.guard = g.name),
  (select count(*) from tallyroll.guard_proof p where p.guard = g.name),
  (
    select w.granted_by || ' until ' || to_char(w.until at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') || ': ' || w.reason
    from tallyroll.guard_waiver w
    where w.guard = g.name and w.until > clock_timestamp()
    order by w.until desc
    limit 1),
  to_regclass(g.legacy) is not null
from tallyroll.guard g
order by g.name
