/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows how a node becomes a row and a row a node, and which tenures are kept. Does not know where
 * the file is, nor when transactions begin and end. The SQL of the tables is explained in schema/.
 *
 * The trap: a row is deleted by what makes a registration unique (serial and since), not by its
 * name alone, since by then the name may be a newcomer's.
 */

#include "state/rows.h"

#include <string.h>

#include "core/registry.h"

/* What registrations and tenures have in common comes first, in the order of bind_node(). */
#define NODE_COLUMNS                                                                               \
        "scope, name, port, type, protocol, highest_version, lowest_version, creation, "           \
        "since_usec, serial, uid, unit"
#define REGISTRATION_COLUMNS                                                                       \
        NODE_COLUMNS ", extra, state, listener_cookie, listener_address, listener_ipv6, cgroup_id"
#define TENURE_COLUMNS NODE_COLUMNS ", until_usec, how"

/* P5: the last 16-bit creation of a name must outlive the bounds; so many of them do. */
#define TO_STRING_(number) #number
#define TO_STRING(number) TO_STRING_(number)
#define SPARED                                                                                     \
        "(SELECT max(id) FROM tenures WHERE creation < 4 GROUP BY name ORDER BY 1 DESC "           \
        "LIMIT " TO_STRING(DATABASE_SPARED_MAX) ")"

static const char *const statement_texts[_ROWS_N] = {
        [ROWS_BEGIN] = "BEGIN IMMEDIATE",
        [ROWS_COMMIT] = "COMMIT",
        /* REPLACE: columns of a newer schema, which told of another, get their defaults back. */
        [ROWS_PUT] =
                "INSERT OR REPLACE INTO registrations (" REGISTRATION_COLUMNS ") VALUES "
                "(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
        [ROWS_FORGET] = "DELETE FROM registrations "
                        "WHERE name = ?1 AND scope = ?2 AND serial = ?3 AND since_usec = ?4",
        [ROWS_CLEAR] = "DELETE FROM registrations",
        [ROWS_KNOWS_TENURE] = "SELECT 1 FROM tenures "
                              "WHERE name = ?1 AND scope = ?2 AND serial = ?3 AND since_usec = ?4",
        [ROWS_ADD_TENURE] = "INSERT INTO tenures (" TENURE_COLUMNS ") VALUES "
                            "(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        [ROWS_TRIM_NAME] =
                "DELETE FROM tenures WHERE name = ?1 AND id <= "
                "(SELECT id FROM tenures WHERE name = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        [ROWS_TRIM_DAYS] =
                "DELETE FROM tenures WHERE id IN (SELECT id FROM tenures "
                "WHERE until_usec < ?2 AND id NOT IN " SPARED " ORDER BY until_usec LIMIT ?1)",
        [ROWS_TRIM_HIDDEN] = "DELETE FROM tenures WHERE id IN (SELECT id FROM tenures "
                             "WHERE type = 72 AND id NOT IN " SPARED " ORDER BY id LIMIT ?1)",
        [ROWS_TRIM_OLDEST] = "DELETE FROM tenures WHERE id IN (SELECT id FROM tenures "
                             "WHERE id NOT IN " SPARED " ORDER BY id LIMIT ?1)",
        [ROWS_SET_CREATIONS] = "UPDATE registry SET creation_reserved = ?1 WHERE id = 1",
        [ROWS_SET_BOOT] = "UPDATE registry SET boot_id = ?1 WHERE id = 1",
};

static const char select_nodes[] =
        "SELECT " REGISTRATION_COLUMNS " FROM registrations ORDER BY serial";

/* The last tenure of each name that nobody has now. The newest come first, but those with a 16-bit
 * creation before all others, which is what they are remembered for. */
static const char select_formers[] =
        "SELECT " NODE_COLUMNS " FROM tenures WHERE id IN ("
        "  SELECT tenures.id FROM (SELECT max(id) AS id FROM tenures GROUP BY name) AS last"
        "  JOIN tenures USING (id)"
        "  WHERE NOT EXISTS (SELECT 1 FROM registrations WHERE registrations.name = tenures.name)"
        "  ORDER BY tenures.creation < 4 DESC, tenures.id DESC"
        "  LIMIT " TO_STRING(REGISTRY_FORMERS_MAX) ") ORDER BY id";

int rows_init(Rows *rows, sqlite3 *handle, unsigned history_per_name) {
        *rows = (Rows){ .handle = handle, .history_per_name = history_per_name, .n_tenures = -1 };
        for (size_t i = 0; i < _ROWS_N; i++) {
                int rc = sqlite3_prepare_v3(handle, statement_texts[i], -1,
                                            SQLITE_PREPARE_PERSISTENT, &rows->statements[i], NULL);

                if (rc != SQLITE_OK)
                        return rc;
        }
        return SQLITE_OK;
}

void rows_done(Rows *rows) {
        for (size_t i = 0; i < _ROWS_N; i++)
                sqlite3_finalize(rows->statements[i]);
        *rows = (Rows){ .handle = NULL };
}

/* Steps a statement that changes something. */
static int run(sqlite3_stmt *statement) {
        int rc;

        do
                rc = sqlite3_step(statement);
        while (rc == SQLITE_ROW);
        sqlite3_reset(statement);
        return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int rows_run(Rows *rows, RowsStatement statement) {
        return run(rows->statements[statement]);
}

/* --- from node to row ----------------------------------------------------------------------- */

static void bind_text(sqlite3_stmt *statement, int position, const char *text) {
        if (text)
                sqlite3_bind_text(statement, position, text, -1, SQLITE_STATIC);
        else
                sqlite3_bind_null(statement, position);
}

/* 0 stands for "unknown". */
static void bind_u64(sqlite3_stmt *statement, int position, uint64_t value) {
        if (value != 0)
                sqlite3_bind_int64(statement, position, (int64_t)value);
        else
                sqlite3_bind_null(statement, position);
}

static void bind_address(sqlite3_stmt *statement, int position, const Address *address) {
        char text[ADDRESS_TEXT_MAX];

        address_format(address, text);
        sqlite3_bind_text(statement, position, text, -1, SQLITE_TRANSIENT);
}

/* What is bound borrows from the node: it is stepped before the node goes, and bound anew for the
 * next. */
static void bind_node(sqlite3_stmt *statement, const Node *node) {
        bind_address(statement, 1, &node->scope);
        sqlite3_bind_text(statement, 2, node->info.name, (int)node->info.n_name, SQLITE_STATIC);
        sqlite3_bind_int(statement, 3, node->info.port);
        sqlite3_bind_int(statement, 4, node->info.type);
        sqlite3_bind_int(statement, 5, node->info.protocol);
        sqlite3_bind_int(statement, 6, node->info.highest_version);
        sqlite3_bind_int(statement, 7, node->info.lowest_version);
        sqlite3_bind_int64(statement, 8, node->creation);
        sqlite3_bind_int64(statement, 9, (int64_t)node->since_usec);
        sqlite3_bind_int64(statement, 10, (int64_t)node->serial);
        if (node->peer.uid != NODE_UID_UNKNOWN)
                sqlite3_bind_int64(statement, 11, node->peer.uid);
        else
                sqlite3_bind_null(statement, 11);
        bind_text(statement, 12, node->unit);
}

/* What makes a registration unique. */
static void bind_key(sqlite3_stmt *statement, const Node *node) {
        sqlite3_bind_text(statement, 1, node->info.name, (int)node->info.n_name, SQLITE_STATIC);
        bind_address(statement, 2, &node->scope);
        sqlite3_bind_int64(statement, 3, (int64_t)node->serial);
        sqlite3_bind_int64(statement, 4, (int64_t)node->since_usec);
}

static int put(Rows *rows, const Node *node) {
        sqlite3_stmt *statement = rows->statements[ROWS_PUT];

        bind_node(statement, node);
        /* A null pointer would be NULL, not a blob of no bytes; `extra` of a Node is never one. */
        sqlite3_bind_blob(statement, 13, node->info.extra, (int)node->info.n_extra, SQLITE_STATIC);
        bind_text(statement, 14, node_state_to_string(node->state));
        bind_u64(statement, 15, node->listener.cookie);
        if (node->listener.cookie != 0 || !address_is_any(&node->listener.address))
                bind_address(statement, 16, &node->listener.address);
        else
                sqlite3_bind_null(statement, 16);
        sqlite3_bind_int(statement, 17, node->listener.ipv6);
        bind_u64(statement, 18, node->peer.cgroup_id);
        return run(statement);
}

static int trim_name(Rows *rows, const Node *node) {
        sqlite3_stmt *statement = rows->statements[ROWS_TRIM_NAME];
        int rc;

        sqlite3_bind_text(statement, 1, node->info.name, (int)node->info.n_name, SQLITE_STATIC);
        sqlite3_bind_int64(statement, 2, rows->history_per_name);
        rc = run(statement);
        if (rc == SQLITE_OK && rows->n_tenures >= 0)
                rows->n_tenures -= sqlite3_changes(rows->handle);
        return rc;
}

/* An end may come twice: a group is written again where a file was lost between its commit and the
 * look at it. A row that is gone already says that this may be so; then the tenures are asked. */
static int is_known_tenure(Rows *rows, const Node *node, bool *ret) {
        sqlite3_stmt *statement = rows->statements[ROWS_KNOWS_TENURE];
        int rc;

        *ret = false;
        if (sqlite3_changes(rows->handle) > 0)
                return SQLITE_OK;
        bind_key(statement, node);
        rc = sqlite3_step(statement);
        sqlite3_reset(statement);
        *ret = rc == SQLITE_ROW;
        return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int end(Rows *rows, const Write *write) {
        sqlite3_stmt *forget = rows->statements[ROWS_FORGET];
        sqlite3_stmt *add = rows->statements[ROWS_ADD_TENURE];
        const Node *node = write->nodes[0];
        bool is_known;
        int rc;

        bind_key(forget, node);
        rc = run(forget);
        if (rc == SQLITE_OK)
                rc = is_known_tenure(rows, node, &is_known);
        if (rc != SQLITE_OK || is_known)
                return rc;
        bind_node(add, node);
        sqlite3_bind_int64(add, 13, (int64_t)write->until_usec);
        bind_text(add, 14, node_end_to_string(write->end));
        rc = run(add);
        if (rc != SQLITE_OK)
                return rc;
        rows->n_untrimmed++;
        if (rows->n_tenures >= 0)
                rows->n_tenures++;
        return trim_name(rows, node);
}

/* True where the row is at fault, not the file or the machine. */
static bool is_refusal(int rc) {
        return (rc & 0xff) == SQLITE_CONSTRAINT || (rc & 0xff) == SQLITE_MISMATCH ||
               (rc & 0xff) == SQLITE_TOOBIG;
}

static int put_all(Rows *rows, const Write *whole, size_t *n_refused) {
        int rc = rows_run(rows, ROWS_CLEAR);

        for (size_t i = 0; i < whole->n_nodes && rc == SQLITE_OK; i++) {
                rc = put(rows, whole->nodes[i]);
                if (is_refusal(rc)) {
                        (*n_refused)++;
                        rc = SQLITE_OK;
                }
        }
        return rc;
}

int rows_apply(Rows *rows, const Write *write, size_t *n_refused) {
        int rc = SQLITE_OK;

        switch (write->kind) {
        case WRITE_PUT:
                rc = put(rows, write->nodes[0]);
                break;
        case WRITE_END:
                rc = end(rows, write);
                break;
        case WRITE_CREATIONS:
                break; /* the whole group's, by rows_set_creations() */
        case WRITE_WHOLE:
                rc = put_all(rows, write, n_refused);
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
        bind_text(rows->statements[ROWS_SET_BOOT], 1, boot_id);
        return rows_run(rows, ROWS_SET_BOOT);
}

/* --- from row to node ----------------------------------------------------------------------- */

/* What stands in a column, if it is within 0..max. */
static bool column_number(sqlite3_stmt *statement, int column, uint64_t max, uint64_t *ret) {
        int64_t value = sqlite3_column_int64(statement, column);

        if (sqlite3_column_type(statement, column) != SQLITE_INTEGER || value < 0 ||
            (uint64_t)value > max)
                return false;
        *ret = (uint64_t)value;
        return true;
}

static bool column_address(sqlite3_stmt *statement, int column, Address *ret) {
        const char *text = (const char *)sqlite3_column_text(statement, column);

        return text && address_parse(text, ret) == 0;
}

static bool column_name(sqlite3_stmt *statement, int column, NodeInfo *info) {
        info->name = (const char *)sqlite3_column_text(statement, column);
        info->n_name = (size_t)sqlite3_column_bytes(statement, column);
        return info->name && node_name_check(info->name, info->n_name) == NODE_NAME_OK;
}

/* The columns of NODE_COLUMNS and, if `extra` is not negative, that one. SQLITE_OK with NULL in
 * `*ret`: the row makes no sense. People may write to the file, too, and a bad row must not keep
 * others out. */
static int read_node(sqlite3_stmt *row, int extra, Node **ret) {
        NodeInfo info = { 0 };
        Address scope;
        uint64_t port, type, protocol, highest, lowest, creation, since, serial, uid;
        _cleanup_(node_freep) Node *node = NULL;

        *ret = NULL;
        if (!column_address(row, 0, &scope) || !column_name(row, 1, &info) ||
            !column_number(row, 2, UINT16_MAX, &port) || !column_number(row, 3, UINT8_MAX, &type) ||
            !column_number(row, 4, UINT8_MAX, &protocol) ||
            !column_number(row, 5, UINT16_MAX, &highest) ||
            !column_number(row, 6, UINT16_MAX, &lowest) ||
            !column_number(row, 7, UINT32_MAX, &creation) ||
            !column_number(row, 8, INT64_MAX, &since) || !column_number(row, 9, INT64_MAX, &serial))
                return SQLITE_OK;
        if (!column_number(row, 10, NODE_UID_UNKNOWN, &uid))
                uid = NODE_UID_UNKNOWN;
        if (extra >= 0) {
                info.extra = sqlite3_column_blob(row, extra);
                info.n_extra = (size_t)sqlite3_column_bytes(row, extra);
        }
        if (info.n_extra > NODE_EXTRA_BYTES_MAX || serial == 0)
                return SQLITE_OK;
        info.port = (uint16_t)port;
        info.type = (uint8_t)type;
        info.protocol = (uint8_t)protocol;
        info.highest_version = (uint16_t)highest;
        info.lowest_version = (uint16_t)lowest;

        node = node_new(&info);
        if (!node)
                return SQLITE_NOMEM;
        node->scope = scope;
        node->creation = (uint32_t)creation;
        node->since_usec = since;
        node->serial = serial;
        node->peer.uid = (uid_t)uid;
        if (sqlite3_column_type(row, 11) == SQLITE_TEXT) {
                node->unit = strdup((const char *)sqlite3_column_text(row, 11));
                if (!node->unit)
                        return SQLITE_NOMEM;
        }
        *ret = TAKE_PTR(node);
        return SQLITE_OK;
}

static int read_registration(sqlite3_stmt *row, Node **ret) {
        int rc = read_node(row, 12, ret);
        Node *node = *ret;

        if (rc != SQLITE_OK || !node)
                return rc;
        node->facts.is_awaited = true;
        node->listener.cookie = (uint64_t)sqlite3_column_int64(row, 14);
        if (!column_address(row, 15, &node->listener.address))
                node->listener.address = ADDRESS_ANY;
        node->listener.ipv6 = sqlite3_column_int(row, 16) != 0;
        node->peer.cgroup_id = (uint64_t)sqlite3_column_int64(row, 17);
        return SQLITE_OK;
}

static int read_former(sqlite3_stmt *row, Node **ret) {
        return read_node(row, -1, ret);
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

static void finalizep(sqlite3_stmt **statement) {
        sqlite3_finalize(*statement);
}

static int load(sqlite3 *handle, const char *query, int (*read_row)(sqlite3_stmt *, Node **),
                DatabaseContent *content, Node ***nodes, size_t *n_nodes) {
        _cleanup_(finalizep) sqlite3_stmt *rows = NULL;
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

int rows_load_nodes(sqlite3 *handle, DatabaseContent *content) {
        return load(handle, select_nodes, read_registration, content, &content->nodes,
                    &content->n_nodes);
}

int rows_load_formers(sqlite3 *handle, DatabaseContent *content) {
        return load(handle, select_formers, read_former, content, &content->formers,
                    &content->n_formers);
}

/* --- bounds of history ---------------------------------------------------------------------- */

static int count_tenures(Rows *rows) {
        _cleanup_(finalizep) sqlite3_stmt *count = NULL;
        int rc = sqlite3_prepare_v2(rows->handle, "SELECT count(*) FROM tenures", -1, &count, NULL);

        if (rc == SQLITE_OK)
                rc = sqlite3_step(count);
        if (rc != SQLITE_ROW)
                return rc;
        rows->n_tenures = sqlite3_column_int64(count, 0);
        return SQLITE_OK;
}

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

int rows_trim(Rows *rows, uint64_t oldest_usec, int64_t n_rows, int64_t max, int64_t *ret_n) {
        int64_t n = 0;
        int rc = rows->n_tenures < 0 ? count_tenures(rows) : SQLITE_OK;

        if (rc == SQLITE_OK) {
                sqlite3_bind_int64(rows->statements[ROWS_TRIM_DAYS], 2, (int64_t)oldest_usec);
                rc = trim(rows, ROWS_TRIM_DAYS, max, &n);
        }
        if (rc == SQLITE_OK)
                rc = trim(rows, ROWS_TRIM_HIDDEN, min_i64(max - n, rows->n_tenures - n_rows), &n);
        if (rc == SQLITE_OK)
                rc = trim(rows, ROWS_TRIM_OLDEST, min_i64(max - n, rows->n_tenures - n_rows), &n);
        if (rc == SQLITE_OK)
                *ret_n = n;
        return rc;
}
