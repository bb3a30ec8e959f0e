-- finds: plans warning
-- mend: by people
create table plans (id int primary key);
create schema api;
--- fault
create view api.plans as select 1 as id;
--- fixed
create view api.plans with (security_invoker = true) as select id from public.plans;
