-- Failures may name the limit `parked`, which an older program can't read.

-- Final invocations that may have attached children which are not final yet: a
-- transaction cancels 1,000 descendants at most, and later ones go on from here.
CREATE TABLE cascade (
    seq    INTEGER PRIMARY KEY,
    id     BLOB NOT NULL,
    status TEXT NOT NULL
) STRICT;

-- The last of the ready of a lane gives way to what is more urgent: found by its lane, however long the queue of its
-- task is.
CREATE INDEX invocation_lane ON invocation (task, lane, order_key) WHERE lane IS NOT NULL AND place = 'ready';

-- The runner that has set the rule of a task, as JSON, and when: NULL if nobody is known.
ALTER TABLE task ADD COLUMN rule_by TEXT;
ALTER TABLE task ADD COLUMN rule_at INTEGER;

-- Labels and facts of pushed components (JSON), and when a name was removed. Facts are NULL for what an older
-- program pushed.
ALTER TABLE pushed ADD COLUMN labels TEXT;
ALTER TABLE pushed ADD COLUMN facts TEXT;
ALTER TABLE pushed ADD COLUMN removed_at INTEGER;

-- One row: it grows with each push and each removal, so that runners see cheaply whether there was one.
CREATE TABLE deployment (
    version INTEGER NOT NULL
) STRICT;
INSERT INTO deployment (version) VALUES (0);

-- Fairness keys: invocations share the slots by key and weight.

-- `finish` is when the last of its invocations ends in virtual time, `cost` that of an invocation, and `uses` the
-- number of invocations that have it.
CREATE TABLE fairness_key (
    key    INTEGER PRIMARY KEY,
    name   TEXT NOT NULL UNIQUE,
    cost   INTEGER NOT NULL,
    finish INTEGER NOT NULL,
    uses   INTEGER NOT NULL
) STRICT;

-- What a runner's configuration said last, as costs.
CREATE TABLE fairness_weight (
    keys TEXT PRIMARY KEY,
    cost INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The clock of virtual time, in one row.
CREATE TABLE fairness_clock (
    n   INTEGER PRIMARY KEY,
    now INTEGER NOT NULL
) STRICT;

-- The key of everything that is final already, and of tasks that name no component. It is never removed.
INSERT INTO fairness_key (key, name, cost, finish, uses) VALUES (0, '', 1000000, 0, 0);

ALTER TABLE invocation ADD COLUMN fairness_key INTEGER NOT NULL DEFAULT 0;
-- The cost with which it got its order key, which is from now on start - priority * 60 turns.
ALTER TABLE invocation ADD COLUMN turn INTEGER NOT NULL DEFAULT 1000000;

INSERT INTO fairness_key (name, cost, finish, uses)
    SELECT component, 1000000, 0, count(*) FROM (
        SELECT substr(t.name, 1, instr(t.name, '::') - 1) AS component FROM invocation i
        CROSS JOIN invocation r ON r.id = coalesce(i.root, i.id) CROSS JOIN task t ON t.key = r.task
        WHERE i.place IS NOT NULL)
    WHERE component <> '' GROUP BY component;

UPDATE invocation SET fairness_key = coalesce((
        SELECT k.key FROM invocation r CROSS JOIN task t ON t.key = r.task
        CROSS JOIN fairness_key k ON k.name = substr(t.name, 1, instr(t.name, '::') - 1)
        WHERE r.id = coalesce(invocation.root, invocation.id)), 0)
    WHERE place IS NOT NULL;

-- Whatever waits keeps its place.
INSERT INTO fairness_clock (n, now)
    SELECT 1, coalesce(max(order_key + priority * 60000000), 0) FROM invocation
    WHERE place = 'ready' OR place = 'blocked' OR place = 'owned';

-- The limits that a submit has lowered for its invocation, as JSON: NULL if there are none.
ALTER TABLE invocation ADD COLUMN limits TEXT;

-- The other components above an invocation, as JSON: NULL if there are none. Keys of its guests are apart by them.
ALTER TABLE invocation ADD COLUMN callers TEXT;

-- Quotas: how much the invocations of a component, or of a fairness key, may take.

-- What the configurations of runners said last. The kind of the holders, and the pattern of their names.
CREATE TABLE quota (
    holder        TEXT NOT NULL CHECK (holder IN ('component', 'key')),
    names         TEXT NOT NULL,
    unfinished    INTEGER,
    stored_bytes  INTEGER,
    submits       INTEGER,
    submit_window INTEGER,
    set_by        TEXT,
    set_at        INTEGER NOT NULL,
    PRIMARY KEY (holder, names)
) STRICT, WITHOUT ROWID;

-- When the tokens are all there again that submits of a holder have taken, in nanoseconds. One that has all of them has no row.
CREATE TABLE bucket (
    holder  TEXT NOT NULL CHECK (holder IN ('component', 'key')),
    name    TEXT NOT NULL,
    full_at INTEGER NOT NULL,
    PRIMARY KEY (holder, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX bucket_full ON bucket (full_at);

-- The bytes of arguments and outcomes of a task: the sum over all statuses. A row has what was stored and removed
-- while an invocation was in the status.
ALTER TABLE tally ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE tally SET bytes = s.bytes FROM (
    SELECT i.task, i.status,
        sum(octet_length(a.json) + coalesce(octet_length(o.failure), octet_length(o.value), 0)) AS bytes
    FROM invocation i CROSS JOIN arguments a ON a.seq = i.seq LEFT JOIN outcome o ON o.seq = i.seq
    GROUP BY i.task, i.status) s
    WHERE s.task = tally.task AND s.status = tally.status;

-- The unfinished invocations of a fairness key, and the bytes of arguments and outcomes of all that have it.
ALTER TABLE fairness_key ADD COLUMN unfinished INTEGER NOT NULL DEFAULT 0;
ALTER TABLE fairness_key ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE fairness_key SET unfinished = s.unfinished, bytes = s.bytes FROM (
    SELECT i.fairness_key, sum(i.place IS NOT NULL) AS unfinished,
        sum(octet_length(a.json) + coalesce(octet_length(o.failure), octet_length(o.value), 0)) AS bytes
    FROM invocation i CROSS JOIN arguments a ON a.seq = i.seq LEFT JOIN outcome o ON o.seq = i.seq
    GROUP BY i.fairness_key) s
    WHERE s.fairness_key = fairness_key.key;

-- The usage by hour (since 1970), component and fairness key: sums by their names, as a JSON object. It outlives the
-- invocations, and the keys.
CREATE TABLE usage (
    hour         INTEGER NOT NULL,
    component    TEXT NOT NULL,
    fairness_key TEXT NOT NULL,
    sums         TEXT NOT NULL,
    PRIMARY KEY (hour, component, fairness_key)
) STRICT, WITHOUT ROWID;
