-- finds: public.orders.orders_plan_fkey warning
create table plans (id int primary key);
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, plan int);
create index on orders (tenant_id);
select pg_temp.guard('orders');
--- fault
alter table orders add foreign key (plan) references plans not valid;
--- fixed
alter table orders add foreign key (plan) references plans;
