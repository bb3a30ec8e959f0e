-- finds: plans warning
-- mend: by people
create table plans (id int primary key);
create schema billing;
--- fault
create table billing.plans (id int primary key);
--- fixed
create table billing.prices (id int primary key);
