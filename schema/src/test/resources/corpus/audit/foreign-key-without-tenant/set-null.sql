-- finds: public.tasks.tasks_assignee_fkey error
create table users (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, unique (tenant_id, id));
select pg_temp.guard('users');
create table tasks (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, assignee bigint);
create index on tasks (tenant_id);
select pg_temp.guard('tasks');
--- fault
alter table tasks add foreign key (assignee) references users on delete set null;
--- fixed
alter table tasks add foreign key (tenant_id, assignee) references users (tenant_id, id) on delete set null (assignee);
