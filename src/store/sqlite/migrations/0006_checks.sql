-- The words that columns may hold. Rows that are there are looked at once, and no table is
-- written anew. Comparisons one by one: of a list SQLite would make an index for each statement.
ALTER TABLE invocation ADD CONSTRAINT invocation_status CHECK (
    status = 'queued' OR status = 'claimed' OR status = 'running' OR status = 'waiting'
    OR status = 'succeeded' OR status = 'failed' OR status = 'cancelled' OR status = 'skipped');
ALTER TABLE invocation ADD CONSTRAINT invocation_place CHECK (
    place IS NULL OR place = 'ready' OR place = 'owned' OR place = 'delayed' OR place = 'blocked');
ALTER TABLE invocation ADD CONSTRAINT invocation_counts CHECK (
    attempt >= 0 AND max_attempts >= 1 AND moves >= 0 AND depth >= 0);
ALTER TABLE history ADD CONSTRAINT history_status CHECK (
    status = 'claimed' OR status = 'running' OR status = 'waiting' OR status = 'succeeded'
    OR status = 'failed' OR status = 'queued' OR status = 'cancelled' OR status = 'skipped');
ALTER TABLE log ADD CONSTRAINT log_stream CHECK (
    stream = 'stdout' OR stream = 'stderr' OR stream = 'log' OR stream = 'runner');
ALTER TABLE outcome ADD CONSTRAINT outcome_is_one CHECK ((failure IS NULL) <> (value IS NULL));
ALTER TABLE task ADD CONSTRAINT task_blocked CHECK (blocked IS NULL OR blocked = 'wait' OR blocked = 'skip');
ALTER TABLE paused ADD CONSTRAINT paused_kind CHECK (kind = 'queue' OR kind = 'task');
