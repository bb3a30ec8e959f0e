-- finds: public.plans.plans_code error
-- mend: by people
create table plans (id int not null, code text not null) partition by list (id);
create table plans_1 partition of plans for values in (1);
--- fault
create index plans_code on only plans (code);
--- fixed
create index plans_code on plans (code);
