-- finds: public.mail() warning
create table plans (id int primary key);
--- fault
do $x$ begin execute format('create function mail() returns text language sql stable as $$ select %L || (select count(*) from plans) $$', repeat('it''s html ', 20000)); end $x$;
--- fixed
do $x$ begin execute format('create function mail() returns text language sql stable as $$ select %L || (select count(*) from public.plans) $$', repeat('it''s html ', 20000)); end $x$;
