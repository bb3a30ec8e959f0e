-- finds: public.plans.plans_code error
create table plans (id int primary key, code text not null);
insert into plans values (1, 'a'), (2, 'a');
--- fault
-- go
create unique index concurrently plans_code on plans (code);
-- fails
--- fixed
delete from plans where id = 2;
-- go
create unique index concurrently plans_code on plans (code);
