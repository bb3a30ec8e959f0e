-- finds: public.plans.plans_code_2 note
-- page
create table plans (id int primary key, code text not null);
create index plans_code_1 on plans (code);
--- fault
create index plans_code_2 on plans (code);
--- fixed
create index plans_code_2 on plans (code text_pattern_ops);
