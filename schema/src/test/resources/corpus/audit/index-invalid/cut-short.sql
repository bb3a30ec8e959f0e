-- finds: public.plans.plans_code error
-- page
create table plans (id int primary key, code text not null);
--- fault
create index plans_code on plans (code);
update pg_index set indisvalid = false where indexrelid = 'plans_code'::regclass;
--- fixed
create index plans_code on plans (code);
