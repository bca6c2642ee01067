/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows how a value becomes a column and a column a value. Does not know the tables, nor any statement.
 *
 * The trap: people may write to the file, and a later daemon knows more words. A value that makes no sense costs
 * the row, a word that is not known does not.
 */

#include "state/columns.h"

#include <limits.h>
#include <string.h>

/* The highest serial that is believed: those that are counted on from there must fit into a column, too. */
#define SERIAL_MAX (INT64_MAX / 2)

/* --- binding -------------------------------------------------------------------------------------- */

void columns_bind_text(sqlite3_stmt *statement, int position, const char *text) {
        if (text)
                sqlite3_bind_text(statement, position, text, -1, SQLITE_STATIC);
        else
                sqlite3_bind_null(statement, position);
}

void columns_bind_u64(sqlite3_stmt *statement, int position, uint64_t value) {
        if (value != 0)
                sqlite3_bind_int64(statement, position, (int64_t)value);
        else
                sqlite3_bind_null(statement, position);
}

void columns_bind_uid(sqlite3_stmt *statement, int position, uid_t uid) {
        if (uid != NODE_UID_UNKNOWN)
                sqlite3_bind_int64(statement, position, uid);
        else
                sqlite3_bind_null(statement, position);
}

void columns_bind_address(sqlite3_stmt *statement, int position, const Address *address) {
        char text[ADDRESS_TEXT_MAX];

        /* The commonest by far. */
        if (address_is_any(address)) {
                sqlite3_bind_text(statement, position, "*", 1, SQLITE_STATIC);
                return;
        }
        address_format(address, text);
        sqlite3_bind_text(statement, position, text, -1, SQLITE_TRANSIENT);
}

void columns_bind_node(sqlite3_stmt *statement, const Node *node) {
        columns_bind_address(statement, 1, &node->scope);
        sqlite3_bind_text(statement, 2, node->info.name, (int)node->info.n_name, SQLITE_STATIC);
        sqlite3_bind_int(statement, 3, node->info.port);
        sqlite3_bind_int(statement, 4, node->info.type);
        sqlite3_bind_int(statement, 5, node->info.protocol);
        sqlite3_bind_int(statement, 6, node->info.highest_version);
        sqlite3_bind_int(statement, 7, node->info.lowest_version);
        sqlite3_bind_int64(statement, 8, node->creation);
        sqlite3_bind_int64(statement, 9, (int64_t)node->since_usec);
        sqlite3_bind_int64(statement, 10, (int64_t)node->serial);
        columns_bind_uid(statement, 11, node->peer.uid);
        columns_bind_text(statement, 12, node->unit);
        columns_bind_text(statement, 13, node_state_to_string(node->state));
        columns_bind_text(statement, 14, node_source_to_string(node->state_source));
        columns_bind_text(statement, 15, node->profile.host);
        columns_bind_u64(statement, 16, (uint64_t)node->unit_pid);
        sqlite3_bind_int(statement, 17, node->is_helper);
        columns_bind_text(statement, 18, node_origin_to_string(node->facts.origin));
}

void columns_bind_key(sqlite3_stmt *statement, const Node *node) {
        sqlite3_bind_text(statement, 1, node->info.name, (int)node->info.n_name, SQLITE_STATIC);
        columns_bind_address(statement, 2, &node->scope);
        sqlite3_bind_int64(statement, 3, (int64_t)node->serial);
        sqlite3_bind_int64(statement, 4, (int64_t)node->since_usec);
}

/* --- reading -------------------------------------------------------------------------------------- */

/* Each sqlite3_column_...() looks the column up, and sees to a mutex that a connection of one thread has not: so that is
 * done once where both a type and a value are asked for. (For such a connection a value counts as protected.) */

bool columns_number(sqlite3_stmt *row, int column, uint64_t max, uint64_t *ret) {
        sqlite3_value *cell = sqlite3_column_value(row, column);
        int64_t value;

        if (sqlite3_value_type(cell) != SQLITE_INTEGER)
                return false;
        value = sqlite3_value_int64(cell);
        if (value < 0 || (uint64_t)value > max)
                return false;
        *ret = (uint64_t)value;
        return true;
}

uid_t columns_uid(sqlite3_stmt *row, int column) {
        uint64_t uid;

        return columns_number(row, column, NODE_UID_UNKNOWN, &uid) ? (uid_t)uid : NODE_UID_UNKNOWN;
}

bool columns_address(sqlite3_stmt *row, int column, Address *ret) {
        const char *text = (const char *)sqlite3_column_text(row, column);

        return text && address_parse(text, ret) == 0;
}

const char *columns_text(sqlite3_stmt *row, int column) {
        sqlite3_value *cell = sqlite3_column_value(row, column);

        return sqlite3_value_type(cell) == SQLITE_TEXT ? (const char *)sqlite3_value_text(cell) : NULL;
}

int columns_copy_text(sqlite3_stmt *row, int column, char **ret) {
        const char *text = columns_text(row, column);

        *ret = text ? strdup(text) : NULL;
        return text && !*ret ? SQLITE_NOMEM : SQLITE_OK;
}

static bool read_name(sqlite3_stmt *row, int column, NodeInfo *info) {
        info->name = (const char *)sqlite3_column_text(row, column);
        info->n_name = (size_t)sqlite3_column_bytes(row, column);
        return info->name && node_name_check(info->name, info->n_name) == NODE_NAME_OK;
}

/* What the node announced in its request. False: it cannot have. */
static bool read_info(sqlite3_stmt *row, int extra, NodeInfo *info) {
        uint64_t port, type, protocol, highest, lowest;

        if (!read_name(row, 1, info) || !columns_number(row, 2, UINT16_MAX, &port) ||
            !columns_number(row, 3, UINT8_MAX, &type) || !columns_number(row, 4, UINT8_MAX, &protocol) ||
            !columns_number(row, 5, UINT16_MAX, &highest) || !columns_number(row, 6, UINT16_MAX, &lowest))
                return false;
        if (extra >= 0) {
                info->extra = sqlite3_column_blob(row, extra);
                info->n_extra = (size_t)sqlite3_column_bytes(row, extra);
        }
        info->port = (uint16_t)port;
        info->type = (uint8_t)type;
        info->protocol = (uint8_t)protocol;
        info->highest_version = (uint16_t)highest;
        info->lowest_version = (uint16_t)lowest;
        return info->n_extra <= NODE_EXTRA_BYTES_MAX;
}

static void read_source(sqlite3_stmt *row, int column, NodeSource *ret) {
        const char *word = columns_text(row, column);

        for (NodeSource source = 0; word && source < _NODE_SOURCE_N; source++)
                if (strcmp(word, node_source_to_string(source)) == 0)
                        *ret = source;
}

/* No registration has the creation 0: so a row is a static node's also where a daemon of schema 2 wrote it. */
static NodeOrigin read_origin(sqlite3_stmt *row, int column, const Node *node) {
        const char *word = columns_text(row, column);

        return node->creation == 0 || (word && strcmp(word, "static") == 0) ? NODE_ORIGIN_STATIC
                                                                               : NODE_ORIGIN_REGISTERED;
}

/* What may be unknown. */
static int read_facts(sqlite3_stmt *row, Node *node) {
        const char *state = columns_text(row, 12);
        const char *host = columns_text(row, 14);
        uint64_t value;

        node->peer.uid = columns_uid(row, 10);
        if (state)
                (void)node_state_from_string(state, &node->state);
        read_source(row, 13, &node->state_source);
        if (columns_number(row, 15, INT_MAX, &value))
                node->unit_pid = (pid_t)value;
        node->is_helper = sqlite3_column_int(row, 16) != 0;
        node->facts.origin = read_origin(row, 17, node);
        if (host && node_host_is_valid(host, strlen(host)) && !(node->profile.host = strdup(host)))
                return SQLITE_NOMEM;
        node->profile.is_host_static = node->profile.host && node_is_static(node);
        return columns_copy_text(row, 11, &node->unit);
}

int columns_read_node(sqlite3_stmt *row, int extra, Node **ret) {
        NodeInfo info = { 0 };
        Address scope;
        uint64_t creation, since, serial;
        _cleanup_(node_freep) Node *node = NULL;
        int rc;

        *ret = NULL;
        if (!columns_address(row, 0, &scope) || !read_info(row, extra, &info) ||
            !columns_number(row, 7, UINT32_MAX, &creation) ||
            !columns_number(row, 8, INT64_MAX, &since) ||
            !columns_number(row, 9, SERIAL_MAX, &serial) || serial == 0)
                return SQLITE_OK;
        node = node_new(&info);
        if (!node)
                return SQLITE_NOMEM;
        node->scope = scope;
        node->creation = (uint32_t)creation;
        node->since_usec = since;
        node->serial = serial;
        rc = read_facts(row, node);
        if (rc == SQLITE_OK)
                *ret = TAKE_PTR(node);
        return rc;
}
