-- What every schema of the corpus has, without a fault: a tenants table behind a policy.
create table tenants (id uuid primary key default gen_random_uuid(), name text not null);
alter table tenants enable row level security;
alter table tenants force row level security;
create policy own_row on tenants using (id = (select nullif(current_setting('app.tenant', true), '')::uuid));
