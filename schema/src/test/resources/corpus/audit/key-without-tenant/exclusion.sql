-- finds: public.bookings.bookings_excl error
-- mend: by people
create table bookings (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, slot tstzrange not null);
create index on bookings (tenant_id);
select pg_temp.guard('bookings');
--- fault
alter table bookings add constraint bookings_excl exclude using gist (slot with &&);
--- fixed
alter table bookings add constraint bookings_excl exclude using gist (int4range(hashtext(tenant_id::text), hashtext(tenant_id::text), '[]') with &&, slot with &&);
