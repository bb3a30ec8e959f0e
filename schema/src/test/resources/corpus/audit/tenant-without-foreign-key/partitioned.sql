-- finds: public.events.tenant_id warning
create table users (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
create index on users (tenant_id);
select pg_temp.guard('users');
create table events (tenant_id uuid not null, ts timestamptz not null) partition by range (ts);
create index on events (tenant_id);
select pg_temp.guard('events');
--- fault
select 1;
--- fixed
alter table events add foreign key (tenant_id) references tenants;
