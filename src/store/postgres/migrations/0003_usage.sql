-- What the attempts used that have ended, as JSON.
ALTER TABLE @invocation ADD COLUMN usage text;
