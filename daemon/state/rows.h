/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes and refusals as rows, and all statements. A part of database.c, to which it returns SQLite's codes. */
#pragma once

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "state/database.h"

/* For bounds within the text of a statement. */
#define ROWS_TO_STRING_(number) #number
#define ROWS_TO_STRING(number) ROWS_TO_STRING_(number)

typedef enum RowsStatement {
        ROWS_BEGIN,
        ROWS_COMMIT,
        ROWS_PUT,
        ROWS_PUT_PAIR,
        ROWS_FORGET_PAIRS,
        ROWS_FORGET,
        ROWS_CLEAR,
        ROWS_CLEAR_PAIRS,
        ROWS_SET_CREATIONS,
        ROWS_SET_BOOT,
        ROWS_UPDATE_REFUSAL,
        ROWS_ADD_REFUSAL,
        ROWS_TRIM_REFUSALS,
        /* standing.c: */
        ROWS_PUT_ENTRY,
        ROWS_FORGET_ENTRY,
        ROWS_CLEAR_ENTRIES,
        ROWS_PUT_PIN,
        ROWS_FORGET_PIN,
        ROWS_CLEAR_PINS,
        /* tenures.c: */
        ROWS_KNOWS_TENURE,
        ROWS_ADD_TENURE,
        ROWS_COUNT_OF_NAME,
        ROWS_TRIM_NAME,
        ROWS_TRIM_DAYS,
        ROWS_TRIM_HELPERS,
        ROWS_TRIM_HIDDEN,
        ROWS_TRIM_OLDEST,
        ROWS_TENURES,
        ROWS_TENURES_OF_NAME,
        ROWS_TENURES_SINCE,
        _ROWS_N,
} RowsStatement;

/* Of a name, by its hash: so many more tenures it certainly may get without being too many. */
typedef struct RowsLeft {
        uint64_t name_hash;
        unsigned n_left;
} RowsLeft;

#define ROWS_LEFT_N 1024 /* names that are remembered so, at most */

typedef struct Rows {
        sqlite3 *handle; /* borrowed */
        sqlite3_stmt *statements[_ROWS_N];
        unsigned history_per_name;
        uint64_t name_seed; /* so that nobody can choose names that are taken for each other */
        RowsLeft left[ROWS_LEFT_N]; /* each at the place that its hash says */
        int64_t n_tenures;  /* -1: to be counted */
        int64_t n_refusals; /* likewise */
        size_t n_untrimmed; /* tenures written since history was last brought within its bounds */
        const Standing *standing; /* borrowed: goes with every whole */
        bool may_have_pairs; /* false: no node has announced metadata */
} Rows;

/* Prepares all statements. On failure rows_done() is due all the same. */
int rows_init(Rows *rows, sqlite3 *handle, unsigned history_per_name, const Standing *standing);
void rows_done(Rows *rows);
/* What was counted may be undone: it is counted again. */
void rows_forget_counts(Rows *rows);

/* Steps a statement that gives no rows, as it is bound. */
int rows_run(Rows *rows, RowsStatement statement);
/* The number that `query` gives. */
int rows_count(const Rows *rows, const char *query, int64_t *ret);
/* Appends what `query` gives to `*nodes`; a row that `read_row` makes nothing of (NULL) is counted. */
int rows_load(sqlite3 *handle, const char *query, int (*read_row)(sqlite3_stmt *, Node **),
              DatabaseContent *content, Node ***nodes, size_t *n_nodes);

/* Into `content`, which has what was read before a failure. `version` is the file's. */
int rows_load_nodes(sqlite3 *handle, uint32_t version, DatabaseContent *content);
int rows_load_refusals(sqlite3 *handle, uint32_t version, DatabaseContent *content);

/* Within a transaction. `*n_refused` counts changes that a constraint refused. */
int rows_apply(Rows *rows, const Write *write, size_t *n_refused);
int rows_set_creations(Rows *rows, uint32_t creations);
int rows_set_boot(Rows *rows, const char *boot_id);
