-- Components that travel with the store, for runners that do not have them.

-- Names and what was pushed under them; the last of a name is its newest.
CREATE TABLE pushed (
    n      INTEGER PRIMARY KEY AUTOINCREMENT,
    name   TEXT NOT NULL,
    digest BLOB NOT NULL,
    at     INTEGER NOT NULL,
    UNIQUE (name, digest)
) STRICT;

-- Its bytes, once, whatever it is called.
CREATE TABLE component_bytes (
    n      INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    bytes  BLOB NOT NULL
) STRICT;
