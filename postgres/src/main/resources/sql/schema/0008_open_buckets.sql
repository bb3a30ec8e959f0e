-- Coarse buckets that have not ended are not stored while a process watches: fresh reads make them of finer ones.

alter table tallyroll.grain add column open_from timestamptz;
comment on column tallyroll.grain.open_from is
  'Buckets that start here or later are open: not stored, but made of finer ones. Infinity for none; NULL where the rollup''s views are from before';
