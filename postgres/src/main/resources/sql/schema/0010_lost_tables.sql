-- Whether a table of a source ever held a row: one that did not takes nothing with it when it is dropped.
alter table tallyroll.leaf add column held_rows boolean not null default false;
comment on column tallyroll.leaf.held_rows is 'Whether a refresh has seen the table with rows, as far as its size tells';
update tallyroll.leaf set held_rows = true;
comment on column tallyroll.seal.seen is
  'Changes that it sees were made before the seal; if it sees all there will be, only some of the tables that held rows of the range are gone';
alter table tallyroll.seal add column divided_by text[];
comment on column tallyroll.seal.divided_by is
  'If only some of the tables are gone: the columns that tell in which table a row lies; NULL if expressions do';
