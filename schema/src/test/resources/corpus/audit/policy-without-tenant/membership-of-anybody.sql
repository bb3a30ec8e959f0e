-- finds: public.orders.members error
create table members (tenant_id uuid not null references tenants, login text not null, primary key (tenant_id, login));
select pg_temp.guard('members');
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
create policy members on orders for select using (exists (select from members m where m.login = current_user));
--- fixed
create policy members on orders for select using (exists (select from members m where m.login = current_user and m.tenant_id = orders.tenant_id));
