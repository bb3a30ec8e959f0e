create schema demo;

create table demo.tenant (
  id   text primary key,
  zone text not null
);

create table demo.llm_call (
  id            bigint generated always as identity,
  tenant_id     text not null references demo.tenant,
  ts            timestamptz not null,
  received_at   timestamptz not null default now(),
  project_id    text not null,
  workflow_id   text,
  user_id       text not null,
  provider      text not null,
  model         text not null,
  status        text not null,
  error_message text,
  input_tokens  integer not null,
  output_tokens integer,
  cost_usd      numeric(12, 6),
  duration_ms   double precision not null
);
create index on demo.llm_call (ts);

create table demo.workflow_run (
  id          bigint generated always as identity,
  tenant_id   text not null references demo.tenant,
  ts          timestamptz not null,
  workflow_id text not null,
  user_id     text not null,
  status      text not null,
  steps       integer not null,
  duration_ms bigint not null
);
create index on demo.workflow_run (ts);
