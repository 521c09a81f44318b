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
    key         bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    name        text NOT NULL UNIQUE,
    -- What a runner's configuration said last; `queue` is NULL until one said it.
    queue       text,
    concurrency bigint,
    -- What happens to the blocked: 'wait' or 'skip'.
    blocked     text,
    rate        bigint,
    -- Microseconds.
    rate_window bigint
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
    -- Where others look for it: 'ready', 'delayed', 'blocked' (all queued), 'owned',
    -- or NULL when it is final. The partial indexes below hang on it, so that a
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
    progress     text,
    -- What concurrency and rate count it with, and what the uniqueness rule knows it by.
    -- What has a lane and is due is 'blocked' until the lane has room for it.
    lane         uuid,
    unique_key   uuid
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
CREATE INDEX invocation_lane ON @invocation (task, lane, place, order_key, seq)
    WHERE lane IS NOT NULL AND (place = 'ready' OR place = 'blocked');
CREATE UNIQUE INDEX invocation_unique ON @invocation (task, unique_key)
    WHERE unique_key IS NOT NULL AND place IS NOT NULL;
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

-- One row for each lane that has something in it: how many are where, and how
-- many rows of `start` it has.
CREATE TABLE @lane (
    task     bigint NOT NULL,
    key      uuid NOT NULL,
    ready    bigint NOT NULL,
    blocked  bigint NOT NULL,
    owned    bigint NOT NULL,
    started  bigint NOT NULL,
    -- When a rate lets one more of the blocked start; with none blocked, when the
    -- lane can be forgotten.
    opens_at bigint,
    PRIMARY KEY (task, key)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX lane_opens ON @lane (opens_at) WHERE opens_at IS NOT NULL AND blocked > 0;
CREATE INDEX lane_fades ON @lane (opens_at) WHERE opens_at IS NOT NULL AND blocked = 0;

-- The claims within the window of a lane's rate.
CREATE TABLE @start (
    n    bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    task bigint NOT NULL,
    key  uuid NOT NULL,
    at   bigint NOT NULL,
    seq  bigint NOT NULL
);
CREATE INDEX start_of_lane ON @start (task, key, at, seq);

CREATE TABLE @paused (
    -- 'queue' or 'task'.
    kind text NOT NULL,
    name text NOT NULL,
    PRIMARY KEY (kind, name)
);
