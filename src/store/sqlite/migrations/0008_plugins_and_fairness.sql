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
