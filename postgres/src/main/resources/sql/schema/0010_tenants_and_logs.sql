set local lock_timeout = '2s';

-- Whose rows a table of a source can hold, so that what happens to it is no business of others.

alter table tallyroll.leaf add column tenants text;
comment on column tallyroll.leaf.tenants is
  'The tenants that the table can hold, as literals with commas between them; NULL if its bounds do not tell, or have not always told the same';

-- While a reader lags, the partition that writers fill next becomes large: it has an index from the start.

create or replace function tallyroll.advance_log(of_source bigint, slot_from integer, slot_to integer) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  log text;
  functions text[];
begin
  -- Locked before they are read: an apply that adds a column makes these functions too.
  select s.log, s.log_functions into log, functions
  from tallyroll.source s where s.id = of_source and s.log_slot = slot_from for update;
  if functions is not null then
    if exists (
      select from pg_inherits h join pg_index i on i.indrelid = h.inhrelid
      where h.inhparent = format('tallyroll.%I', log)::regclass and pg_relation_size(h.inhrelid) > 0
    ) then
      execute format('create index if not exists %I on tallyroll.%I (tallyroll_xid)', log || '_' || slot_to || '_xid', log || '_' || slot_to);
    end if;
    update tallyroll.source set log_slot = slot_to where id = of_source;
    execute functions[slot_to + 1];
  end if;
end
$$;
