-- SPDX-License-Identifier: Apache-2.0
-- The next migration after those in schema/, as a later daemon might bring it: tests/rollcalld-next has it, to which
-- tests upgrade and from which they go back. It adds in every way there is, and so leaves oldest_writer alone.

ALTER TABLE registrations ADD COLUMN mood TEXT NOT NULL DEFAULT 'unknown';
ALTER TABLE tenures ADD COLUMN mood TEXT;
UPDATE tenures SET mood = 'remembered';

-- One row for each time that this was run: what it found.
CREATE TABLE visits (
    id              INTEGER PRIMARY KEY,
    n_registrations INTEGER NOT NULL,
    n_tenures       INTEGER NOT NULL
) STRICT;
INSERT INTO visits (n_registrations, n_tenures)
VALUES ((SELECT count(*) FROM registrations), (SELECT count(*) FROM tenures));

-- Written from now on, whichever daemon writes.
CREATE TABLE farewells (name TEXT NOT NULL) STRICT;
CREATE TRIGGER farewell AFTER INSERT ON tenures
BEGIN
    INSERT INTO farewells (name) VALUES (NEW.name);
END;

CREATE VIEW moods AS SELECT name, mood FROM registrations;

-- A word that nobody knows before.
UPDATE tenures SET how = 'dreamt-away', state = 'dreaming', state_source = 'a-friend' WHERE name = 'dreamer';
