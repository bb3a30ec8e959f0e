-- finds: public.plans.plans_code_ccnew error
create table plans (id int primary key, code text not null);
--- fault
create index plans_code_ccnew on plans (code);
update pg_index set indisvalid = false where indexrelid = 'plans_code_ccnew'::regclass;
--- fixed
create index plans_code on plans (code);
