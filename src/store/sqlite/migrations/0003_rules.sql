-- Rules of tasks, the lanes in which invocations wait for each other, and pauses.

-- What a runner's configuration said last; `queue` is NULL until one said it.
ALTER TABLE task ADD COLUMN queue TEXT;
ALTER TABLE task ADD COLUMN concurrency INTEGER;
-- What happens to the blocked: 'wait' or 'skip'.
ALTER TABLE task ADD COLUMN blocked TEXT;
ALTER TABLE task ADD COLUMN rate INTEGER;
-- Microseconds.
ALTER TABLE task ADD COLUMN rate_window INTEGER;

-- What concurrency and rate count it with, and what the uniqueness rule knows it
-- by. An invocation that has a lane and is due is in `place` 'blocked' until the
-- lane has room for it.
ALTER TABLE invocation ADD COLUMN lane BLOB;
ALTER TABLE invocation ADD COLUMN unique_key BLOB;

-- Only the blocked: one that finds room in its lane touches no index for it.
CREATE INDEX invocation_blocked ON invocation (task, lane, order_key) WHERE place = 'blocked';
CREATE UNIQUE INDEX invocation_unique ON invocation (task, unique_key)
    WHERE unique_key IS NOT NULL AND place IS NOT NULL;

-- One row for each lane that has something in it: how many are where, and how
-- many starts its rows of `start` stand for.
CREATE TABLE lane (
    task     INTEGER NOT NULL,
    key      BLOB NOT NULL,
    ready    INTEGER NOT NULL,
    blocked  INTEGER NOT NULL,
    owned    INTEGER NOT NULL,
    started  INTEGER NOT NULL,
    -- No order key of the ready is greater.
    last_ready INTEGER NOT NULL,
    -- When a rate lets one more of the blocked start; with none blocked, when
    -- the lane can be forgotten.
    opens_at INTEGER,
    PRIMARY KEY (task, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX lane_opens ON lane (opens_at) WHERE opens_at IS NOT NULL AND blocked > 0;
CREATE INDEX lane_fades ON lane (opens_at) WHERE opens_at IS NOT NULL AND blocked = 0;

-- The claims of a lane with a rate, and some that have left its window.
CREATE TABLE start (
    task INTEGER NOT NULL,
    key  BLOB NOT NULL,
    at   INTEGER NOT NULL,
    n    INTEGER NOT NULL,
    PRIMARY KEY (task, key, at)
) STRICT, WITHOUT ROWID;

CREATE TABLE paused (
    -- 'queue' or 'task'.
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
