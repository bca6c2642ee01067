-- SPDX-License-Identifier: Apache-2.0
-- Schema 3: nodes that never register, ports that names are given for good, and of which start of its unit a node is.
-- It only adds: a daemon of schema 2 names the columns that it writes, and what it does not write is NULL.

-- NULL: it has registered. 'static': it is there by an entry of `static_entries` or of nodes.d, alive by its listener.
ALTER TABLE registrations ADD COLUMN origin TEXT;
ALTER TABLE tenures ADD COLUMN origin TEXT;
-- Which start of its unit the node is of: half of systemd's InvocationID, a 64-bit number kept in SQLite's signed one.
-- With it, one that was left over by a start before is known as that after a restart of the daemon, too.
ALTER TABLE registrations ADD COLUMN unit_invocation INTEGER;

-- What an operator ordered, by command. Written with synchronous=FULL, as `pins`: it must outlive a power cut. Entries
-- of nodes.d are not here: those files are where they are kept.
CREATE TABLE static_entries (
    name       TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    -- '*': of this machine, whatever address it listens on.
    address    TEXT    NOT NULL,
    port       INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
    host       TEXT,
    since_usec INTEGER NOT NULL,
    by         TEXT    NOT NULL,
    PRIMARY KEY (name, address)
) STRICT, WITHOUT ROWID;

CREATE TABLE pinned_ports (
    name       TEXT    NOT NULL PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 255),
    port       INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
    since_usec INTEGER NOT NULL,
    by         TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE VIEW entries AS
SELECT name,
       address,
       port,
       host,
       strftime('%Y-%m-%d %H:%M:%S', since_usec / 1000000, 'unixepoch') AS since,
       by
FROM static_entries
ORDER BY name, address;

CREATE VIEW pins AS
SELECT name,
       port,
       strftime('%Y-%m-%d %H:%M:%S', since_usec / 1000000, 'unixepoch') AS since,
       by
FROM pinned_ports
ORDER BY name;

DROP VIEW nodes;
CREATE VIEW nodes AS
SELECT name,
       state,
       port,
       CASE type WHEN 77 THEN 'normal' WHEN 72 THEN 'hidden' WHEN 104 THEN 'c-node' ELSE 'type ' || type END AS type,
       scope,
       creation,
       strftime('%Y-%m-%d %H:%M:%S', since_usec / 1000000, 'unixepoch') AS since,
       unit,
       uid,
       -- New in schema 2
       state_source,
       strftime('%Y-%m-%d %H:%M:%S', state_since_usec / 1000000, 'unixepoch') AS state_since,
       unit_pid AS pid,
       host,
       (SELECT nullif(json_group_object(key, value), '{}') FROM metadata
        WHERE metadata.name = registrations.name AND metadata.scope = registrations.scope) AS metadata,
       helper,
       -- New in schema 3
       origin
FROM registrations
ORDER BY name, scope;

DROP VIEW history;
CREATE VIEW history AS
SELECT name,
       strftime('%Y-%m-%d %H:%M:%S', since_usec / 1000000, 'unixepoch') AS since,
       strftime('%Y-%m-%d %H:%M:%S', until_usec / 1000000, 'unixepoch') AS until,
       how,
       CASE how
           WHEN 'left' THEN 'its connection ended'
           WHEN 'replaced' THEN iif(origin = 'static', 'it registered by itself', 'it was going, and a newcomer took the name')
           WHEN 'listener-gone' THEN iif(origin = 'static', 'its listening socket closed',
                                         'it was awaited, and its listening socket closed')
           WHEN 'found-dead' THEN 'its listening socket was gone when the daemon started'
           WHEN 'machine-restarted' THEN 'the machine was restarted'
           WHEN 'did-not-return' THEN 'it was awaited and did not come back in time'
           WHEN 'stopped' THEN 'a STOP request ended it'
           WHEN 'released' THEN 'an operator took the name from it'
           WHEN 'removed' THEN 'its static entry was removed or changed, or names another machine now'
           ELSE how
       END AS why,
       port,
       CASE type WHEN 77 THEN 'normal' WHEN 72 THEN 'hidden' WHEN 104 THEN 'c-node' ELSE 'type ' || type END AS type,
       scope,
       creation,
       unit,
       uid,
       -- New in schema 2
       state,
       state_source,
       unit_pid AS pid,
       host,
       by,
       helper,
       -- New in schema 3
       origin
FROM tenures
ORDER BY id;
