/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows how the registry file is opened, judged, brought up to date, written and left. Does not
 * know when to do that, nor what to do when it fails: that is the writer's.
 *
 * The trap: SQLite names files by path when it is done with them ("-wal" is unlinked by name), and
 * POSIX locks are dropped when any second descriptor of a file is closed in this process. So
 * nothing here opens the database but SQLite, once, and a connection whose file is lost is closed
 * without a touch.
 */

#include "state/database.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/creation.h"
#include "state/place.h"
#include "state/rows.h"
#include "state/schema.h"
#include "state/standing.h"
#include "state/tenures.h"

/* How long another's write transaction is waited for within one attempt. */
#define BUSY_TIMEOUT_MSEC 1000
/* Written back after so many pages, as SQLite would by itself, but after the commit was told. */
#define CHECKPOINT_FRAMES 1000
/* Tenures deleted in one transaction: some 20 ms. */
#define TRIM_STEP 2000
/* Steps of SQLite's machine between two looks whether a check of all pages is in the way. */
#define CHECK_PAGES_STEPS 10000
#define USEC_PER_DAY (UINT64_C(86400) * USEC_PER_SEC)

struct Database {
        char *path; /* as it was given */
        char *boot_id;
        unsigned history_days;
        int64_t history_rows;
        unsigned history_per_name;
        char detail[256];
        Standing standing; /* of the first file, and what was ordered since */

        /* While it is open */
        sqlite3 *handle;
        Rows rows;
        Place place;
        bool is_read_only;
        bool is_fresh;
        bool is_full; /* PRAGMA synchronous */
        bool boot_is_written;
        bool is_touched; /* somebody else has written to the main file */
        uint32_t version;
        uint32_t creations;
        int n_wal_frames;
        int checkpoint_at; /* frames */
};

/* --- failures ------------------------------------------------------------------------------- */

PRINTF_LIKE(2, 3) static void set_detail(Database *database, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(database->detail, sizeof database->detail, format, arguments);
        va_end(arguments);
}

/* The border of SQLite's codes. */
static int translate(int rc, int system_error) {
        switch (rc & 0xff) {
        case SQLITE_OK:
                return 0;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
                return DATABASE_E_CORRUPT;
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
                return -EBUSY;
        case SQLITE_FULL:
                return -ENOSPC;
        case SQLITE_READONLY:
                return rc == SQLITE_READONLY_DBMOVED ? DATABASE_E_LOST : -EROFS;
        case SQLITE_NOMEM:
                return -ENOMEM;
        case SQLITE_INTERRUPT:
                return DATABASE_E_INTERRUPTED;
        }
        return system_error > 0 ? -system_error : -EIO;
}

static bool is_unreadable(int system_error) {
        return system_error == EIO || system_error == ENXIO || system_error == ERANGE;
}

/* SQLite takes a read that fails for damage, as file systems tell of theirs by that. The system's word is with the file,
 * or its log. 0: it has not failed to read. */
static int find_read_error(sqlite3 *handle) {
        sqlite3_file *log = NULL;
        int error = 0;

        if (sqlite3_file_control(handle, "main", SQLITE_FCNTL_LAST_ERRNO, &error) == SQLITE_OK && is_unreadable(error))
                return error;
        if (sqlite3_file_control(handle, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log) != SQLITE_OK || !log ||
            !log->pMethods)
                return 0;
        error = 0;
        return log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &error) == SQLITE_OK && is_unreadable(error)
                       ? error
                       : 0;
}

static int fail_to_read(Database *database, int system_error, const char *attempt) {
        set_detail(database, "cannot %s %s: it cannot be read (%s)", attempt, database->path, strerror(system_error));
        return DATABASE_E_UNREADABLE;
}

/* "cannot <attempt> <path>: <SQLite's words> (<the system's words>)" */
static int fail(Database *database, int rc, const char *attempt) {
        int system_error = 0;
        const char *words = sqlite3_errstr(rc);

        rows_forget_counts(&database->rows);
        if (database->handle && (rc & 0xff) == SQLITE_CORRUPT) {
                system_error = find_read_error(database->handle);
                if (system_error > 0)
                        return fail_to_read(database, system_error, attempt);
        }
        if (database->handle && sqlite3_errcode(database->handle) != SQLITE_OK) {
                words = sqlite3_errmsg(database->handle);
                if ((rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN)
                        system_error = sqlite3_system_errno(database->handle);
        }
        if (system_error > 0)
                set_detail(database, "cannot %s %s: %s (%s)", attempt, database->path, words,
                           strerror(system_error));
        else
                set_detail(database, "cannot %s %s: %s", attempt, database->path, words);
        return translate(rc, system_error);
}

static int fail_errno(Database *database, int error, const char *attempt) {
        set_detail(database, "cannot %s %s: %s", attempt, database->path, strerror(error));
        return -error;
}

/* --- life ----------------------------------------------------------------------------------- */

void database_content_done(DatabaseContent *content) {
        for (size_t i = 0; i < content->n_nodes; i++)
                node_free(content->nodes[i]);
        for (size_t i = 0; i < content->n_formers; i++)
                node_free(content->formers[i]);
        free(content->nodes);
        for (size_t i = 0; i < content->n_refused; i++)
                refused_done(&content->refused[i]);
        entries_done(&content->entries);
        entries_done(&content->pins);
        free(content->formers);
        free(content->refused);
        free(content->boot_id);
        *content = (DatabaseContent){ .nodes = NULL };
}

int database_new(Database **ret, const DatabaseOptions *options) {
        _cleanup_(database_freep) Database *database = calloc(1, sizeof *database);

        if (!database)
                return -ENOMEM;
        /* Nobody asks SQLite how much memory it has; to count it takes a mutex for each piece. Refused, and of no
         * importance, where it is running for another database already. */
        (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
        database->path = strdup(options->path);
        database->boot_id = options->boot_id ? strdup(options->boot_id) : NULL;
        if (!database->path || (options->boot_id && !database->boot_id))
                return -ENOMEM;
        database_set_history_bounds(database, options->history_days, options->history_rows,
                                    options->history_per_name);
        *ret = TAKE_PTR(database);
        return 0;
}

void database_set_history_bounds(Database *database, unsigned days, unsigned rows, unsigned per_name) {
        bool no_history = days == 0 || per_name == 0;

        database->history_days = days;
        database->history_rows = no_history ? 0 : rows;
        /* The last tenure of a name is for the other bounds to delete, which know what to spare. */
        database->history_per_name = per_name > 0 ? per_name : 1;
        database->rows.history_per_name = database->history_per_name;
        rows_forget_counts(&database->rows);
}

Database *database_free(Database *database) {
        if (database) {
                database_close(database);
                entries_done(&database->standing.entries);
                entries_done(&database->standing.pins);
                free(database->path);
                free(database->boot_id);
        }
        free(database);
        return NULL;
}

bool database_is_open(const Database *database) {
        return database->handle;
}

bool database_is_read_only(const Database *database) {
        return database->is_read_only;
}

bool database_is_fresh(const Database *database) {
        return database->is_fresh;
}

uint32_t database_version(const Database *database) {
        return database->version;
}

uint32_t database_creations(const Database *database) {
        return database->creations;
}

uint64_t database_file_bytes(const Database *database) {
        return database->place.bytes[PLACE_MAIN];
}

uint64_t database_wal_bytes(const Database *database) {
        return database->place.bytes[PLACE_WAL];
}

const char *database_detail(const Database *database) {
        return database->detail;
}

size_t database_n_untrimmed(const Database *database) {
        return database->rows.n_untrimmed;
}

struct sqlite3 *database_handle(const Database *database) {
        return database->handle;
}

/* --- small idioms of SQLite ----------------------------------------------------------------- */

static void finalizep(sqlite3_stmt **statement) {
        sqlite3_finalize(*statement);
}

static int execute(sqlite3 *handle, const char *sql) {
        return sqlite3_exec(handle, sql, NULL, NULL, NULL);
}

/* The number in the first column of the first row; no row is an error. */
static int query_number(sqlite3 *handle, const char *sql, int64_t *ret) {
        _cleanup_(finalizep) sqlite3_stmt *statement = NULL;
        int rc = sqlite3_prepare_v2(handle, sql, -1, &statement, NULL);

        if (rc == SQLITE_OK)
                rc = sqlite3_step(statement);
        if (rc != SQLITE_ROW)
                return rc == SQLITE_DONE ? SQLITE_ERROR : rc;
        *ret = sqlite3_column_int64(statement, 0);
        return SQLITE_OK;
}

/* The text likewise, on the heap; NULL for NULL. */
static int query_text(sqlite3 *handle, const char *sql, char **ret) {
        _cleanup_(finalizep) sqlite3_stmt *statement = NULL;
        int rc = sqlite3_prepare_v2(handle, sql, -1, &statement, NULL);
        const char *text;

        if (rc == SQLITE_OK)
                rc = sqlite3_step(statement);
        if (rc != SQLITE_ROW)
                return rc == SQLITE_DONE ? SQLITE_ERROR : rc;
        text = (const char *)sqlite3_column_text(statement, 0);
        *ret = text ? strdup(text) : NULL;
        return text && !*ret ? SQLITE_NOMEM : SQLITE_OK;
}

/* A transaction that is left without COMMIT is undone. After SQLITE_FULL and its like SQLite has
 * done so by itself, and a ROLLBACK would only cover the error with its own. */
static void roll_backp(Database **database) {
        if (!sqlite3_get_autocommit((*database)->handle))
                execute((*database)->handle, "ROLLBACK");
}

/* A local that stands for the transaction, though nobody asks it for anything. */
#define GUARD_TRANSACTION(database)                                                                \
        _cleanup_(roll_backp) __attribute__((unused)) Database *transaction = (database)

static int set_full(Database *database, bool full) {
        int rc = SQLITE_OK;

        if (database->is_full != full)
                rc = execute(database->handle,
                             full ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
        if (rc == SQLITE_OK)
                database->is_full = full;
        return rc;
}

/* A reader who keeps a transaction open, or another's checkpoint, only puts it off. */
static int checkpoint(Database *database, int mode) {
        bool is_touched = place_take_touch(&database->place); /* before we touch it ourselves */
        int rc = sqlite3_wal_checkpoint_v2(database->handle, "main", mode, NULL, NULL);

        database->is_touched = database->is_touched || is_touched;
        place_forgive_touch(&database->place);
        return rc == SQLITE_OK || (rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED
                       ? 0
                       : fail(database, rc, "write back the log of");
}

static int cut_log(Database *database) {
        int r;

        sqlite3_busy_timeout(database->handle, 0); /* readers are not waited for */
        r = checkpoint(database, SQLITE_CHECKPOINT_TRUNCATE);
        sqlite3_busy_timeout(database->handle, BUSY_TIMEOUT_MSEC);
        return r;
}

/* --- opening -------------------------------------------------------------------------------- */

static int on_wal(void *userdata, sqlite3 *handle, const char *name, int n_frames) {
        Database *database = userdata;

        (void)handle;
        (void)name;
        if (n_frames < database->n_wal_frames)
                database->checkpoint_at = CHECKPOINT_FRAMES; /* it began again at its start */
        database->n_wal_frames = n_frames;
        return SQLITE_OK;
}

static int ensure_file(Database *database, DatabaseAccess access) {
        bool is_there;
        int r = place_find(&database->place, database->path, &is_there);

        if (r == -ENOTSUP) {
                set_detail(database, "%s is not a regular file", database->path);
                return r;
        }
        if (r == 0 && !is_there && access == DATABASE_READ)
                r = -ENOENT;
        if (r < 0)
                return fail_errno(database, -r, "find");
        if (is_there)
                return 0;
        r = place_create(&database->place);
        return r < 0 ? fail_errno(database, -r, "create") : 0;
}

/* A connection that touches nothing by itself, least of all when it is closed. */
static int connect_file(Database *database, DatabaseAccess access) {
        int flags = access == DATABASE_WRITE ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY;
        int persist = 1;
        int rc = sqlite3_open_v2(database->place.files[PLACE_MAIN], &database->handle,
                                 flags | SQLITE_OPEN_NOMUTEX, NULL);

        if (rc != SQLITE_OK)
                return fail(database, rc, "open");
        sqlite3_extended_result_codes(database->handle, 1);
        sqlite3_busy_timeout(database->handle, BUSY_TIMEOUT_MSEC);
        sqlite3_db_config(database->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        sqlite3_db_config(database->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        sqlite3_file_control(database->handle, "main", SQLITE_FCNTL_PERSIST_WAL, &persist);
        sqlite3_wal_hook(database->handle, on_wal, database);
        execute(database->handle, "PRAGMA temp_store = MEMORY"); /* no files elsewhere */
        database->n_wal_frames = 0;
        database->checkpoint_at = CHECKPOINT_FRAMES;
        database->is_full = true; /* SQLite's default */
        database->is_read_only = sqlite3_db_readonly(database->handle, "main") == 1;
        return 0;
}

/* Is it a registry? Only then may it be written. The id says so; where that is damaged or was left
 * behind in a log, our tables do. */
static int judge_owner(Database *database) {
        static const char count_ours[] = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' "
                                         "AND name IN ('registry', 'registrations', 'tenures')";
        int64_t id = 0, n_things = 0, n_ours = 0;
        int rc = query_number(database->handle, "PRAGMA application_id", &id);

        if (rc == SQLITE_OK)
                rc = query_number(database->handle, "SELECT count(*) FROM sqlite_schema",
                                  &n_things);
        if (rc == SQLITE_OK)
                rc = query_number(database->handle, count_ours, &n_ours);
        if (rc != SQLITE_OK)
                return fail(database, rc, "read");
        if (id == DATABASE_APPLICATION_ID || n_things == 0 || n_ours == 3)
                return 0;
        set_detail(database, "%s is a database of another program (application id 0x%" PRIx64 ")",
                   database->path, (uint64_t)id & UINT32_MAX);
        return DATABASE_E_FOREIGN;
}

/* May this daemon write it? A newer one that only added things says so in oldest_writer. */
static int judge_version(Database *database) {
        int64_t version = 0, oldest_writer = 0;
        int rc = query_number(database->handle, "PRAGMA user_version", &version);

        if (rc != SQLITE_OK || version < 0)
                return fail(database, rc != SQLITE_OK ? rc : SQLITE_CORRUPT, "read");
        database->version = (uint32_t)version;
        database->is_fresh = version == 0;
        if (version <= n_schema_migrations)
                return 0;
        rc = query_number(database->handle, "SELECT oldest_writer FROM registry WHERE id = 1",
                          &oldest_writer);
        if (rc == SQLITE_OK && oldest_writer <= n_schema_migrations)
                return 0;
        if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_ERROR)
                return fail(database, rc, "read");
        set_detail(database,
                   "%s has schema %" PRId64 ", which this daemon, of schema %u, must not write",
                   database->path, version, n_schema_migrations);
        return DATABASE_E_TOO_NEW;
}

/* The id goes into the main file before the file may have a WAL: whoever finds a file with a WAL
 * and without the id knows that it is not ours. */
static int enter_wal(Database *database) {
        _cleanup_(freep) char *mode = NULL;
        char sql[64];
        int rc = SQLITE_OK;

        if (database->is_fresh) {
                snprintf(sql, sizeof sql, "PRAGMA application_id = %d", DATABASE_APPLICATION_ID);
                rc = execute(database->handle, sql);
        }
        if (rc == SQLITE_OK)
                rc = query_text(database->handle, "PRAGMA journal_mode = WAL", &mode);
        if (rc == SQLITE_OK) {
                snprintf(sql, sizeof sql, "PRAGMA journal_size_limit = %d", DATABASE_WAL_BYTES_MAX);
                rc = execute(database->handle, sql);
        }
        if (rc != SQLITE_OK)
                return fail(database, rc, "open");
        if (mode && strcmp(mode, "wal") == 0)
                return 0;
        set_detail(database,
                   "%s cannot have a write-ahead log: its file system has no shared memory",
                   database->path);
        return -EOPNOTSUPP;
}

/* SQL that fails as such, in a file that is ours, means that the schema is not what its version
 * says. */
static int fail_schema(Database *database, int rc, const char *attempt) {
        int r = fail(database, rc, attempt);

        if ((rc & 0xff) != SQLITE_ERROR)
                return r;
        return database->version > n_schema_migrations ? DATABASE_E_TOO_NEW : DATABASE_E_CORRUPT;
}

static int migrate(Database *database) {
        GUARD_TRANSACTION(database);
        int64_t version = 0;
        char sql[64];
        int rc;

        if (database->version >= n_schema_migrations)
                return 0;
        rc = execute(database->handle, "BEGIN IMMEDIATE");
        /* Read again: only now can nobody else change it. */
        if (rc == SQLITE_OK)
                rc = query_number(database->handle, "PRAGMA user_version", &version);
        for (; rc == SQLITE_OK && version < n_schema_migrations; version++)
                rc = execute(database->handle, schema_migrations[version]);
        if (rc == SQLITE_OK) {
                snprintf(sql, sizeof sql, "PRAGMA user_version = %" PRId64, version);
                rc = execute(database->handle, sql);
        }
        if (rc == SQLITE_OK)
                rc = execute(database->handle, "COMMIT");
        if (rc != SQLITE_OK)
                return fail_schema(database, rc, "migrate");
        database->version = (uint32_t)version;
        return 0;
}

static int read_creations(Database *database) {
        int64_t creations = 0;
        int rc = query_number(database->handle,
                              "SELECT creation_reserved FROM registry WHERE id = 1", &creations);

        if (rc != SQLITE_OK)
                return fail_schema(database, rc, "read");
        database->creations = (uint32_t)creations;
        return 0;
}

/* Notes which files are open. The main one could be replaced between SQLite's open() and our
 * stat(), so SQLite is asked whether its own is still the one at the path. A new one must be found
 * again after a power cut; SQLite sees to what is in it. */
static int settle(Database *database) {
        int has_moved = 1;
        int r = place_note(&database->place);

        if (r == 0 && database->is_fresh)
                r = place_sync(&database->place);
        if (r < 0)
                return fail_errno(database, -r, "keep");
        sqlite3_file_control(database->handle, "main", SQLITE_FCNTL_HAS_MOVED, &has_moved);
        if (!has_moved)
                return 0;
        set_detail(database, "%s was replaced while it was opened", database->path);
        return DATABASE_E_LOST;
}

static int prepare_for_writing(Database *database) {
        int r = enter_wal(database);
        int rc;

        if (r == 0)
                r = migrate(database);
        if (r == 0)
                r = read_creations(database);
        if (r == 0)
                r = settle(database);
        if (r != 0)
                return r;
        rc = rows_init(&database->rows, database->handle, database->history_per_name, &database->standing);
        return rc == SQLITE_OK ? 0 : fail_schema(database, rc, "use");
}

static int open_and_judge(Database *database, DatabaseAccess access) {
        int r = ensure_file(database, access);

        if (r == 0)
                r = connect_file(database, access);
        if (r == 0)
                r = judge_owner(database);
        if (r == 0)
                r = judge_version(database);
        if (r != 0)
                return r;
        if (!database->is_read_only)
                return prepare_for_writing(database);
        return database->is_fresh ? 0 : read_creations(database);
}

int database_open(Database *database, DatabaseAccess access) {
        int r = open_and_judge(database, access);

        if (r != 0)
                database_close(database);
        return r;
}

void database_close(Database *database) {
        rows_done(&database->rows);
        sqlite3_close(database->handle);
        database->handle = NULL;
        place_done(&database->place);
        database->is_read_only = database->is_fresh = false;
        database->boot_is_written = database->is_touched = false;
        database->version = database->creations = 0;
}

void database_close_cleanly(Database *database) {
        if (database->handle && !database->is_read_only && database_check_place(database) == 0)
                cut_log(database);
        database_close(database);
}

void database_close_lost(Database *database) {
        if (database->handle)
                place_sweep(&database->place);
        database_close(database);
}

/* --- reading -------------------------------------------------------------------------------- */

static int keep_standing(Database *database, const DatabaseContent *content) {
        Standing standing = { 0 };

        if (entries_copy(&content->entries, &standing.entries) < 0)
                return -ENOMEM;
        if (entries_copy(&content->pins, &standing.pins) < 0) {
                entries_done(&standing.entries);
                return -ENOMEM;
        }
        entries_done(&database->standing.entries);
        entries_done(&database->standing.pins);
        database->standing = standing;
        return 0;
}

/* In one transaction: each would take its locks by itself otherwise. */
int database_load(Database *database, DatabaseContent *content) {
        GUARD_TRANSACTION(database);
        int rc;

        if (database->version == 0)
                return 0;
        rc = execute(database->handle, "BEGIN");
        if (rc == SQLITE_OK)
                rc = query_text(database->handle, "SELECT boot_id FROM registry WHERE id = 1",
                                &content->boot_id);
        /* First what nobody would tell us again. */
        if (rc == SQLITE_OK)
                rc = standing_load(database->handle, database->version, content);
        if (rc == SQLITE_OK && keep_standing(database, content) < 0)
                rc = SQLITE_NOMEM;
        if (rc == SQLITE_OK)
                rc = rows_load_nodes(database->handle, database->version, content);
        if (rc == SQLITE_OK)
                rc = tenures_load_formers(database->handle, database->version, content);
        if (rc == SQLITE_OK)
                rc = rows_load_refusals(database->handle, database->version, content);
        if (rc == SQLITE_OK)
                rc = execute(database->handle, "COMMIT");
        return rc == SQLITE_OK ? 0 : fail_schema(database, rc, "read");
}

int database_query(Database *database, const StoreQuery *query, StoreAnswer *answer) {
        int rc = tenures_query(&database->rows, query, answer);

        return rc == SQLITE_OK ? 0 : fail_schema(database, rc, "read the history in");
}

uint32_t database_salvage_creations(const char *path) {
        sqlite3 *handle = NULL;
        int64_t creations = 0;
        int persist = 1;

        if (sqlite3_open_v2(path, &handle, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) ==
            SQLITE_OK) {
                sqlite3_db_config(handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
                sqlite3_file_control(handle, "main", SQLITE_FCNTL_PERSIST_WAL, &persist);
                query_number(handle, "SELECT creation_reserved FROM registry", &creations);
        }
        sqlite3_close(handle);
        return creations > 0 && creations <= UINT32_MAX ? (uint32_t)creations : 0;
}

/* --- writing -------------------------------------------------------------------------------- */

/* From here on the rows of this boot are in the file, and no others (see WRITE_CREATIONS). */
static bool begins_boot(const Write *first) {
        for (const Write *write = first; write; write = write->next)
                if (write->kind == WRITE_CREATIONS || write->kind == WRITE_WHOLE)
                        return true;
        return false;
}

static bool has_whole(const Write *first) {
        for (const Write *write = first; write; write = write->next)
                if (write->kind == WRITE_WHOLE)
                        return true;
        return false;
}

int database_write(Database *database, const Write *first, uint32_t creations,
                   size_t *ret_n_refused) {
        GUARD_TRANSACTION(database);
        bool has_boot = begins_boot(first) && !database->boot_is_written;
        bool has_creations = creation_later(database->creations, creations) != database->creations;
        size_t n_refused = 0;
        int rc = set_full(database, has_creations || has_whole(first));

        if (rc == SQLITE_OK)
                rc = rows_run(&database->rows, ROWS_BEGIN);
        for (const Write *write = first; write && rc == SQLITE_OK; write = write->next)
                rc = rows_apply(&database->rows, write, &n_refused);
        if (rc == SQLITE_OK && has_boot)
                rc = rows_set_boot(&database->rows, database->boot_id);
        if (rc == SQLITE_OK && has_creations)
                rc = rows_set_creations(&database->rows, creations);
        if (rc == SQLITE_OK)
                rc = rows_run(&database->rows, ROWS_COMMIT);
        if (rc != SQLITE_OK)
                return fail_schema(database, rc, "write to");
        if (has_creations)
                database->creations = creations;
        database->boot_is_written = database->boot_is_written || has_boot;
        *ret_n_refused = n_refused;
        return 0;
}

static int run_order(Database *database, const StoreOrder *order) {
        GUARD_TRANSACTION(database);
        int rc = set_full(database, true);

        if (rc == SQLITE_OK)
                rc = rows_run(&database->rows, ROWS_BEGIN);
        if (rc == SQLITE_OK)
                rc = standing_apply(&database->rows, order);
        if (rc == SQLITE_OK)
                rc = rows_run(&database->rows, ROWS_COMMIT);
        return rc == SQLITE_OK ? 0 : fail_schema(database, rc, "write to");
}

int database_order(Database *database, const StoreOrder *order) {
        _cleanup_(entry_done) Entry copy = { 0 };
        int r = standing_prepare(&database->standing, order, &copy);

        if (r == 0)
                r = run_order(database, order);
        if (r == 0)
                r = database_check_place(database); /* P1 */
        if (r == 0)
                standing_note(&database->standing, order, &copy);
        return r;
}

/* --- looking after it ----------------------------------------------------------------------- */

int database_check_place(Database *database) {
        const char *file;
        const char *what_happened = place_check(&database->place, &file);

        if (!what_happened)
                return 0;
        set_detail(database, "%s %s", file, what_happened);
        return DATABASE_E_LOST;
}

bool database_take_touch(Database *database) {
        bool is_touched = place_take_touch(&database->place) || database->is_touched;

        database->is_touched = false;
        return is_touched;
}

int database_checkpoint(Database *database, bool is_idle) {
        int r = 0;

        if (database->n_wal_frames >= database->checkpoint_at) {
                r = checkpoint(database, SQLITE_CHECKPOINT_PASSIVE);
                database->checkpoint_at = database->n_wal_frames + CHECKPOINT_FRAMES;
        }
        if (r == 0 && is_idle && database->place.bytes[PLACE_WAL] > DATABASE_WAL_BYTES_MAX)
                r = cut_log(database);
        return r;
}

int database_trim(Database *database, uint64_t now_usec, bool *ret_again) {
        GUARD_TRANSACTION(database);
        uint64_t kept_usec = database->history_days * USEC_PER_DAY;
        uint64_t oldest_usec = now_usec > kept_usec ? now_usec - kept_usec : 0;
        int64_t n = 0;
        int rc = set_full(database, false);

        if (rc == SQLITE_OK)
                rc = rows_run(&database->rows, ROWS_BEGIN);
        if (rc == SQLITE_OK)
                rc = tenures_trim(&database->rows, oldest_usec, database->history_rows, TRIM_STEP, &n);
        if (rc == SQLITE_OK)
                rc = rows_run(&database->rows, ROWS_COMMIT);
        if (rc != SQLITE_OK)
                return fail_schema(database, rc, "shorten the history in");
        database->rows.n_untrimmed = 0;
        *ret_again = n >= TRIM_STEP;
        return 0;
}

typedef struct PagesCheck {
        bool (*is_wanted_elsewhere)(void *userdata);
        void *userdata;
} PagesCheck;

static int on_progress(void *userdata) {
        PagesCheck *check = userdata;

        return check->is_wanted_elsewhere(check->userdata);
}

int database_check_pages(Database *database, bool (*is_wanted_elsewhere)(void *userdata),
                         void *userdata) {
        PagesCheck check = { .is_wanted_elsewhere = is_wanted_elsewhere, .userdata = userdata };
        _cleanup_(freep) char *verdict = NULL;
        int r = checkpoint(database, SQLITE_CHECKPOINT_PASSIVE);
        int rc, system_error;

        if (r != 0)
                return r;
        /* Pages in the log or in memory would hide those in the main file, which is what others
         * see. */
        sqlite3_db_release_memory(database->handle);
        sqlite3_progress_handler(database->handle, CHECK_PAGES_STEPS, on_progress, &check);
        rc = query_text(database->handle, "PRAGMA quick_check(1)", &verdict);
        sqlite3_progress_handler(database->handle, 0, NULL, NULL);
        if (rc != SQLITE_OK)
                return fail_schema(database, rc, "check");
        if (verdict && strcmp(verdict, "ok") == 0)
                return 0;
        /* It finds damage where it could not read, too. */
        system_error = find_read_error(database->handle);
        if (system_error > 0)
                return fail_to_read(database, system_error, "check");
        set_detail(database, "%s is damaged: %s", database->path, verdict ? verdict : "unknown");
        return DATABASE_E_CORRUPT;
}
