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
