-- The words that columns may hold. Rows that are there are looked at once.
ALTER TABLE @invocation
    ADD CONSTRAINT invocation_status CHECK (status IN (
        'queued', 'claimed', 'running', 'waiting', 'succeeded', 'failed', 'cancelled', 'skipped')),
    ADD CONSTRAINT invocation_place CHECK (place IN ('ready', 'delayed', 'blocked', 'owned')),
    ADD CONSTRAINT invocation_counts CHECK (attempt >= 0 AND max_attempts >= 1 AND moves >= 0 AND depth >= 0);
ALTER TABLE @history
    ADD CONSTRAINT history_status CHECK (status IN (
        'queued', 'claimed', 'running', 'waiting', 'succeeded', 'failed', 'cancelled', 'skipped'));
ALTER TABLE @log ADD CONSTRAINT log_stream CHECK (stream IN ('stdout', 'stderr', 'log', 'runner'));
ALTER TABLE @outcome ADD CONSTRAINT outcome_is_one CHECK ((failure IS NULL) <> (value IS NULL));
ALTER TABLE @task ADD CONSTRAINT task_blocked CHECK (blocked IN ('wait', 'skip'));
ALTER TABLE @paused ADD CONSTRAINT paused_kind CHECK (kind IN ('queue', 'task'));

-- A condition that no other index has: a claim of one tree names it, and the planner can't take
-- the queues of the tasks for it.
DROP INDEX @invocation_ready_in_tree;
CREATE INDEX invocation_ready_in_tree ON @invocation (root, order_key, seq)
    WHERE NOT (place IS DISTINCT FROM 'ready') AND root IS NOT NULL;
