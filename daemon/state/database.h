/* SPDX-License-Identifier: Apache-2.0 */
/* The registry file: open, migrate, load, write a group, look after it. With rows.c the only user
 * of SQLite. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/entries.h"
#include "core/node.h"
#include "core/refusals.h"
#include "state/store.h"
#include "state/write.h"
#include "util.h"

/* "Roll", big endian at offset 68 of the file. */
#define DATABASE_APPLICATION_ID 0x526f6c6c
/* Idle, a longer WAL is cut as soon as nobody reads from it. */
#define DATABASE_WAL_BYTES_MAX (4 * 1024 * 1024)
/* Of history: last tenures with a 16-bit creation that are spared by the bounds in days and rows
 * (P5). */
#define DATABASE_SPARED_MAX 1000

/* Conditions that the writer handles, each in its own way. */
enum DatabaseError {
        DATABASE_E_CORRUPT = 1, /* to be set aside */
        DATABASE_E_UNREADABLE,  /* the same, if that does not pass */
        DATABASE_E_TOO_NEW,     /* a newer daemon's, which we may not write */
        DATABASE_E_FOREIGN,     /* another program's */
        DATABASE_E_LOST, /* deleted or replaced beneath us: what was written is not at its path */
        DATABASE_E_INTERRUPTED, /* database_check_pages() was */
};

typedef struct DatabaseOptions {
        const char *path;    /* copied */
        const char *boot_id; /* or NULL: unknown; copied */
        /* Bounds of history. 0 in any of them: none is kept but what P5 needs. */
        unsigned history_days;
        unsigned history_rows;
        unsigned history_per_name;
} DatabaseOptions;

/* What is in the file. */
typedef struct DatabaseContent {
        Node **nodes; /* see StoreLoaded */
        size_t n_nodes;
        Node **formers; /* see StoreLoaded */
        size_t n_formers;
        Refused *refused; /* see StoreLoaded */
        size_t n_refused;
        Entries entries, pins; /* see StoreLoaded */
        size_t n_nonsense; /* rows that no daemon wrote so; passed over */
        uint64_t last_serial;
        char *boot_id;
} DatabaseContent;

/* What was ordered, as the file has it; whoever writes has it, too, for the next file. */
typedef struct Standing {
        Entries entries, pins;
} Standing;

void database_content_done(DatabaseContent *content);

/* One file for as long as the store lives; opened and closed many times. Every function below that
 * opens, reads or writes waits for the disk. They return 0; one of DATABASE_E_*; or a negative
 * errno: -EBUSY (somebody holds a lock), -ENOSPC, -EROFS (it may only be read), -ENOMEM, -EIO and
 * others; and leave in database_detail() what was attempted and what came of it. */
typedef struct Database Database;

int database_new(Database **ret,
                 const DatabaseOptions *options); /* touches nothing. 0 or -ENOMEM */
Database *database_free(Database *database);
DEFINE_CLEANUP(Database *, database_free)

typedef enum DatabaseAccess {
        DATABASE_READ, /* by whoever does not hold the lock: nothing is made or changed */
        DATABASE_WRITE,
} DatabaseAccess;

/* Opens the file; with DATABASE_WRITE brings it to our schema, and makes a new one where there is
 * none (0640, whatever the umask). A file that may only be read is opened as that
 * (database_is_read_only()). */
int database_open(Database *database, DatabaseAccess access);
/* Forgets the file. Touches nothing, not even its -wal, which may be another file's by now. */
void database_close(Database *database);
/* As database_close(), after DATABASE_E_LOST: removes what is left of ours beside a file that is
 * not. */
void database_close_lost(Database *database);
/* The clean end: WAL written back and cut, both -wal and -shm stay for those who may only read. */
void database_close_cleanly(Database *database);

bool database_is_open(const Database *database);
bool database_is_read_only(const Database *database);
bool database_is_fresh(const Database *database); /* it was empty when it was opened */
uint32_t database_version(const Database *database);
uint32_t database_creations(const Database *database); /* as reserved in the file; 0: none */
uint64_t database_file_bytes(const Database *database);
uint64_t database_wal_bytes(const Database *database);
const char *database_detail(const Database *database); /* of the last failure; at most 255 bytes */

/* What can be read, also where it ends with DATABASE_E_CORRUPT; the caller calls
 * database_content_done(). */
int database_load(Database *database, DatabaseContent *content);
/* One transaction: the list `first` in its order, creations if they are later than what the file
 * has (0: leave them). Durable against a power cut if creations are in it, or a WRITE_WHOLE. A change that the file
 * refuses (a newer schema's rule) is passed over and counted in `*ret_n_refused`. */
int database_write(Database *database, const Write *first, uint32_t creations,
                   size_t *ret_n_refused);
/* One order, in a transaction of its own, durable against a power cut; with a look whether the file is still in its
 * place. On failure nothing of it is there, but in a file that is lost. */
int database_order(Database *database, const StoreOrder *order);
/* 0 while the open file is the one at its path, with its -wal and -shm; else DATABASE_E_LOST. Notes
 * sizes. */
int database_check_place(Database *database);
/* Writes the WAL back if it has grown; `is_idle`: cuts it, too, if it is long and nobody reads. */
int database_checkpoint(Database *database, bool is_idle);
/* Tenures that `query` asks for, into `answer`: bounded in time, see StoreAnswer. */
int database_query(Database *database, const StoreQuery *query, StoreAnswer *answer);
/* From now on these bounds hold (see DatabaseOptions). */
void database_set_history_bounds(Database *database, unsigned days, unsigned rows, unsigned per_name);
/* How many tenures have been written since the last database_trim(). */
size_t database_n_untrimmed(const Database *database);
/* Brings history within its bounds, a bounded step at a time; `*ret_again`: there is more to do. */
int database_trim(Database *database, uint64_t now_usec, bool *ret_again);
/* True, once, if somebody else has written to the main file. Another's checkpoint is all it should
 * be, but what we have in memory would hide any damage. */
bool database_take_touch(Database *database);
/* PRAGMA quick_check, of what is on disk; stopped with DATABASE_E_INTERRUPTED as soon as
 * `is_wanted_elsewhere(userdata)`. */
int database_check_pages(Database *database, bool (*is_wanted_elsewhere)(void *userdata),
                         void *userdata);

/* The creations reserved in a file that was set aside, or 0. */
uint32_t database_salvage_creations(const char *path);

/* For tests: the connection, to provoke what is hard to provoke otherwise. */
struct sqlite3 *database_handle(const Database *database);
