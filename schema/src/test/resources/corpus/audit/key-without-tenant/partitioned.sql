-- finds: public.events.events_key error
create table events (tenant_id uuid not null references tenants, ts timestamptz not null, name text not null) partition by range (ts);
create table events_2026 partition of events for values from ('2026-01-01') to ('2027-01-01');
create index on events (tenant_id);
select pg_temp.guard('events');
--- fault
alter table events add constraint events_key unique (name, ts);
--- fixed
alter table events add constraint events_key unique (tenant_id, name, ts);
