-- finds: public.plans.plans_id note
create table plans (id int primary key, code text not null);
--- fault
create index plans_id on plans (id);
--- fixed
create index plans_id on plans (id, code);
