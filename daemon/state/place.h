/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a database at their path: are they still those that were opened? Knows no SQLite. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

/* A database in WAL mode is three files. */
typedef enum PlaceFile { PLACE_MAIN, PLACE_WAL, PLACE_SHM, _PLACE_N } PlaceFile;

typedef struct Place {
        char *path;            /* as it was given */
        char *files[_PLACE_N]; /* what SQLite calls them: the target of a symbolic link, and beside
                                  that */
        struct {
                dev_t device;
                ino_t inode;
        } ids[_PLACE_N];
        uint64_t bytes[_PLACE_N]; /* when they were last looked at */
        struct timespec changed;  /* when the main file was last written, as far as we know */
} Place;

/* Before the database is opened. `*ret_is_there`: there is a main file, a regular one. 0; -ENOTSUP:
 * there is something else; other negative errno. place_done() is due in any case. */
int place_find(Place *place, const char *path, bool *ret_is_there);
/* An empty main file, 0640 whatever the umask; -wal and -shm, to which SQLite gives its mode,
 * follow. What a deleted file has left is removed, lest it be taken for the new one's. 0 or
 * negative errno. */
int place_create(Place *place);
/* After it was opened, when all three are there. 0 or negative errno. */
int place_note(Place *place);
/* Sees to it that new files are found again after a power cut. 0 or negative errno. */
int place_sync(const Place *place);

/* NULL while each file is the one that was noted; else what has happened to `*ret_file`, in words:
 * "was deleted", "was replaced", "was made smaller", "is out of reach". */
const char *place_check(Place *place, const char **ret_file);
/* True, once, if somebody else has written to the main file: its contents may be anything. */
bool place_take_touch(Place *place);
/* We have written to the main file: that is no touch. */
void place_forgive_touch(Place *place);
/* Removes our log if it is left beside another's file, for which it would be taken as its own. */
void place_sweep(const Place *place);
void place_done(Place *place);
