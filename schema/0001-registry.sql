-- SPDX-License-Identifier: Apache-2.0
-- Schema 1: who is registered, who was, and what must outlive a lost node. README.md beside this file
-- describes every column for readers; this file says why each is as it is.

-- One row, id 1: facts about the registry as a whole.
CREATE TABLE registry (
    id                INTEGER PRIMARY KEY CHECK (id = 1),
    -- The oldest schema whose daemons may still write here. A migration that only adds leaves it.
    oldest_writer     INTEGER NOT NULL,
    -- P5: no creation at or above it was ever given. Written with synchronous=FULL before one is. 0: none.
    creation_reserved INTEGER NOT NULL CHECK (creation_reserved BETWEEN 0 AND 4294967295),
    -- Of the boot the rows of `registrations` are of. NULL: none was ever written, or it is not known.
    boot_id           TEXT,
    created_usec      INTEGER NOT NULL
) STRICT;

INSERT INTO registry (id, oldest_writer, creation_reserved, created_usec)
VALUES (1, 1, 0, CAST(strftime('%s', 'now') AS INTEGER) * 1000000);

-- Who is registered. A row is deleted when the registration ends; `tenures` remembers it.
-- Words (`state`, `how`) carry no CHECK: a later daemon may know more of them.
CREATE TABLE registrations (
    -- As with bind(): '*' or the one address that the node listens on.
    scope            TEXT    NOT NULL,
    name             TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    port             INTEGER NOT NULL CHECK (port BETWEEN 0 AND 65535),
    type             INTEGER NOT NULL CHECK (type BETWEEN 0 AND 255),
    protocol         INTEGER NOT NULL CHECK (protocol BETWEEN 0 AND 255),
    highest_version  INTEGER NOT NULL CHECK (highest_version BETWEEN 0 AND 65535),
    lowest_version   INTEGER NOT NULL CHECK (lowest_version BETWEEN 0 AND 65535),
    creation         INTEGER NOT NULL CHECK (creation BETWEEN 0 AND 4294967295),
    since_usec       INTEGER NOT NULL,
    -- The order of registrations. With since_usec it tells one registration from the next of its name, so
    -- that the end of an old one never deletes the row of its successor.
    serial           INTEGER NOT NULL,
    uid              INTEGER,
    unit             TEXT,
    -- Bytes without a meaning to us, which lookups must give back: the one blob.
    extra            BLOB    NOT NULL,
    state            TEXT    NOT NULL,
    -- Evidence of life. Cookie and cgroup id are the kernel's 64-bit numbers, kept in SQLite's signed ones.
    listener_cookie  INTEGER,
    listener_address TEXT,
    listener_ipv6    INTEGER NOT NULL CHECK (listener_ipv6 IN (0, 1)),
    cgroup_id        INTEGER,
    -- The name first, since that is what people look for; few names have a second scope.
    PRIMARY KEY (name, scope)
) STRICT, WITHOUT ROWID;

-- Who was registered: one row for each registration that has ended, in the order of their ends.
CREATE TABLE tenures (
    id              INTEGER PRIMARY KEY,
    scope           TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    port            INTEGER NOT NULL,
    type            INTEGER NOT NULL,
    protocol        INTEGER NOT NULL,
    highest_version INTEGER NOT NULL,
    lowest_version  INTEGER NOT NULL,
    creation        INTEGER NOT NULL,
    since_usec      INTEGER NOT NULL,
    serial          INTEGER NOT NULL,
    uid             INTEGER,
    unit            TEXT,
    until_usec      INTEGER NOT NULL,
    how             TEXT    NOT NULL
) STRICT;

-- "Who had this name last", and the bound per name.
CREATE INDEX tenures_by_name ON tenures (name, id);
-- The bound in days.
CREATE INDEX tenures_by_until ON tenures (until_usec);
-- The bound in rows: hidden nodes (type 72, 'H'), which tools start by the hundred, go first.
CREATE INDEX tenures_hidden ON tenures (type) WHERE type = 72;
-- P5: the last 16-bit creation (1..3) of a name is spared by the bounds in days and rows.
CREATE INDEX tenures_16_bit ON tenures (name, id) WHERE creation < 4;

-- For people. Times are UTC. The columns of a view keep their names and meanings; new ones come last.
CREATE VIEW nodes AS
SELECT name,
       state,
       port,
       CASE type WHEN 77 THEN 'normal' WHEN 72 THEN 'hidden' WHEN 104 THEN 'c-node' ELSE 'type ' || type END AS type,
       scope,
       creation,
       strftime('%Y-%m-%d %H:%M:%S', since_usec / 1000000, 'unixepoch') AS since,
       unit,
       uid
FROM registrations
ORDER BY name, scope;

CREATE VIEW history AS
SELECT name,
       strftime('%Y-%m-%d %H:%M:%S', since_usec / 1000000, 'unixepoch') AS since,
       strftime('%Y-%m-%d %H:%M:%S', until_usec / 1000000, 'unixepoch') AS until,
       how,
       CASE how
           WHEN 'left' THEN 'its connection ended'
           WHEN 'replaced' THEN 'it was going, and a newcomer took the name'
           WHEN 'listener-gone' THEN 'it was awaited, and its listening socket closed'
           WHEN 'found-dead' THEN 'its listening socket was gone when the daemon started'
           WHEN 'machine-restarted' THEN 'the machine was restarted'
           WHEN 'did-not-return' THEN 'it was awaited and did not come back in time'
           WHEN 'stopped' THEN 'a STOP request ended it'
           ELSE how
       END AS why,
       port,
       CASE type WHEN 77 THEN 'normal' WHEN 72 THEN 'hidden' WHEN 104 THEN 'c-node' ELSE 'type ' || type END AS type,
       scope,
       creation,
       unit,
       uid
FROM tenures
ORDER BY id;
