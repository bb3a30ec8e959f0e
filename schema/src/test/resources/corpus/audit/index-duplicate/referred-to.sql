-- finds: public.plans.plans_id_key note
-- mend: by people
create table plans (id int primary key);
--- fault
alter table plans add unique (id);
create table prices (plan int references plans (id));
--- fixed
create table prices (plan int references plans (id));
