-- Times are milliseconds since 1970.

create table namespaces (
    name    text    primary key not null,
    created integer not null
);

create table tokens (
    id      text    primary key not null,
    -- SHA-256 of the secret, which is kept nowhere.
    hash    blob    not null unique,
    "user"  text    not null,
    admin   integer not null,
    created integer not null
);

create table token_namespaces (
    token     text not null references tokens (id) on delete cascade,
    namespace text not null,
    primary key (token, namespace)
);

-- Trees that a namespace has uploaded completely.
create table snapshots (
    namespace text    not null,
    root      blob    not null,
    files     integer not null,
    bytes     integer not null,
    created   integer not null,
    primary key (namespace, root)
);

create table jobs (
    id            text    primary key not null,
    namespace     text    not null,
    -- Chosen by the client: the same request of the same owner is the same job.
    request_id    text    not null,
    owner         text    not null,
    kind          text    not null,
    -- The application's name: with the namespace it names the environment.
    environment   text    not null,
    state         text    not null,
    error_code    text,
    error_message text,
    error_hint    text,
    parent_job    text,
    attempt       integer not null default 0,
    -- The service that runs it, and until when it may be believed: room for several services.
    lease_owner   text,
    lease_until   integer,
    created       integer not null,
    started       integer,
    finished      integer,
    unique (owner, namespace, request_id)
);

create index jobs_by_state on jobs (state, created);
create index jobs_by_namespace on jobs (namespace, created);

-- Values that only the job's process may know. Emptied when the job ends.
create table job_secrets (
    job        text not null references jobs (id) on delete cascade,
    name       text not null,
    ciphertext blob not null,
    primary key (job, name)
);

-- What was deployed last.
create table environments (
    namespace text    not null,
    name      text    not null,
    job       text    not null,
    -- JSON object: service -> full image reference, digest included.
    images    text    not null,
    updated   integer not null,
    primary key (namespace, name)
);
