-- How often names of tasks were forgotten: the numbers that a process knows hold until then.
ALTER TABLE @deployment ADD COLUMN forgotten bigint NOT NULL DEFAULT 0;

-- Quotas count what their owners asked for. The component that an invocation counts for in the place of its task's:
-- that of the guest which submitted it. And whether it does not count for its fairness key: it, or one above it, is
-- detached.
ALTER TABLE @invocation
    ADD COLUMN payer text,
    ADD COLUMN unkeyed boolean NOT NULL DEFAULT false;

-- The unfinished invocations of a task that count for other components, summed over all statuses. Their bytes are not
-- in `bytes`.
ALTER TABLE @tally ADD COLUMN elsewhere bigint NOT NULL DEFAULT 0;

-- What components pay for that is of others' tasks. Every transaction appends what it changes; the rows are folded
-- now and then.
CREATE TABLE @paid (
    component  text NOT NULL,
    unfinished bigint NOT NULL,
    bytes      bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
