-- How many jobs a job is in, each submitted by a command or a dependency of the one before. `parent_job` names the nearest.
alter table jobs add column depth integer not null default 0;
