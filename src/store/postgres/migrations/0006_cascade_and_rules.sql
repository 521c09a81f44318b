-- Failures may name the limit `parked`, which an older program can't read.

-- Final invocations that may have attached children which are not final yet: a
-- transaction cancels 1,000 descendants at most, and later ones go on from here.
CREATE TABLE @cascade (
    seq    bigint PRIMARY KEY,
    id     uuid NOT NULL,
    status text NOT NULL
);

-- Every batch reads the rules of the tasks that have lanes: they are few, and a store may know very many tasks.
CREATE INDEX task_with_lanes ON @task (key) WHERE concurrency IS NOT NULL OR rate IS NOT NULL;
