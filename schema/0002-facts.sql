-- SPDX-License-Identifier: Apache-2.0
-- Schema 2: what is known of a node beside its registration, and who was refused a name. It only adds: a
-- daemon of schema 1 names the columns that it writes, and what it does not write takes its default.

-- By whose word `state` is, and since when it is so. NULL: a daemon of schema 1 wrote the row.
ALTER TABLE registrations ADD COLUMN state_source TEXT;
ALTER TABLE registrations ADD COLUMN state_since_usec INTEGER;
-- What the node said of itself: 'ready', 'draining'. Apart from `state`, since that may have another source now.
ALTER TABLE registrations ADD COLUMN announced TEXT;
ALTER TABLE registrations ADD COLUMN host TEXT;
ALTER TABLE registrations ADD COLUMN host_source TEXT;
ALTER TABLE registrations ADD COLUMN unit_pid INTEGER;
-- 0: it lives under another manager within `unit`. NULL: not known.
ALTER TABLE registrations ADD COLUMN is_unit_own INTEGER CHECK (is_unit_own IN (0, 1));
ALTER TABLE registrations ADD COLUMN helper INTEGER NOT NULL DEFAULT 0 CHECK (helper IN (0, 1));

-- What nodes announced beside that. A row belongs to the registration of its name and scope.
CREATE TABLE metadata (
    name  TEXT NOT NULL,
    scope TEXT NOT NULL,
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (name, scope, key)
) STRICT, WITHOUT ROWID;

-- Goes with the registration, whichever daemon ends that. (A foreign key would need a PRAGMA of each writer.)
CREATE TRIGGER metadata_goes_with_its_registration AFTER DELETE ON registrations
BEGIN
    DELETE FROM metadata WHERE name = OLD.name AND scope = OLD.scope;
END;

-- As they were when the registration ended.
ALTER TABLE tenures ADD COLUMN state TEXT;
ALTER TABLE tenures ADD COLUMN state_source TEXT;
ALTER TABLE tenures ADD COLUMN host TEXT;
ALTER TABLE tenures ADD COLUMN unit_pid INTEGER;
ALTER TABLE tenures ADD COLUMN helper INTEGER NOT NULL DEFAULT 0 CHECK (helper IN (0, 1));
-- Who ended it, where somebody did.
ALTER TABLE tenures ADD COLUMN by TEXT;

-- The bound in rows: helpers go first. (`tenures_hidden` stays: hidden nodes go next.)
CREATE INDEX tenures_helpers ON tenures (helper) WHERE helper = 1;

-- Who was refused a name last: one row for each name, a bounded number of them.
CREATE TABLE refusals (
    name    TEXT    NOT NULL PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 255),
    at_usec INTEGER NOT NULL,
    reason  TEXT    NOT NULL,
    port    INTEGER NOT NULL CHECK (port BETWEEN 0 AND 65535),
    uid     INTEGER,
    unit    TEXT
) STRICT, WITHOUT ROWID;

-- The bound.
CREATE INDEX refusals_by_at ON refusals (at_usec);

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
       helper
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
           WHEN 'replaced' THEN 'it was going, and a newcomer took the name'
           WHEN 'listener-gone' THEN 'it was awaited, and its listening socket closed'
           WHEN 'found-dead' THEN 'its listening socket was gone when the daemon started'
           WHEN 'machine-restarted' THEN 'the machine was restarted'
           WHEN 'did-not-return' THEN 'it was awaited and did not come back in time'
           WHEN 'stopped' THEN 'a STOP request ended it'
           WHEN 'released' THEN 'an operator took the name from it'
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
       helper
FROM tenures
ORDER BY id;

CREATE VIEW refused AS
SELECT name,
       strftime('%Y-%m-%d %H:%M:%S', at_usec / 1000000, 'unixepoch') AS at,
       reason,
       port,
       unit,
       uid
FROM refusals
ORDER BY at_usec;
