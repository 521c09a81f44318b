-- Labels and facts of pushed components (JSON), and when a name was removed. Facts are NULL for what an older
-- program pushed.
ALTER TABLE @pushed ADD COLUMN labels text;
ALTER TABLE @pushed ADD COLUMN facts text;
ALTER TABLE @pushed ADD COLUMN removed_at bigint;

-- One row: it grows with each push and each removal, so that runners see cheaply whether there was one. Whoever
-- changes components locks it first.
CREATE TABLE @deployment (
    version bigint NOT NULL
);
INSERT INTO @deployment (version) VALUES (0);
