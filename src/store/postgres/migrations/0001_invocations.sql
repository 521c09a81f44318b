-- Times are microseconds since 1970. Statuses, reasons and streams are the words
-- that the rest of the program uses. Text that guests write may hold a NUL, which
-- PostgreSQL's text may not: it is kept as bytes.
--
-- No foreign keys: every row is written by one module that keeps them right, and
-- the checks would cost as much as the inserts.
--
-- `@` stands for the schema.

CREATE TABLE @schema_version (
    version bigint NOT NULL
);
INSERT INTO @schema_version (version) VALUES (0);

-- Names that every invocation repeats.
CREATE TABLE @task (
    key  bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL UNIQUE
);

CREATE TABLE @component (
    key    bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    digest bytea NOT NULL UNIQUE
);

CREATE SEQUENCE @invocation_seq CACHE 1;

-- What changes while an invocation lives, and nothing large. `seq` is the order
-- of submits.
CREATE TABLE @invocation (
    seq          bigint PRIMARY KEY,
    id           uuid NOT NULL UNIQUE,
    status       text NOT NULL,
    -- Where others look for it: 'ready', 'delayed' (both queued), 'owned', or
    -- NULL when it is final. The partial indexes below hang on it, so that a
    -- change of status that moves nothing touches no index.
    place        text,
    task         bigint NOT NULL,
    component    bigint NOT NULL,
    attempt      bigint NOT NULL,
    max_attempts bigint NOT NULL,
    -- How many rows `history` has; the submit is not one of them.
    moves        bigint NOT NULL,
    -- available_at - priority * ageing step: never changes while it waits.
    order_key    bigint NOT NULL,
    priority     integer NOT NULL,
    available_at bigint NOT NULL,
    submitted_at bigint NOT NULL,
    -- The moment at which it ends as failed unless it is final before.
    deadline     bigint,
    started_at   bigint,
    finished_at  bigint,
    -- The owner while place = 'owned', else the last one.
    runner       uuid,
    parent       uuid,
    child_index  bigint,
    -- NULL means: itself.
    root         uuid,
    depth        bigint NOT NULL,
    detached     boolean NOT NULL,
    -- Whether it ever submitted a child.
    has_children boolean NOT NULL,
    idempotency_key bytea,
    labels       text,
    progress     text
) WITH (
    -- Room beside each row for its next version: most changes touch no index then.
    fillfactor = 75,
    -- A queue dies as fast as it lives; what is dead must not stand in the way of claims.
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.05
);

-- One queue per task: a claim merges those of the tasks that its runner can run.
CREATE INDEX invocation_ready ON @invocation (task, order_key, seq) WHERE place = 'ready';
CREATE INDEX invocation_ready_in_tree ON @invocation (root, order_key, seq)
    WHERE place = 'ready' AND root IS NOT NULL;
CREATE INDEX invocation_delayed ON @invocation (available_at) WHERE place = 'delayed';
CREATE INDEX invocation_owned ON @invocation (runner) WHERE place = 'owned';
CREATE INDEX invocation_child ON @invocation (parent, child_index) WHERE parent IS NOT NULL;
CREATE INDEX invocation_deadline ON @invocation (deadline, seq) WHERE deadline IS NOT NULL AND place IS NOT NULL;
-- What retention removes, oldest first.
CREATE INDEX invocation_final ON @invocation (status, finished_at, seq) WHERE place IS NULL;
-- The children that can be unfinished though their parent is final.
CREATE INDEX invocation_detached ON @invocation (parent) WHERE detached AND place IS NOT NULL;
CREATE UNIQUE INDEX invocation_key ON @invocation (task, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- Values live apart, so that lists and claims do not drag them along.
CREATE TABLE @arguments (
    seq  bigint PRIMARY KEY,
    json text NOT NULL
);

-- Exactly one of the two.
CREATE TABLE @outcome (
    seq     bigint PRIMARY KEY,
    failure text,
    value   text
);

-- The moves of an invocation after its submit. Where each came from is where the
-- one before went to.
CREATE TABLE @history (
    seq     bigint NOT NULL,
    n       bigint NOT NULL,
    at      bigint NOT NULL,
    status  text NOT NULL,
    reason  text NOT NULL,
    runner  uuid,
    attempt bigint NOT NULL,
    detail  bytea,
    PRIMARY KEY (seq, n)
);

CREATE TABLE @log (
    seq     bigint NOT NULL,
    n       bigint GENERATED ALWAYS AS IDENTITY,
    at      bigint NOT NULL,
    attempt bigint NOT NULL,
    stream  text NOT NULL,
    level   text,
    text    bytea NOT NULL,
    PRIMARY KEY (seq, n)
);

-- A runner has one lease for all that it owns: a heartbeat is one row.
CREATE TABLE @runner (
    id          uuid PRIMARY KEY,
    lease_until bigint NOT NULL,
    -- Its claims were taken away: it must be told.
    is_lost     boolean NOT NULL
) WITH (fillfactor = 50);

-- What was taken from a runner since its last heartbeat: it must kill the guests.
CREATE TABLE @revoked (
    runner uuid NOT NULL,
    id     uuid NOT NULL,
    PRIMARY KEY (runner, id)
);

-- How many invocations there are, so that counting need not visit them. Every
-- transaction appends what it changes, and nobody waits for another's row; the
-- rows are folded now and then.
CREATE TABLE @tally (
    task   bigint NOT NULL,
    status text NOT NULL,
    n      bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
