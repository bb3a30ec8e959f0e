-- finds: public.plans.plans_id_key note
create table plans (id int primary key, code text not null);
--- fault
alter table plans add unique (id);
--- fixed
alter table plans add unique (id, code);
