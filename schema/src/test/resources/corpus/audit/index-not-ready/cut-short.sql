-- finds: public.plans.plans_code error
create table plans (id int primary key, code text not null);
create index plans_code on plans (code);
--- fault
update pg_index set indisvalid = false, indisready = false where indexrelid = 'plans_code'::regclass;
--- fixed
select 1;
