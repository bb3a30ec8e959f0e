-- finds: public.events_2026 error
create table events (tenant_id uuid not null references tenants, ts timestamptz not null) partition by range (ts);
create table events_2026 partition of events for values from ('2026-01-01') to ('2027-01-01');
create index on events (tenant_id);
select pg_temp.guard('events');
grant select on events to corpus_reader;
--- fault
grant select on events_2026 to corpus_reader;
--- fixed
alter table events_2026 enable row level security;
grant select on events_2026 to corpus_reader;
