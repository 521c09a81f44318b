-- How often names of tasks were forgotten: the numbers that a process knows hold until then.
ALTER TABLE deployment ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;

-- Quotas count what their owners asked for. The component that an invocation counts for in the place of its task's:
-- that of the guest which submitted it.
ALTER TABLE invocation ADD COLUMN payer TEXT;
-- Whether it does not count for its fairness key: it, or one above it, is detached.
ALTER TABLE invocation ADD COLUMN unkeyed INTEGER NOT NULL DEFAULT 0;

-- The unfinished invocations of a task that count for other components, summed over all statuses. Their bytes are not
-- in `bytes`.
ALTER TABLE tally ADD COLUMN elsewhere INTEGER NOT NULL DEFAULT 0;

-- What components pay for that is of others' tasks.
CREATE TABLE paid (
    component  TEXT PRIMARY KEY,
    unfinished INTEGER NOT NULL,
    bytes      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
