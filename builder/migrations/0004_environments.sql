-- What was deployed, and what it left behind. What earlier versions wrote here nothing read; the next deploy writes it anew.
drop table environments;

create table environments (
    namespace text    not null,
    name      text    not null,
    state     text    not null check (state in ('deployed', 'failed', 'destroyed')),
    -- The job that changed it last, what it did, and whose it was.
    job       text    not null,
    kind      text    not null,
    owner     text    not null,
    updated   integer not null,
    -- Images, variables and versions of the commands, encrypted. Nothing once it is destroyed.
    sealed    blob,
    primary key (namespace, name)
);
