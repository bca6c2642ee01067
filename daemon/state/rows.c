/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows the statements, and how a registered node or a refusal becomes a row and a row that. Does not know where
 * the file is, nor when transactions begin and end. What has ended is in tenures.c; the SQL of the tables is
 * explained in schema/.
 *
 * The trap: a row is deleted by what makes a registration unique (serial and since), not by its
 * name alone, since by then the name may be a newcomer's.
 */

#include "state/rows.h"

#include <string.h>

#include "core/refusals.h"
#include "state/columns.h"
#include "state/standing.h"
#include "state/tenures.h"

/* P5: the last 16-bit creation of a name must outlive the bounds; so many of them do. */
#define SPARED                                                                                     \
        "(SELECT max(id) FROM tenures WHERE creation < 4 AND creation > 0 GROUP BY name "           \
        "ORDER BY 1 DESC LIMIT " ROWS_TO_STRING(DATABASE_SPARED_MAX) ")"
#define TENURES "SELECT " COLUMNS_NODE ", until_usec, how, by, id FROM tenures "
#define TENURES_ORDER " ORDER BY id DESC LIMIT " ROWS_TO_STRING(TENURES_STEP)

static const char *const statement_texts[_ROWS_N] = {
        [ROWS_BEGIN] = "BEGIN IMMEDIATE",
        [ROWS_COMMIT] = "COMMIT",
        /* REPLACE: columns of a newer schema, which told of another, get their defaults back. */
        [ROWS_PUT] =
                "INSERT OR REPLACE INTO registrations (" COLUMNS_NODE ", extra, listener_cookie, "
                "listener_address, listener_ipv6, cgroup_id, state_since_usec, announced, host_source, "
                "is_unit_own, unit_invocation) VALUES (" COLUMNS_NODE_PARAMETERS
                ", ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28)",
        [ROWS_PUT_PAIR] = "INSERT OR REPLACE INTO metadata (name, scope, key, value) VALUES (?1, ?2, ?3, ?4)",
        [ROWS_FORGET_PAIRS] = "DELETE FROM metadata WHERE name = ?1 AND scope = ?2",
        [ROWS_FORGET] = "DELETE FROM registrations "
                        "WHERE name = ?1 AND scope = ?2 AND serial = ?3 AND since_usec = ?4",
        [ROWS_CLEAR] = "DELETE FROM registrations",
        [ROWS_CLEAR_PAIRS] = "DELETE FROM metadata",
        [ROWS_SET_CREATIONS] = "UPDATE registry SET creation_reserved = ?1 WHERE id = 1",
        [ROWS_SET_BOOT] = "UPDATE registry SET boot_id = ?1 WHERE id = 1",
        [ROWS_UPDATE_REFUSAL] = "UPDATE refusals SET at_usec = ?2, reason = ?3, port = ?4, uid = ?5, unit = ?6 "
                                "WHERE name = ?1",
        [ROWS_ADD_REFUSAL] = "INSERT INTO refusals (name, at_usec, reason, port, uid, unit) "
                             "VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        [ROWS_TRIM_REFUSALS] = "DELETE FROM refusals WHERE name IN "
                               "(SELECT name FROM refusals ORDER BY at_usec LIMIT ?1)",
        [ROWS_PUT_ENTRY] = "INSERT OR REPLACE INTO static_entries (name, address, port, host, since_usec, by) "
                           "VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        [ROWS_FORGET_ENTRY] = "DELETE FROM static_entries WHERE name = ?1 AND address = ?2",
        [ROWS_CLEAR_ENTRIES] = "DELETE FROM static_entries",
        [ROWS_PUT_PIN] = "INSERT OR REPLACE INTO pinned_ports (name, port, since_usec, by) VALUES (?1, ?2, ?3, ?4)",
        [ROWS_FORGET_PIN] = "DELETE FROM pinned_ports WHERE name = ?1",
        [ROWS_CLEAR_PINS] = "DELETE FROM pinned_ports",
        [ROWS_KNOWS_TENURE] = "SELECT 1 FROM tenures "
                              "WHERE name = ?1 AND scope = ?2 AND serial = ?3 AND since_usec = ?4",
        [ROWS_ADD_TENURE] = "INSERT INTO tenures (" COLUMNS_NODE ", until_usec, how, by) VALUES "
                            "(" COLUMNS_NODE_PARAMETERS ", ?19, ?20, ?21)",
        [ROWS_COUNT_OF_NAME] = "SELECT count(*), min(id) FROM "
                               "(SELECT id FROM tenures WHERE name = ?1 ORDER BY id DESC LIMIT ?2)",
        [ROWS_TRIM_NAME] = "DELETE FROM tenures WHERE name = ?1 AND id <= ?2 AND id IS NOT "
                           "(SELECT max(id) FROM tenures WHERE name = ?1 AND creation < 4 AND creation > 0)",
        [ROWS_TRIM_DAYS] =
                "DELETE FROM tenures WHERE id IN (SELECT id FROM tenures "
                "WHERE until_usec < ?2 AND id NOT IN " SPARED " ORDER BY until_usec LIMIT ?1)",
        [ROWS_TRIM_HELPERS] = "DELETE FROM tenures WHERE id IN (SELECT id FROM tenures "
                              "WHERE helper = 1 AND id NOT IN " SPARED " ORDER BY id LIMIT ?1)",
        [ROWS_TRIM_HIDDEN] = "DELETE FROM tenures WHERE id IN (SELECT id FROM tenures "
                             "WHERE type = 72 AND id NOT IN " SPARED " ORDER BY id LIMIT ?1)",
        [ROWS_TRIM_OLDEST] = "DELETE FROM tenures WHERE id IN (SELECT id FROM tenures "
                             "WHERE id NOT IN " SPARED " ORDER BY id LIMIT ?1)",
        [ROWS_TENURES] = TENURES "WHERE id < ?1" TENURES_ORDER,
        [ROWS_TENURES_OF_NAME] = TENURES "WHERE name = ?2 AND id < ?1" TENURES_ORDER,
        [ROWS_TENURES_SINCE] = "SELECT count(*), min(id) FROM (SELECT id FROM tenures "
                               "WHERE until_usec >= ?1 ORDER BY until_usec LIMIT "
                               ROWS_TO_STRING(TENURES_STEP) ")",
};

/* What follows the columns of COLUMNS_NODE in a registration. */
enum {
        COLUMN_EXTRA = COLUMNS_NODE_N,
        COLUMN_LISTENER_COOKIE,
        COLUMN_LISTENER_ADDRESS,
        COLUMN_LISTENER_IPV6,
        COLUMN_CGROUP_ID,
        COLUMN_STATE_SINCE,
        COLUMN_ANNOUNCED,
        COLUMN_HOST_SOURCE,
        COLUMN_IS_UNIT_OWN,
        COLUMN_UNIT_INVOCATION,
};

#define SELECT_NODES(node, more)                                                                   \
        "SELECT " node ", extra, listener_cookie, listener_address, listener_ipv6, cgroup_id, "    \
        more " FROM registrations"

/* --- life ----------------------------------------------------------------------------------------- */

int rows_init(Rows *rows, sqlite3 *handle, unsigned history_per_name, const Standing *standing) {
        int64_t has_pairs = 0;
        int rc;

        *rows = (Rows){
                .handle = handle,
                .history_per_name = history_per_name,
                .name_seed = random_u64(),
                .standing = standing,
        };
        rows_forget_counts(rows);
        for (size_t i = 0; i < _ROWS_N; i++) {
                rc = sqlite3_prepare_v3(handle, statement_texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                                        &rows->statements[i], NULL);
                if (rc != SQLITE_OK)
                        return rc;
        }
        rc = rows_count(rows, "SELECT EXISTS (SELECT 1 FROM metadata)", &has_pairs);
        rows->may_have_pairs = has_pairs != 0;
        return rc;
}

void rows_done(Rows *rows) {
        for (size_t i = 0; i < _ROWS_N; i++)
                sqlite3_finalize(rows->statements[i]);
        *rows = (Rows){ .handle = NULL };
}

void rows_forget_counts(Rows *rows) {
        rows->n_tenures = rows->n_refusals = -1;
        memset(rows->left, 0, sizeof rows->left);
}

int rows_run(Rows *rows, RowsStatement which) {
        sqlite3_stmt *statement = rows->statements[which];
        int rc;

        do
                rc = sqlite3_step(statement);
        while (rc == SQLITE_ROW);
        sqlite3_reset(statement);
        return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int rows_count(const Rows *rows, const char *query, int64_t *ret) {
        _cleanup_(columns_finalizep) sqlite3_stmt *count = NULL;
        int rc = sqlite3_prepare_v2(rows->handle, query, -1, &count, NULL);

        if (rc == SQLITE_OK)
                rc = sqlite3_step(count);
        if (rc != SQLITE_ROW)
                return rc;
        *ret = sqlite3_column_int64(count, 0);
        return SQLITE_OK;
}

/* --- from node to row ----------------------------------------------------------------------------- */

/* What follows: what is bound borrows from the node. It is stepped before the node goes, and bound anew for the
 * next. */

static void bind_registration(sqlite3_stmt *statement, const Node *node) {
        columns_bind_node(statement, node);
        /* A null pointer would be NULL, not a blob of no bytes; `extra` of a Node is never one. */
        sqlite3_bind_blob(statement, COLUMN_EXTRA + 1, node->info.extra, (int)node->info.n_extra, SQLITE_STATIC);
        columns_bind_u64(statement, COLUMN_LISTENER_COOKIE + 1, node->listener.cookie);
        if (node->listener.cookie != 0 || !address_is_any(&node->listener.address))
                columns_bind_address(statement, COLUMN_LISTENER_ADDRESS + 1, &node->listener.address);
        else
                sqlite3_bind_null(statement, COLUMN_LISTENER_ADDRESS + 1);
        sqlite3_bind_int(statement, COLUMN_LISTENER_IPV6 + 1, node->listener.ipv6);
        columns_bind_u64(statement, COLUMN_CGROUP_ID + 1, node->peer.cgroup_id);
        columns_bind_u64(statement, COLUMN_STATE_SINCE + 1, node->state_since_usec);
        columns_bind_text(statement, COLUMN_ANNOUNCED + 1, node_announced_to_string(node->facts.announced));
        columns_bind_text(statement, COLUMN_HOST_SOURCE + 1, node_profile_host_source(&node->profile));
        columns_bind_u64(statement, COLUMN_UNIT_INVOCATION + 1, node->unit_invocation);
        if (node->unit)
                sqlite3_bind_int(statement, COLUMN_IS_UNIT_OWN + 1, node->is_unit_own);
        else
                sqlite3_bind_null(statement, COLUMN_IS_UNIT_OWN + 1);
}

static void bind_place(sqlite3_stmt *statement, const Node *node) {
        sqlite3_bind_text(statement, 1, node->info.name, (int)node->info.n_name, SQLITE_STATIC);
        columns_bind_address(statement, 2, &node->scope);
}

/* Most nodes announce nothing: their writing is to cost nothing more. */
static int put_pairs(Rows *rows, const Node *node) {
        sqlite3_stmt *statement = rows->statements[ROWS_PUT_PAIR];
        const char *key, *value;
        size_t offset = 0;
        int rc = SQLITE_OK;

        if (rows->may_have_pairs) {
                bind_place(rows->statements[ROWS_FORGET_PAIRS], node);
                rc = rows_run(rows, ROWS_FORGET_PAIRS);
        }
        while (rc == SQLITE_OK && node_profile_next(&node->profile, &offset, &key, &value)) {
                rows->may_have_pairs = true;
                bind_place(statement, node);
                columns_bind_text(statement, 3, key);
                columns_bind_text(statement, 4, value);
                rc = rows_run(rows, ROWS_PUT_PAIR);
        }
        return rc;
}

static int put(Rows *rows, const Node *node) {
        int rc;

        bind_registration(rows->statements[ROWS_PUT], node);
        rc = rows_run(rows, ROWS_PUT);
        return rc == SQLITE_OK ? put_pairs(rows, node) : rc;
}

/* True where the row is at fault, not the file or the machine. */
static bool is_refusal(int rc) {
        return (rc & 0xff) == SQLITE_CONSTRAINT || (rc & 0xff) == SQLITE_MISMATCH ||
               (rc & 0xff) == SQLITE_TOOBIG;
}

static int put_all(Rows *rows, const Write *whole, size_t *n_refused) {
        int rc = rows_run(rows, ROWS_CLEAR);

        if (rc == SQLITE_OK && rows->may_have_pairs)
                rc = rows_run(rows, ROWS_CLEAR_PAIRS);
        for (size_t i = 0; i < whole->n_nodes && rc == SQLITE_OK; i++) {
                rc = put(rows, whole->nodes[i]);
                if (is_refusal(rc)) {
                        (*n_refused)++;
                        rc = SQLITE_OK;
                }
        }
        return rc == SQLITE_OK ? standing_put_all(rows) : rc;
}

/* --- refusals ------------------------------------------------------------------------------------- */

static int run_with_refusal(Rows *rows, RowsStatement which, const Refused *refused) {
        sqlite3_stmt *statement = rows->statements[which];

        sqlite3_bind_text(statement, 1, refused->name, (int)refused->n_name, SQLITE_STATIC);
        sqlite3_bind_int64(statement, 2, (int64_t)refused->at_usec);
        columns_bind_text(statement, 3, refusal_to_string(refused->reason));
        sqlite3_bind_int(statement, 4, refused->port);
        columns_bind_uid(statement, 5, refused->uid);
        columns_bind_text(statement, 6, refused->unit);
        return rows_run(rows, which);
}

/* P6: as many as the daemon remembers, too. */
static int trim_refusals(Rows *rows) {
        int rc;

        if (rows->n_refusals < 0) {
                rc = rows_count(rows, "SELECT count(*) FROM refusals", &rows->n_refusals);
                if (rc != SQLITE_OK)
                        return rc;
        }
        if (rows->n_refusals <= REFUSALS_MAX)
                return SQLITE_OK;
        sqlite3_bind_int64(rows->statements[ROWS_TRIM_REFUSALS], 1, rows->n_refusals - REFUSALS_MAX);
        rc = rows_run(rows, ROWS_TRIM_REFUSALS);
        if (rc == SQLITE_OK)
                rows->n_refusals -= sqlite3_changes(rows->handle);
        return rc;
}

static int put_refusal(Rows *rows, const Refused *refused) {
        int rc = run_with_refusal(rows, ROWS_UPDATE_REFUSAL, refused);

        if (rc != SQLITE_OK || sqlite3_changes(rows->handle) > 0)
                return rc;
        rc = run_with_refusal(rows, ROWS_ADD_REFUSAL, refused);
        if (rc != SQLITE_OK)
                return rc;
        if (rows->n_refusals >= 0)
                rows->n_refusals++;
        return trim_refusals(rows);
}

/* --- writing -------------------------------------------------------------------------------------- */

int rows_apply(Rows *rows, const Write *write, size_t *n_refused) {
        int rc = SQLITE_OK;

        switch (write->kind) {
        case WRITE_PUT:
                rc = put(rows, write->nodes[0]);
                break;
        case WRITE_END:
                rc = tenures_end(rows, write);
                break;
        case WRITE_CREATIONS:
                break; /* the whole group's, by rows_set_creations() */
        case WRITE_MARK:
                break;
        case WRITE_WHOLE:
                rc = put_all(rows, write, n_refused);
                break;
        case WRITE_REFUSAL:
                rc = put_refusal(rows, &write->refused);
                break;
        }
        if (!is_refusal(rc))
                return rc;
        (*n_refused)++;
        return SQLITE_OK;
}

int rows_set_creations(Rows *rows, uint32_t creations) {
        sqlite3_bind_int64(rows->statements[ROWS_SET_CREATIONS], 1, creations);
        return rows_run(rows, ROWS_SET_CREATIONS);
}

int rows_set_boot(Rows *rows, const char *boot_id) {
        columns_bind_text(rows->statements[ROWS_SET_BOOT], 1, boot_id);
        return rows_run(rows, ROWS_SET_BOOT);
}

/* --- from row to node ----------------------------------------------------------------------------- */

/* What the unit was doing, as far as the state tells. */
static UnitPhase unit_phase_of(const Node *node) {
        if (node->state_source != NODE_SOURCE_UNIT)
                return UNIT_PHASE_UNKNOWN;
        switch (node->state) {
        case NODE_STARTING:
                return UNIT_PHASE_STARTING;
        case NODE_READY:
                return UNIT_PHASE_READY;
        case NODE_STOPPING:
                return UNIT_PHASE_STOPPING;
        case NODE_UP:
        case NODE_AWAITED:
        case _NODE_STATE_N:
                return UNIT_PHASE_UNKNOWN;
        }
        return UNIT_PHASE_UNKNOWN;
}

static bool is_word(sqlite3_stmt *row, int column, const char *word) {
        const char *text = columns_text(row, column);

        return text && strcmp(text, word) == 0;
}

static int read_registration(sqlite3_stmt *row, Node **ret) {
        int rc = columns_read_node(row, COLUMN_EXTRA, ret);
        Node *node = *ret;
        const char *announced;

        if (rc != SQLITE_OK || !node)
                return rc;
        node->listener.cookie = (uint64_t)sqlite3_column_int64(row, COLUMN_LISTENER_COOKIE);
        if (!columns_address(row, COLUMN_LISTENER_ADDRESS, &node->listener.address))
                node->listener.address = ADDRESS_ANY;
        node->listener.ipv6 = sqlite3_column_int(row, COLUMN_LISTENER_IPV6) != 0;
        node->peer.cgroup_id = (uint64_t)sqlite3_column_int64(row, COLUMN_CGROUP_ID);
        (void)columns_number(row, COLUMN_STATE_SINCE, INT64_MAX, &node->state_since_usec);
        node->profile.is_host_static = node->profile.host && is_word(row, COLUMN_HOST_SOURCE, "static");
        node->is_unit_own = sqlite3_column_int(row, COLUMN_IS_UNIT_OWN) != 0;
        node->unit_invocation = (uint64_t)sqlite3_column_int64(row, COLUMN_UNIT_INVOCATION);

        node->facts.is_awaited = true;
        node->facts.unit_phase = unit_phase_of(node);
        announced = columns_text(row, COLUMN_ANNOUNCED);
        if (announced)
                (void)node_announced_from_string(announced, &node->facts.announced);
        return SQLITE_OK;
}

static int append(Node ***nodes, size_t *n_nodes, Node *node) {
        /* Grows by doubling, at each power of two. */
        if ((*n_nodes & (*n_nodes - 1)) == 0) {
                size_t n_room = *n_nodes > 0 ? *n_nodes * 2 : 1;
                Node **more = reallocarray(*nodes, n_room, sizeof *more);

                if (!more)
                        return SQLITE_NOMEM;
                *nodes = more;
        }
        (*nodes)[(*n_nodes)++] = node;
        return SQLITE_OK;
}

int rows_load(sqlite3 *handle, const char *query, int (*read_row)(sqlite3_stmt *, Node **),
              DatabaseContent *content, Node ***nodes, size_t *n_nodes) {
        _cleanup_(columns_finalizep) sqlite3_stmt *rows = NULL;
        int rc = sqlite3_prepare_v2(handle, query, -1, &rows, NULL);

        if (rc != SQLITE_OK)
                return rc;
        while ((rc = sqlite3_step(rows)) == SQLITE_ROW) {
                _cleanup_(node_freep) Node *node = NULL;

                rc = read_row(rows, &node);
                if (rc != SQLITE_OK)
                        return rc;
                if (!node) {
                        content->n_nonsense++;
                        continue;
                }
                rc = append(nodes, n_nodes, node);
                if (rc != SQLITE_OK)
                        return rc;
                if (node->serial > content->last_serial)
                        content->last_serial = node->serial;
                node = NULL; /* now the content's */
        }
        return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* The node that a row of the query below is of, from `*i` on; the nodes are in the order of serials, too. NULL: it
 * made no sense. */
static Node *find_owner(sqlite3_stmt *row, const DatabaseContent *content, size_t *i) {
        uint64_t serial = (uint64_t)sqlite3_column_int64(row, 0);
        const char *name = columns_text(row, 1);
        Address scope;

        if (!name || !columns_address(row, 2, &scope))
                return NULL;
        while (*i < content->n_nodes && content->nodes[*i]->serial < serial)
                (*i)++;
        for (size_t k = *i; k < content->n_nodes && content->nodes[k]->serial == serial; k++) {
                Node *node = content->nodes[k];

                if (node_compare_key(node->info.name, node->info.n_name, &node->scope, name,
                                     (size_t)sqlite3_column_bytes(row, 1), &scope) == 0)
                        return node;
        }
        return NULL;
}

/* A pair that makes no sense, or is one too many, is passed over. */
static int load_pairs(sqlite3 *handle, DatabaseContent *content) {
        static const char query[] = "SELECT serial, name, scope, key, value FROM metadata "
                                    "JOIN registrations USING (name, scope) ORDER BY serial";
        _cleanup_(columns_finalizep) sqlite3_stmt *row = NULL;
        size_t i = 0;
        int rc = sqlite3_prepare_v2(handle, query, -1, &row, NULL);

        if (rc != SQLITE_OK)
                return rc;
        while ((rc = sqlite3_step(row)) == SQLITE_ROW) {
                Node *node = find_owner(row, content, &i);
                const char *key = columns_text(row, 3), *value = columns_text(row, 4);

                if (node && key && value &&
                    node_profile_set(&node->profile, key, (size_t)sqlite3_column_bytes(row, 3), value,
                                     (size_t)sqlite3_column_bytes(row, 4)) == -ENOMEM)
                        return SQLITE_NOMEM;
        }
        return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int compare_serials(const void *a, const void *b) {
        const Node *x = *(Node *const *)a, *y = *(Node *const *)b;

        return (x->serial > y->serial) - (x->serial < y->serial);
}

/* Sorted here: SQLite would pack each row once more to sort it, and take it apart again. */
int rows_load_nodes(sqlite3 *handle, uint32_t version, DatabaseContent *content) {
        static const char *const queries[] = {
                SELECT_NODES(COLUMNS_NODE_1("state"), "NULL, NULL, NULL, NULL, NULL"),
                SELECT_NODES(COLUMNS_NODE_2, "state_since_usec, announced, host_source, is_unit_own, NULL"),
                SELECT_NODES(COLUMNS_NODE, "state_since_usec, announced, host_source, is_unit_own, unit_invocation"),
        };
        const char *query = queries[version < ELEMENTS(queries) ? version - 1 : ELEMENTS(queries) - 1];
        int rc = rows_load(handle, query, read_registration, content, &content->nodes, &content->n_nodes);

        if (content->n_nodes > 0)
                qsort(content->nodes, content->n_nodes, sizeof *content->nodes, compare_serials);
        return rc == SQLITE_OK && version > 1 ? load_pairs(handle, content) : rc;
}

/* False: a reason that only a later daemon knows, or a row that makes no sense. It stays where it is. */
static bool read_reason(const char *word, Refusal *ret) {
        for (Refusal reason = REFUSAL_NONE + 1; word && reason < _REFUSAL_N; reason++)
                if (strcmp(word, refusal_to_string(reason)) == 0) {
                        *ret = reason;
                        return true;
                }
        return false;
}

static int read_refusal(sqlite3_stmt *row, DatabaseContent *content) {
        uint64_t port;
        Refused refused = {
                .name = (char *)(uintptr_t)columns_text(row, 0),
                .n_name = (size_t)sqlite3_column_bytes(row, 0),
                .uid = columns_uid(row, 4),
                .unit = (char *)(uintptr_t)columns_text(row, 5),
        };

        if (!refused.name || !columns_number(row, 1, INT64_MAX, &refused.at_usec) ||
            !read_reason(columns_text(row, 2), &refused.reason) || !columns_number(row, 3, UINT16_MAX, &port))
                return SQLITE_OK;
        refused.port = (uint16_t)port;
        if (refused_copy(&refused, content->refused + content->n_refused) < 0)
                return SQLITE_NOMEM;
        content->n_refused++;
        return SQLITE_OK;
}

int rows_load_refusals(sqlite3 *handle, uint32_t version, DatabaseContent *content) {
        static const char query[] = "SELECT name, at_usec, reason, port, uid, unit FROM "
                                    "(SELECT * FROM refusals ORDER BY at_usec DESC LIMIT "
                                    ROWS_TO_STRING(REFUSALS_MAX) ") ORDER BY at_usec";
        _cleanup_(columns_finalizep) sqlite3_stmt *row = NULL;
        int rc;

        if (version < 2)
                return SQLITE_OK;
        content->refused = calloc(REFUSALS_MAX, sizeof *content->refused);
        if (!content->refused)
                return SQLITE_NOMEM;
        rc = sqlite3_prepare_v2(handle, query, -1, &row, NULL);
        while (rc == SQLITE_OK && (rc = sqlite3_step(row)) == SQLITE_ROW)
                rc = read_refusal(row, content);
        return rc == SQLITE_DONE ? SQLITE_OK : rc;
}
