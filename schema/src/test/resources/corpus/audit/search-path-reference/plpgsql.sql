-- finds: public.add_plan(integer) warning
create table plans (id int primary key);
--- fault
create function add_plan(id int) returns void language plpgsql as $$ begin insert into plans values (id); end $$;
--- fixed
create function add_plan(id int) returns void language plpgsql set search_path = public, pg_temp as $$ begin insert into plans values (id); end $$;
