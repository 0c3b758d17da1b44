-- Whether a job goes on when the one that it is in has ended: a dependency that is not waited for.
alter table jobs add column outlives integer not null default 0;
