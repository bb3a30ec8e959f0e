-- finds: public.steps.steps_place_key error
create table steps (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, place int not null);
create index on steps (tenant_id);
select pg_temp.guard('steps');
--- fault
alter table steps add constraint steps_place_key unique (place) deferrable initially deferred;
--- fixed
alter table steps add constraint steps_place_key unique (tenant_id, place) deferrable initially deferred;
