-- Components that travel with the store, for runners that do not have them.

-- Names and what was pushed under them; the last of a name is its newest.
CREATE TABLE @pushed (
    n      bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    name   text NOT NULL,
    digest bytea NOT NULL,
    at     bigint NOT NULL,
    UNIQUE (name, digest)
);

-- Its bytes, once, whatever it is called.
CREATE TABLE @component_bytes (
    digest bytea PRIMARY KEY,
    bytes  bytea NOT NULL
);
