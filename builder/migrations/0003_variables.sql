-- Variables that the service keeps. `owner`: the namespace or the user; empty for the admins'. The value is encrypted.
create table variables (
    scope text not null check (scope in ('admin', 'namespace', 'user')),
    owner text not null,
    name text not null,
    sealed blob not null,
    kind text not null check (kind in ('masked', 'plain', 'secret')),
    updated integer not null,
    primary key (scope, owner, name)
);
