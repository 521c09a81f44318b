-- The runner that has set the rule of a task, as JSON, and when: NULL if nobody is known.
ALTER TABLE task ADD COLUMN rule_by TEXT;
ALTER TABLE task ADD COLUMN rule_at INTEGER;
