set local lock_timeout = '2s';

-- Whose rows a table of a source can hold, so that what happens to it is no business of others.

alter table tallyroll.leaf add column tenants text;
comment on column tallyroll.leaf.tenants is
  'The tenants that the table can hold, as literals with commas between them; NULL if its bounds do not tell, or have not always told the same';
