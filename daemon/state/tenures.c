/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows what history keeps and how it is asked. Does not know who asks, nor when it is time to trim.
 *
 * The trap: ids are in the order of ends, times nearly so: a clock may be set back. So a walk goes by id, and a
 * time decides about each row by itself.
 */

#include "state/tenures.h"

#include <stdio.h>
#include <string.h>

#include "core/hash.h"
#include "core/registry.h"
#include "state/columns.h"

/* --- writing -------------------------------------------------------------------------------------- */

/* How many more a name may get, and the newest tenure of it that is one too many (0: there is none). */
static int count_of_name(Rows *rows, const NodeInfo *info, unsigned *ret_n_left, int64_t *ret_excess) {
        sqlite3_stmt *statement = rows->statements[ROWS_COUNT_OF_NAME];
        int64_t n;
        int rc;

        sqlite3_bind_text(statement, 1, info->name, (int)info->n_name, SQLITE_STATIC);
        sqlite3_bind_int64(statement, 2, (int64_t)rows->history_per_name + 1);
        rc = sqlite3_step(statement);
        if (rc == SQLITE_ROW) {
                n = sqlite3_column_int64(statement, 0);
                *ret_n_left = n < rows->history_per_name ? rows->history_per_name - (unsigned)n : 0;
                *ret_excess = n > rows->history_per_name ? sqlite3_column_int64(statement, 1) : 0;
        }
        sqlite3_reset(statement);
        return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

/* Counted first: a DELETE opens the table and all of its indexes before it sees that there is nothing to be deleted. And
 * counted once for as many as there may still come: whatever else happens to history makes room. */
static int trim_name(Rows *rows, const NodeInfo *info) {
        uint64_t hash = hash_bytes(info->name, info->n_name, rows->name_seed);
        RowsLeft *left = rows->left + hash % ROWS_LEFT_N;
        sqlite3_stmt *statement = rows->statements[ROWS_TRIM_NAME];
        int64_t excess = 0;
        int rc;

        if (left->name_hash == hash && left->n_left > 0) {
                left->n_left--;
                return SQLITE_OK;
        }
        *left = (RowsLeft){ .name_hash = hash };
        rc = count_of_name(rows, info, &left->n_left, &excess);
        if (rc != SQLITE_OK || excess == 0)
                return rc;
        sqlite3_bind_text(statement, 1, info->name, (int)info->n_name, SQLITE_STATIC);
        sqlite3_bind_int64(statement, 2, excess);
        rc = rows_run(rows, ROWS_TRIM_NAME);
        if (rc == SQLITE_OK && rows->n_tenures >= 0)
                rows->n_tenures -= sqlite3_changes(rows->handle);
        return rc;
}

/* A group is written again where a file was lost between its commit and the look at it. A row that is gone
 * already says that this may be so; then the tenures are asked. */
static int is_known(Rows *rows, const Node *node, bool *ret) {
        sqlite3_stmt *statement = rows->statements[ROWS_KNOWS_TENURE];
        int rc;

        *ret = false;
        if (sqlite3_changes(rows->handle) > 0)
                return SQLITE_OK;
        columns_bind_key(statement, node);
        rc = sqlite3_step(statement);
        sqlite3_reset(statement);
        *ret = rc == SQLITE_ROW;
        return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int add(Rows *rows, const Write *write) {
        sqlite3_stmt *statement = rows->statements[ROWS_ADD_TENURE];

        columns_bind_node(statement, write->nodes[0]);
        sqlite3_bind_int64(statement, COLUMNS_NODE_N + 1, (int64_t)write->until_usec);
        columns_bind_text(statement, COLUMNS_NODE_N + 2, node_end_to_string(write->end));
        columns_bind_text(statement, COLUMNS_NODE_N + 3, write->by);
        return rows_run(rows, ROWS_ADD_TENURE);
}

int tenures_end(Rows *rows, const Write *write) {
        const Node *node = write->nodes[0];
        bool is_there;
        int rc;

        columns_bind_key(rows->statements[ROWS_FORGET], node);
        rc = rows_run(rows, ROWS_FORGET);
        if (rc == SQLITE_OK)
                rc = is_known(rows, node, &is_there);
        if (rc != SQLITE_OK || is_there)
                return rc;
        rc = add(rows, write);
        if (rc != SQLITE_OK)
                return rc;
        rows->n_untrimmed++;
        if (rows->n_tenures >= 0)
                rows->n_tenures++;
        return trim_name(rows, &node->info);
}

/* --- bounds --------------------------------------------------------------------------------------- */

/* One of the ROWS_TRIM_ statements, as far as `*max` goes. */
static int trim(Rows *rows, RowsStatement which, int64_t max, int64_t *n) {
        int rc;

        if (max <= 0)
                return SQLITE_OK;
        sqlite3_bind_int64(rows->statements[which], 1, max);
        rc = rows_run(rows, which);
        if (rc == SQLITE_OK) {
                *n += sqlite3_changes(rows->handle);
                rows->n_tenures -= sqlite3_changes(rows->handle);
        }
        return rc;
}

static int64_t min_i64(int64_t a, int64_t b) {
        return a < b ? a : b;
}

int tenures_trim(Rows *rows, uint64_t oldest_usec, int64_t n_rows, int64_t max, int64_t *ret_n) {
        /* In this order what many come of goes before what is worth being remembered. */
        static const RowsStatement by_rows[] = { ROWS_TRIM_HELPERS, ROWS_TRIM_HIDDEN, ROWS_TRIM_OLDEST };
        int64_t n = 0;
        int rc = rows->n_tenures < 0 ? rows_count(rows, "SELECT count(*) FROM tenures", &rows->n_tenures)
                                     : SQLITE_OK;

        if (rc == SQLITE_OK) {
                sqlite3_bind_int64(rows->statements[ROWS_TRIM_DAYS], 2, (int64_t)oldest_usec);
                rc = trim(rows, ROWS_TRIM_DAYS, max, &n);
        }
        for (size_t i = 0; i < ELEMENTS(by_rows) && rc == SQLITE_OK; i++)
                rc = trim(rows, by_rows[i], min_i64(max - n, rows->n_tenures - n_rows), &n);
        if (rc == SQLITE_OK)
                *ret_n = n;
        return rc;
}

/* --- reading -------------------------------------------------------------------------------------- */

/* The last tenure of each name that nobody has registered now. The newest come first, but those with a 16-bit creation
 * before all others, which is what they are remembered for. Who never registered has none: then it is the name's last. */
#define SELECT_FORMERS(columns, by)                                                                \
        "SELECT " columns ", until_usec, how, " by ", iif(creation > 0, NULL, "                    \
        "  (SELECT given.creation FROM tenures AS given WHERE given.name = tenures.name AND given.creation > 0 " \
        "   ORDER BY given.id DESC LIMIT 1)) FROM tenures WHERE id IN ("                           \
        "  SELECT tenures.id FROM (SELECT max(id) AS id FROM tenures GROUP BY name) AS last"       \
        "  JOIN tenures USING (id)"                                                                \
        "  WHERE NOT EXISTS (SELECT 1 FROM registrations WHERE registrations.name = tenures.name"  \
        "                    AND registrations.creation > 0)"                                      \
        "  ORDER BY tenures.creation BETWEEN 1 AND 3 DESC, tenures.id DESC"                        \
        "  LIMIT " ROWS_TO_STRING(REGISTRY_FORMERS_MAX) ") ORDER BY id"

/* A tenure without its id; NULL in `*ret`: the row makes no sense. */
static int read_tenure(sqlite3_stmt *row, Node **ret) {
        int rc = columns_read_node(row, -1, ret);
        const char *how = columns_text(row, COLUMNS_NODE_N + 1), *by = columns_text(row, COLUMNS_NODE_N + 2);
        Node *node = *ret;

        if (rc != SQLITE_OK || !node)
                return rc;
        (void)columns_number(row, COLUMNS_NODE_N, INT64_MAX, &node->until_usec);
        if (how)
                (void)node_end_from_string(how, &node->end);
        if (by)
                snprintf(node->ended_by, sizeof node->ended_by, "%s", by);
        return SQLITE_OK;
}

static int read_former(sqlite3_stmt *row, Node **ret) {
        int rc = read_tenure(row, ret);
        uint64_t creation;

        if (rc == SQLITE_OK && *ret && columns_number(row, COLUMNS_NODE_N + 3, UINT32_MAX, &creation))
                (*ret)->creation_before = (uint32_t)creation;
        return rc;
}

int tenures_load_formers(sqlite3 *handle, uint32_t version, DatabaseContent *content) {
        static const char *const queries[] = {
                SELECT_FORMERS(COLUMNS_NODE_1("NULL"), "NULL"),
                SELECT_FORMERS(COLUMNS_NODE_2, "by"),
                SELECT_FORMERS(COLUMNS_NODE, "by"),
        };
        const char *query = queries[version < ELEMENTS(queries) ? version - 1 : ELEMENTS(queries) - 1];

        return rows_load(handle, query, read_former, content, &content->formers, &content->n_formers);
}

/* --- asking --------------------------------------------------------------------------------------- */

/* SQLite's integers are signed. */
static void bind_unsigned(sqlite3_stmt *statement, int position, uint64_t value) {
        sqlite3_bind_int64(statement, position, (int64_t)min_u64(value, INT64_MAX));
}

static bool was_registered(sqlite3_stmt *row, const StoreQuery *query) {
        uint64_t since = (uint64_t)sqlite3_column_int64(row, 8);
        uint64_t until = (uint64_t)sqlite3_column_int64(row, COLUMNS_NODE_N);

        return since <= query->to_usec && until >= query->from_usec;
}

static int append(sqlite3_stmt *row, StoreAnswer *answer) {
        Tenure tenure = { .id = (uint64_t)sqlite3_column_int64(row, COLUMNS_NODE_N + 3) };
        int rc = read_tenure(row, &tenure.node);

        if (rc != SQLITE_OK || !tenure.node)
                return rc; /* a row that makes no sense is passed over */
        rc = columns_copy_text(row, COLUMNS_NODE_N + 1, &tenure.how);
        if (rc == SQLITE_OK)
                rc = columns_copy_text(row, COLUMNS_NODE_N + 2, &tenure.by);
        if (rc == SQLITE_OK && !tenure.how && !(tenure.how = strdup("")))
                rc = SQLITE_NOMEM;
        /* In either case the answer's from here on. */
        answer->tenures[answer->n_tenures++] = tenure;
        return rc;
}

/* Walks back from `cursor`. `*ret_next`: where the next answer goes on, if there is more; 0: there is not. */
static int walk(sqlite3_stmt *row, const StoreQuery *query, StoreAnswer *answer, uint64_t *ret_next) {
        uint64_t id = 0, last_taken = 0;
        size_t n_seen = 0;
        int rc, rc_append = SQLITE_OK;

        *ret_next = 0;
        while ((rc = sqlite3_step(row)) == SQLITE_ROW) {
                id = (uint64_t)sqlite3_column_int64(row, COLUMNS_NODE_N + 3);
                n_seen++;
                if (!was_registered(row, query))
                        continue;
                if (answer->n_tenures == query->n_max) {
                        *ret_next = last_taken;
                        return SQLITE_OK;
                }
                rc_append = append(row, answer);
                if (rc_append != SQLITE_OK)
                        return rc_append;
                last_taken = id;
        }
        if (rc == SQLITE_DONE && n_seen == TENURES_STEP)
                *ret_next = id;
        return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Spares whoever asks for the last hour the walk through all the years before: 0 in `*next` if certainly all that
 * ended at or after `from_usec` has been seen. */
static int stop_early(Rows *rows, const StoreQuery *query, uint64_t *next) {
        sqlite3_stmt *statement = rows->statements[ROWS_TENURES_SINCE];
        int64_t n, oldest;
        int rc;

        if (*next == 0 || query->from_usec == 0)
                return SQLITE_OK;
        bind_unsigned(statement, 1, query->from_usec);
        rc = sqlite3_step(statement);
        n = sqlite3_column_int64(statement, 0);
        oldest = sqlite3_column_int64(statement, 1);
        if (rc == SQLITE_ROW && n < TENURES_STEP && (n == 0 || (uint64_t)oldest >= *next))
                *next = 0;
        sqlite3_reset(statement);
        return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

int tenures_query(Rows *rows, const StoreQuery *query, StoreAnswer *answer) {
        sqlite3_stmt *row = rows->statements[query->name ? ROWS_TENURES_OF_NAME : ROWS_TENURES];
        uint64_t before = query->cursor > 0 ? query->cursor : INT64_MAX, next = 0;
        int rc;

        answer->tenures = calloc(query->n_max, sizeof *answer->tenures);
        if (!answer->tenures)
                return SQLITE_NOMEM;
        bind_unsigned(row, 1, before);
        if (query->name)
                sqlite3_bind_text(row, 2, query->name, (int)query->n_name, SQLITE_STATIC);
        rc = walk(row, query, answer, &next);
        sqlite3_reset(row);
        if (rc == SQLITE_OK && answer->n_tenures < query->n_max)
                rc = stop_early(rows, query, &next);
        if (rc == SQLITE_OK)
                answer->cursor = next;
        return rc;
}
