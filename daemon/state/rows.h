/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes as rows: the statements. A part of database.c, to which it returns SQLite's codes. */
#pragma once

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "state/database.h"

typedef enum RowsStatement {
        ROWS_BEGIN,
        ROWS_COMMIT,
        ROWS_PUT,
        ROWS_FORGET,
        ROWS_CLEAR,
        ROWS_KNOWS_TENURE,
        ROWS_ADD_TENURE,
        ROWS_TRIM_NAME,
        ROWS_TRIM_DAYS,
        ROWS_TRIM_HIDDEN,
        ROWS_TRIM_OLDEST,
        ROWS_SET_CREATIONS,
        ROWS_SET_BOOT,
        _ROWS_N,
} RowsStatement;

typedef struct Rows {
        sqlite3 *handle; /* borrowed */
        sqlite3_stmt *statements[_ROWS_N];
        unsigned history_per_name;
        int64_t n_tenures;  /* -1: to be counted */
        size_t n_untrimmed; /* tenures written since history was last brought within its bounds */
} Rows;

/* Prepares all statements. On failure rows_done() is due all the same. */
int rows_init(Rows *rows, sqlite3 *handle, unsigned history_per_name);
void rows_done(Rows *rows);

/* Steps a statement that has no parameters and gives no rows. */
int rows_run(Rows *rows, RowsStatement statement);

/* Into `content`, which has what was read before a failure. */
int rows_load_nodes(sqlite3 *handle, DatabaseContent *content);
int rows_load_formers(sqlite3 *handle, DatabaseContent *content);

/* Within a transaction. `*n_refused` counts changes that a constraint refused. */
int rows_apply(Rows *rows, const Write *write, size_t *n_refused);
int rows_set_creations(Rows *rows, uint32_t creations);
int rows_set_boot(Rows *rows, const char *boot_id);

/* Deletes at most `max` tenures that are beyond the bounds; `*ret_n` of them. */
int rows_trim(Rows *rows, uint64_t oldest_usec, int64_t n_rows, int64_t max, int64_t *ret_n);
