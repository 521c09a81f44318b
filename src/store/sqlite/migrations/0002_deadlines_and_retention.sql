-- The moment at which it ends as failed unless it is final before.
ALTER TABLE invocation ADD COLUMN deadline INTEGER;

CREATE INDEX invocation_deadline ON invocation (deadline) WHERE deadline IS NOT NULL AND place IS NOT NULL;

-- What retention removes, oldest first. Ends come in about this order, so it is
-- written at its right edges.
CREATE INDEX invocation_final ON invocation (status, finished_at) WHERE place IS NULL;

-- The children that can be unfinished though their parent is final.
CREATE INDEX invocation_detached ON invocation (parent) WHERE detached = 1 AND place IS NOT NULL;
