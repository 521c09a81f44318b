-- How often names of tasks were forgotten: the numbers that a process knows hold until then.
ALTER TABLE @deployment ADD COLUMN forgotten bigint NOT NULL DEFAULT 0;
