-- When a job last used the tree, and when the last check of it began.
alter table snapshots add column used integer not null default 0;
alter table snapshots add column checked integer not null default 0;
-- What was uploaded before there were packs is in none of them.
delete from snapshots;
