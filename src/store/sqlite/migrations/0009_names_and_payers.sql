-- How often names of tasks were forgotten: the numbers that a process knows hold until then.
ALTER TABLE deployment ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;
