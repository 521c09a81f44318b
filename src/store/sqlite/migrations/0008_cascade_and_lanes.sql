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
