-- SPDX-License-Identifier: Apache-2.0
-- A registry as a daemon of schema 1 left it when it was killed after a restart: its nodes awaited.
-- (.dump of the sqlite3 shell, and the two numbers that it leaves out.)
PRAGMA application_id = 1383033964;
PRAGMA user_version = 1;
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
INSERT INTO registry VALUES(1,1,1795238357,'0b8d1c1e-5a5f-4c57-9a0e-3f6b1f0c2d11',1795236357000000);
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
INSERT INTO registrations VALUES('127.0.0.2','app',33509,77,0,6,5,1795236362,1795236357041829,6,0,NULL,X'','awaited',30766464,'127.0.0.2',0,1);
INSERT INTO registrations VALUES('127.0.0.3','app',41515,77,0,6,5,1795236363,1795236357041934,7,0,NULL,X'','awaited',30766466,'127.0.0.3',0,1);
INSERT INTO registrations VALUES('*','bücher',44463,72,0,6,5,1795236360,1795236357041614,4,0,NULL,X'0001657874726127ff','awaited',30766461,'*',0,1);
INSERT INTO registrations VALUES('*','cnode',4711,104,0,6,5,1795236361,1795236357041695,5,0,NULL,X'','awaited',NULL,NULL,0,1);
INSERT INTO registrations VALUES('*','mail',50823,77,0,6,5,1795236358,1795236357041310,2,0,NULL,X'','awaited',30766457,'*',0,1);
INSERT INTO registrations VALUES('*','old16',37611,77,0,5,5,3,1795236357041494,3,0,NULL,X'','awaited',30766459,'*',0,1);
INSERT INTO registrations VALUES('*','web',48825,77,0,6,5,1795236357,1795236357034714,1,0,NULL,X'','awaited',30766455,'*',0,1);
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
INSERT INTO tenures VALUES(1,'*','web-past',60403,77,0,6,5,1795236364,1795236357042049,8,0,NULL,1795236357042128,'left');
INSERT INTO tenures VALUES(2,'*','web-past',44295,77,0,6,5,1795236365,1795236357042249,9,0,NULL,1795236357042304,'left');
INSERT INTO tenures VALUES(3,'*','web-past',43339,77,0,6,5,1795236366,1795236357042352,10,0,NULL,1795236357042422,'left');
INSERT INTO tenures VALUES(4,'*','old16-past',37827,77,0,5,5,2,1795236357042471,11,0,NULL,1795236357042540,'left');
INSERT INTO tenures VALUES(5,'*','it''s',36939,77,0,6,5,1795236368,1795236357042646,12,0,NULL,1795236357042702,'left');
INSERT INTO tenures VALUES(6,'*','rabbitmqcli-0-rabbit',52975,72,0,6,5,1795236369,1795236357042750,13,0,NULL,1795236357042816,'left');
INSERT INTO tenures VALUES(7,'*','rabbitmqcli-1-rabbit',58467,72,0,6,5,1795236370,1795236357042859,14,0,NULL,1795236357042928,'left');
INSERT INTO tenures VALUES(8,'*','rabbitmqcli-2-rabbit',39947,72,0,6,5,1795236371,1795236357043008,15,0,NULL,1795236357058783,'found-dead');
CREATE INDEX tenures_by_name ON tenures (name, id);
CREATE INDEX tenures_by_until ON tenures (until_usec);
CREATE INDEX tenures_hidden ON tenures (type) WHERE type = 72;
CREATE INDEX tenures_16_bit ON tenures (name, id) WHERE creation < 4;
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
COMMIT;
