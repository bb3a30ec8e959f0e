-- finds: public.lines.lines_pkey note
create table orders (id bigint generated always as identity primary key, tenant_id uuid not null references tenants, unique (tenant_id, id));
select pg_temp.guard('orders');
--- fault
create table lines (tenant_id uuid not null, order_id bigint not null, line int not null, primary key (order_id, line), foreign key (tenant_id, order_id) references orders (tenant_id, id));
create index on lines (tenant_id);
select pg_temp.guard('lines');
--- fixed
create table lines (tenant_id uuid not null, order_id bigint not null, line int not null, primary key (tenant_id, order_id, line), foreign key (tenant_id, order_id) references orders (tenant_id, id));
select pg_temp.guard('lines');
