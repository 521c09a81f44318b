-- Times are microseconds since 1970. Ids are the 16 bytes of a UUID. Statuses,
-- reasons and streams are the words that the rest of the program uses.
--
-- No foreign keys: every row is written by one module that keeps them right, and
-- the checks would cost as much as the inserts.

-- Names that every invocation repeats.
CREATE TABLE task (
    key  INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE component (
    key    INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE
) STRICT;

-- What changes while an invocation lives, and nothing large. `seq` is the order
-- of submits.
CREATE TABLE invocation (
    seq          INTEGER PRIMARY KEY,
    id           BLOB NOT NULL UNIQUE,
    status       TEXT NOT NULL,
    -- Where others look for it: 'ready', 'delayed' (both queued), 'owned', or
    -- NULL when it is final. The partial indexes below hang on it, so that a
    -- change of status that moves nothing touches no index.
    place        TEXT,
    task         INTEGER NOT NULL,
    component    INTEGER NOT NULL,
    attempt      INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    -- How many rows `history` has; the submit is not one of them.
    moves        INTEGER NOT NULL,
    -- available_at - priority * ageing step: never changes while it waits.
    order_key    INTEGER NOT NULL,
    priority     INTEGER NOT NULL,
    available_at INTEGER NOT NULL,
    submitted_at INTEGER NOT NULL,
    started_at   INTEGER,
    finished_at  INTEGER,
    -- The owner while place = 'owned', else the last one.
    runner       BLOB,
    parent       BLOB,
    child_index  INTEGER,
    -- NULL means: itself.
    root         BLOB,
    depth        INTEGER NOT NULL,
    detached     INTEGER NOT NULL,
    -- Whether it ever submitted a child.
    has_children INTEGER NOT NULL,
    idempotency_key TEXT,
    labels       TEXT,
    progress     TEXT
) STRICT;

-- One queue per task: a claim merges those of the tasks that its runner can run.
CREATE INDEX invocation_ready ON invocation (task, order_key) WHERE place = 'ready';
CREATE INDEX invocation_ready_in_tree ON invocation (root, order_key) WHERE place = 'ready' AND root IS NOT NULL;
CREATE INDEX invocation_delayed ON invocation (available_at) WHERE place = 'delayed';
CREATE INDEX invocation_owned ON invocation (runner) WHERE place = 'owned';
CREATE INDEX invocation_child ON invocation (parent, child_index) WHERE parent IS NOT NULL;
CREATE UNIQUE INDEX invocation_key ON invocation (task, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- Values live apart, so that lists and claims do not drag them along.
CREATE TABLE arguments (
    seq  INTEGER PRIMARY KEY,
    json TEXT NOT NULL
) STRICT;

-- Exactly one of the two. The failure comes first: a list reads it, and must
-- not walk through a value of megabytes.
CREATE TABLE outcome (
    seq     INTEGER PRIMARY KEY,
    failure TEXT,
    value   TEXT
) STRICT;

-- The moves of an invocation after its submit. Where each came from is where the
-- one before went to.
CREATE TABLE history (
    seq     INTEGER NOT NULL,
    n       INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    status  TEXT NOT NULL,
    reason  TEXT NOT NULL,
    runner  BLOB,
    attempt INTEGER NOT NULL,
    detail  TEXT,
    PRIMARY KEY (seq, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE log (
    seq     INTEGER NOT NULL,
    n       INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    stream  TEXT NOT NULL,
    level   TEXT,
    text    TEXT NOT NULL,
    PRIMARY KEY (seq, n)
) STRICT;

-- A runner has one lease for all that it owns: a heartbeat is one row.
CREATE TABLE runner (
    id          BLOB PRIMARY KEY,
    lease_until INTEGER NOT NULL,
    -- Its claims were taken away: it must be told.
    is_lost     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX runner_lease ON runner (is_lost, lease_until);

-- What was taken from a runner since its last heartbeat: it must kill the guests.
CREATE TABLE revoked (
    runner BLOB NOT NULL,
    id     BLOB NOT NULL,
    PRIMARY KEY (runner, id)
) STRICT, WITHOUT ROWID;

-- How many invocations there are, so that counting need not visit them.
CREATE TABLE tally (
    task   INTEGER NOT NULL,
    status TEXT NOT NULL,
    n      INTEGER NOT NULL,
    PRIMARY KEY (task, status)
) STRICT, WITHOUT ROWID;
