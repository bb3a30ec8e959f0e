-- finds: public.notes.notes_slug_key error
--- fault
create table notes (id serial primary key, tenant_id uuid not null references tenants, slug text not null unique);
create index on notes (tenant_id);
select pg_temp.guard('notes');
--- fixed
create table notes (id serial primary key, tenant_id uuid not null references tenants, slug text not null, unique (tenant_id, slug));
select pg_temp.guard('notes');
