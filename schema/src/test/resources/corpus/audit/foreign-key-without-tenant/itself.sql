-- finds: public.folders.folders_parent_fkey error
create table folders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, parent bigint);
create index on folders (tenant_id);
select pg_temp.guard('folders');
--- fault
alter table folders add foreign key (parent) references folders on delete cascade;
--- fixed
alter table folders add unique (tenant_id, id);
alter table folders add foreign key (tenant_id, parent) references folders (tenant_id, id) on delete cascade;
