-- SPDX-License-Identifier: Apache-2.0
-- A registry as a daemon of schema 2 left it when it was killed after a restart: its nodes awaited, one of them
-- draining. (.dump of the sqlite3 shell, and the two numbers that it leaves out; one node was given a unit and a
-- main process by hand.)
PRAGMA application_id = 1383033964;
PRAGMA user_version = 2;
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
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
INSERT INTO registry VALUES(1,1,1795917421,'0b8d1c1e-5a5f-4c57-9a0e-3f6b1f0c2d11',1795915421000000);
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
    cgroup_id        INTEGER, state_source TEXT, state_since_usec INTEGER, announced TEXT, host TEXT, host_source TEXT, unit_pid INTEGER, is_unit_own INTEGER CHECK (is_unit_own IN (0, 1)), helper INTEGER NOT NULL DEFAULT 0 CHECK (helper IN (0, 1)),
    -- The name first, since that is what people look for; few names have a second scope.
    PRIMARY KEY (name, scope)
) STRICT, WITHOUT ROWID;
INSERT INTO registrations VALUES('127.0.0.2','app',37869,77,0,6,5,1795915425,1795915422018828,5,0,NULL,X'','awaited',601042,'127.0.0.2',0,1,'connection',1795915422030882,NULL,NULL,NULL,NULL,NULL,0);
INSERT INTO registrations VALUES('127.0.0.3','app',37281,77,0,6,5,1795915426,1795915422019104,6,0,NULL,X'','awaited',601044,'127.0.0.3',0,1,'connection',1795915422030885,NULL,NULL,NULL,NULL,NULL,0);
INSERT INTO registrations VALUES('*','bücher',33921,72,0,6,5,1795915424,1795915422018587,4,0,NULL,X'00016578747261277fff','stopping',603957,'*',0,1,'announcement',1795915422020111,'draining',NULL,NULL,NULL,NULL,0);
INSERT INTO registrations VALUES('*','mail',42233,77,0,6,5,1795915423,1795915422018134,3,0,'mail.service',X'','awaited',601040,'*',0,1,'connection',1795915422030853,'ready','mail.example.org','announced',812,1,0);
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
, state TEXT, state_source TEXT, host TEXT, unit_pid INTEGER, helper INTEGER NOT NULL DEFAULT 0 CHECK (helper IN (0, 1)), by TEXT) STRICT;
INSERT INTO tenures VALUES(1,'*','mail',45337,77,0,6,5,1795915421,1795915421716767,1,0,NULL,1795915421717219,'left','up','connection',NULL,NULL,0,NULL);
INSERT INTO tenures VALUES(2,'*','old',37165,77,0,5,5,1,1795915421717417,2,0,NULL,1795915421717577,'left','up','connection',NULL,NULL,0,NULL);
INSERT INTO tenures VALUES(3,'*','cnode',4711,104,0,6,5,1795915427,1795915422019347,7,0,NULL,1795915422023388,'released','up','connection',NULL,NULL,0,'uid 0');
CREATE TABLE metadata (
    name  TEXT NOT NULL,
    scope TEXT NOT NULL,
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (name, scope, key)
) STRICT, WITHOUT ROWID;
INSERT INTO metadata VALUES('mail','*','role','db');
INSERT INTO metadata VALUES('mail','*','zone','b');
CREATE TABLE refusals (
    name    TEXT    NOT NULL PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 255),
    at_usec INTEGER NOT NULL,
    reason  TEXT    NOT NULL,
    port    INTEGER NOT NULL CHECK (port BETWEEN 0 AND 65535),
    uid     INTEGER,
    unit    TEXT
) STRICT, WITHOUT ROWID;
INSERT INTO refusals VALUES('mail',1795915422020416,'name-taken',45295,0,NULL);
CREATE INDEX tenures_by_name ON tenures (name, id);
CREATE INDEX tenures_by_until ON tenures (until_usec);
CREATE INDEX tenures_hidden ON tenures (type) WHERE type = 72;
CREATE INDEX tenures_16_bit ON tenures (name, id) WHERE creation < 4;
CREATE TRIGGER metadata_goes_with_its_registration AFTER DELETE ON registrations
BEGIN
    DELETE FROM metadata WHERE name = OLD.name AND scope = OLD.scope;
END;
CREATE INDEX tenures_helpers ON tenures (helper) WHERE helper = 1;
CREATE INDEX refusals_by_at ON refusals (at_usec);
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
ORDER BY name, scope
;
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
ORDER BY id
;
CREATE VIEW refused AS
SELECT name,
       strftime('%Y-%m-%d %H:%M:%S', at_usec / 1000000, 'unixepoch') AS at,
       reason,
       port,
       unit,
       uid
FROM refusals
ORDER BY at_usec;
COMMIT;
