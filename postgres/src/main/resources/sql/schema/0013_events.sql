set local lock_timeout = '2s';

-- What the server takes in. Every table of tenants has row-level security, enabled and forced; who may do what in them is granted when a
-- server is set up, to two roles: the one that it logs in as, which sees one tenant at a time, and the one that appends.

create table tallyroll.tenant (
  id         text collate "C" primary key check (id ~ '^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$'),
  zone       text not null default 'UTC',
  created_at timestamptz not null default clock_timestamp()
);
comment on table tallyroll.tenant is 'The tenants that may send events, with the zone in which their days begin';

create table tallyroll.api_key (
  id           text collate "C" primary key check (id ~ '^[a-z0-9]{16}$'),
  tenant       text collate "C" references tallyroll.tenant,
  scope        text not null check (scope in ('ingest', 'read', 'admin')),
  secret_hash  bytea not null check (octet_length(secret_hash) = 32),
  created_at   timestamptz not null default clock_timestamp(),
  expires_at   timestamptz,
  revoked_at   timestamptz,
  last_used_at timestamptz,
  -- Who administrates sees all tenants, and sends no events: then a credential would not tell whose they are.
  check ((scope = 'admin') = (tenant is null))
);
create index on tallyroll.api_key (tenant);
comment on table tallyroll.api_key is 'Credentials: of the secret only its SHA-256 is here';

-- One for each event that was ever counted, whatever its time: a retry without a time would be another event otherwise.
create table tallyroll.event_key (
  tenant      text collate "C" not null,
  key         uuid not null,
  -- Of the event, not when it happened: a retry may tell another time, or none.
  received_at timestamptz not null,
  primary key (tenant, key)
);
comment on table tallyroll.event_key is 'The keys of the events that are counted: the first 16 bytes of SHA-256 over length-prefixed source and id';

create table tallyroll.event (
  tenant             text collate "C" not null,
  source             text collate "C" not null,
  id                 text collate "C" not null,
  time               timestamptz not null,
  received_at        timestamptz not null,
  type               text collate "C" not null,
  subject            text collate "C",
  project_id         text collate "C",
  user_id            text collate "C",
  agent_id           text collate "C",
  workflow_id        text collate "C",
  session_id         text collate "C",
  provider           text collate "C",
  model              text collate "C",
  operation          text collate "C",
  status             text collate "C",
  error_type         text collate "C",
  duration_ms        double precision,
  ttft_ms            double precision,
  input_tokens       bigint,
  output_tokens      bigint,
  cache_read_tokens  bigint,
  cache_write_tokens bigint,
  reasoning_tokens   bigint,
  quantity           numeric,
  unit               text collate "C",
  attributes         jsonb,
  tallyroll_xid      xid8 default pg_current_xact_id()
) partition by range (time);
comment on table tallyroll.event is 'The event log: append-only, its own feed, a partition for each UTC day';
comment on column tallyroll.event.source is 'Where an event comes from, as CloudEvents has it; otlp for spans';
comment on column tallyroll.event.id is 'Its id there; <traceid>-<spanid> for spans';

-- As the capture of changes: append has it, so that apply finds it in place.
alter table tallyroll.event add constraint tallyroll_xid_is_own
  check (tallyroll_xid is not null and tallyroll_xid = pg_current_xact_id()) not valid;
create index event_tallyroll_xid on tallyroll.event (tallyroll_xid) where tallyroll_xid is not null;
-- For who asks for what no refresh has merged yet, of one tenant.
create index event_tenant_xid on tallyroll.event (tenant, tallyroll_xid);
create trigger tallyroll_append_only before update or delete on tallyroll.event
  for each row execute function tallyroll.refuse_change();
create trigger tallyroll_no_truncate before truncate on tallyroll.event
  for each statement execute function tallyroll.refuse_change();

create table tallyroll.event_quarantine (
  id             bigint generated always as identity primary key,
  tenant         text collate "C" not null,
  quarantined_at timestamptz not null default clock_timestamp(),
  kind           text not null check (kind in ('span')),
  reason         text not null,
  payload        text not null
);
create index on tallyroll.event_quarantine (tenant, id);
comment on table tallyroll.event_quarantine is 'What was acknowledged in part, so that its sender does not try again, and could not be counted';

do $$
declare
  one text;
begin
  foreach one in array array['tenant', 'api_key', 'event_key', 'event', 'event_quarantine'] loop
    execute format('alter table tallyroll.%I enable row level security, force row level security', one);
    execute format('create policy owner on tallyroll.%I to current_user using (true) with check (true)', one);
    execute format(
      'create policy tenant_reads on tallyroll.%I for select using (%I = (select nullif(current_setting(''tallyroll.tenant'', true), '''')))',
      one, case one when 'tenant' then 'id' else 'tenant' end);
  end loop;
end
$$;

-- Partitions of the log. Whoever appends may ask for a day that is missing, since only an owner can make one.

create function tallyroll.make_event_day(of_day date) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '10s' set timezone = 'UTC' as $$
declare
  partition constant text := 'event_p' || to_char(of_day, 'YYYYMMDD');
begin
  if to_regclass(format('tallyroll.%I', partition)) is not null then
    return false;
  end if;
  if of_day not between current_date - 4000 and current_date + 3 then
    raise exception 'no day of events: %', of_day using errcode = 'invalid_parameter_value';
  end if;
  -- One at a time; who waited finds it made.
  lock table tallyroll.event in share update exclusive mode;
  if to_regclass(format('tallyroll.%I', partition)) is not null then
    return false;
  end if;
  execute format('create table tallyroll.%I (like tallyroll.event including defaults including storage)', partition);
  execute format(
    'alter table tallyroll.%I add constraint tallyroll_xid_is_own check (tallyroll_xid is not null and tallyroll_xid = pg_current_xact_id()) not valid',
    partition);
  execute format('alter table tallyroll.%I enable row level security, force row level security', partition);
  execute format(
    'create trigger tallyroll_no_truncate before truncate on tallyroll.%I for each statement execute function tallyroll.refuse_change()',
    partition);
  execute format(
    'alter table tallyroll.event attach partition tallyroll.%I for values from (%L) to (%L)',
    partition, of_day::timestamptz, (of_day + 1)::timestamptz);
  return true;
end
$$;
comment on function tallyroll.make_event_day(date) is 'Makes the partition of a UTC day of the event log; false if it is there';

-- Credentials. Before it is known whose a request is there is no tenant to set: a key is looked up by its whole id alone.

create function tallyroll.find_api_key(of_id text)
returns table (tenant text, scope text, secret_hash bytea, expires_at timestamptz, revoked_at timestamptz)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select k.tenant, k.scope, k.secret_hash, k.expires_at, k.revoked_at from tallyroll.api_key k where k.id = of_id
$$;
comment on function tallyroll.find_api_key(text) is 'A credential by its whole id';

create function tallyroll.use_api_keys(of_ids text[]) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  update tallyroll.api_key set last_used_at = clock_timestamp() where id = any (of_ids)
$$;
comment on function tallyroll.use_api_keys(text[]) is 'Writes down that credentials were used';

revoke execute on function tallyroll.make_event_day(date), tallyroll.find_api_key(text), tallyroll.use_api_keys(text[]) from public;

create table tallyroll.server_role (
  role name primary key
);
comment on table tallyroll.server_role is 'The roles that servers log in as: what apply makes is granted to them';

-- Default privileges give a refresher all tables. Of these it needs none but the log, as a source, for which plan --grants has the grants.
do $$
declare
  one record;
begin
  for one in
    select distinct pg_get_userbyid(a.grantee) as role from pg_class c, aclexplode(c.relacl) a
    where c.oid = 'tallyroll.rollup'::regclass and a.grantee not in (0, c.relowner)
  loop
    execute format(
      'revoke all on tallyroll.tenant, tallyroll.api_key, tallyroll.event_key, tallyroll.event, tallyroll.event_quarantine, tallyroll.server_role from %I',
      one.role);
    execute format(
      'revoke execute on function tallyroll.make_event_day(date), tallyroll.find_api_key(text), tallyroll.use_api_keys(text[]) from %I', one.role);
  end loop;
end
$$;
