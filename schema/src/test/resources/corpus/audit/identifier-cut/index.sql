-- finds: public.plans.an_index_whose_name_somebody_has_made_much_too_long_so_that_it_ warning
-- mend: by people
create table plans (id int primary key, code text not null);
--- fault
create index an_index_whose_name_somebody_has_made_much_too_long_so_that_it_is_cut on plans (code);
--- fixed
create index an_index_with_a_name on plans (code);
