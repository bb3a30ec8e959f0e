-- finds: public.plan_count() warning
create table plans (id int primary key);
--- fault
create function plan_count() returns bigint language sql stable as $$ select count(*) from plans /* from nothing */ $$;
--- fixed
create function plan_count() returns bigint language sql stable as $$ select count(*) from public.plans $$;
