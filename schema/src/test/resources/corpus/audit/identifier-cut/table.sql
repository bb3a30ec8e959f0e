-- finds: public.a_table_whose_name_somebody_has_made_much_too_long_so_that_it_i warning
-- mend: by people
--- fault
create table a_table_whose_name_somebody_has_made_much_too_long_so_that_it_is_cut (id int);
--- fixed
create table a_table_whose_name_somebody_has_made_long_but_not_too_long (id int);
