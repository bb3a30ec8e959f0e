-- finds: public.plan_count() warning
create table plans (id int primary key);
--- fault
create function plan_count() returns bigint language sql stable as $$ select count(*) from plans $$;
--- fixed
create function plan_count() returns bigint language sql stable begin atomic select count(*) from plans; end;
