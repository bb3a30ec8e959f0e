-- finds: public.plans.plans_code_key note
create table plans (id int primary key, code text);
--- fault
alter table plans add constraint plans_code_key unique (code);
--- fixed
alter table plans alter code set not null, add constraint plans_code_key unique (code);
