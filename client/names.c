/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall names`: who is registered. Knows the fields of a node record and how they are shown;
 * the order is that of the names.
 *
 * The trap: in a pipe each line is cut into columns by blanks, so no cell may be empty or contain
 * one. */

#include "names.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <libsmartcols.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/node.h"
#include "output.h"
#include "text.h"
#include "util.h"

typedef struct NodeRow {
        ControlField
                name; /* borrows from the answer, as do the other texts; value NULL: not told */
        ControlField state, scope, unit;
        uint64_t since_usec, listener;
        uint64_t port, type, protocol, highest_version, lowest_version, creation, uid;
        bool has_uid, has_listener;
} NodeRow;

typedef struct NodeList {
        NodeRow *nodes;
        size_t n_nodes, n_room;
} NodeList;

static void node_list_done(NodeList *list) {
        free(list->nodes);
}

/* --- reading ---------------------------------------------------------------------------------- */

static void take_field(NodeRow *node, const ControlField *field) {
        switch (field->tag) {
        case CONTROL_TAG_NAME:
                node->name = *field;
                break;
        case CONTROL_TAG_STATE:
                node->state = *field;
                break;
        case CONTROL_TAG_SCOPE:
                node->scope = *field;
                break;
        case CONTROL_TAG_UNIT:
                node->unit = *field;
                break;
        case CONTROL_TAG_PORT:
                node->port = control_field_u64(field);
                break;
        case CONTROL_TAG_TYPE:
                node->type = control_field_u64(field);
                break;
        case CONTROL_TAG_PROTOCOL:
                node->protocol = control_field_u64(field);
                break;
        case CONTROL_TAG_HIGHEST_VERSION:
                node->highest_version = control_field_u64(field);
                break;
        case CONTROL_TAG_LOWEST_VERSION:
                node->lowest_version = control_field_u64(field);
                break;
        case CONTROL_TAG_CREATION:
                node->creation = control_field_u64(field);
                break;
        case CONTROL_TAG_SINCE:
                node->since_usec = control_field_u64(field);
                break;
        case CONTROL_TAG_UID:
                node->uid = control_field_u64(field);
                node->has_uid = true;
                break;
        case CONTROL_TAG_LISTENER:
                node->listener = control_field_u64(field);
                node->has_listener = true;
                break;
        }
}

static int node_list_add(NodeList *list, const Record *record) {
        NodeRow node = { 0 };
        ControlField field;
        size_t offset = 0;

        if (list->n_nodes == list->n_room) {
                size_t n_room = 2 * list->n_room + 64;
                NodeRow *nodes = reallocarray(list->nodes, n_room, sizeof(*nodes));

                if (!nodes)
                        return -ENOMEM;
                list->nodes = nodes;
                list->n_room = n_room;
        }
        while (control_next_field(record->fields, record->n_fields, &offset, &field))
                take_field(&node, &field);
        list->nodes[list->n_nodes++] = node;
        return 0;
}

static int compare_fields(const ControlField *a, const ControlField *b) {
        size_t n = a->n_value < b->n_value ? a->n_value : b->n_value;
        int order = n > 0 ? memcmp(a->value, b->value, n) : 0;

        return order != 0 ? order : (a->n_value > b->n_value) - (a->n_value < b->n_value);
}

/* By name, then scope: as the view `nodes` of the registry file. */
static int compare_nodes(const void *a, const void *b) {
        const NodeRow *node_a = a, *node_b = b;
        int order = compare_fields(&node_a->name, &node_b->name);

        return order != 0 ? order : compare_fields(&node_a->scope, &node_b->scope);
}

static int node_list_read(const Answer *answer, NodeList *ret) {
        size_t position = 0;
        Record record;

        while (answer_next_record(answer, &position, &record)) {
                int r = record.kind == CONTROL_NODE_RECORD ? node_list_add(ret, &record) : 0;

                if (r < 0)
                        return r;
        }
        if (ret->n_nodes > 0)
                qsort(ret->nodes, ret->n_nodes, sizeof(*ret->nodes), compare_nodes);
        return 0;
}

/* --- as a table ------------------------------------------------------------------------------- */

typedef enum Column {
        COLUMN_NAME,
        COLUMN_PORT,
        COLUMN_STATE,
        COLUMN_TYPE,
        COLUMN_SCOPE,
        COLUMN_SINCE,
        COLUMN_UID,
        COLUMN_UNIT,
        _COLUMN_N,
} Column;

static const struct {
        const char *heading;
        int flags;
} columns[_COLUMN_N] = {
        [COLUMN_NAME] = { "NAME", 0 },
        [COLUMN_PORT] = { "PORT", SCOLS_FL_RIGHT },
        [COLUMN_STATE] = { "STATE", 0 },
        [COLUMN_TYPE] = { "TYPE", 0 },
        [COLUMN_SCOPE] = { "SCOPE", 0 },
        [COLUMN_SINCE] = { "SINCE", 0 },
        [COLUMN_UID] = { "UID", SCOLS_FL_RIGHT },
        [COLUMN_UNIT] = { "UNIT", SCOLS_FL_TRUNC },
};

/* One word: not empty, and blanks shown as \x20. NULL on ENOMEM; takes `text`. */
static char *one_word(char *text) {
        char *word, *end;

        if (!text || text[0] == '\0') {
                free(text);
                return text ? strdup("-") : NULL;
        }
        word = end = malloc(4 * strlen(text) + 1);
        for (const char *c = text; word && *c; c++)
                if (*c == ' ')
                        end = stpcpy(end, "\\x20");
                else
                        *end++ = *c;
        if (word)
                *end = '\0';
        free(text);
        return word;
}

static char *word_of_field(const ControlField *field) {
        return one_word(text_for_people(field->value, field->n_value));
}

PRINTF_LIKE(1, 2) static char *word(const char *format, ...) {
        va_list arguments;
        char *text = NULL;

        va_start(arguments, format);
        if (vasprintf(&text, format, arguments) < 0)
                text = NULL;
        va_end(arguments);
        return text;
}

static char *word_of_type(uint64_t type) {
        const char *name = type <= UINT8_MAX ? node_type_to_string((uint8_t)type) : NULL;

        return name ? strdup(name) : word("%" PRIu64, type);
}

/* An allocated cell, or NULL on ENOMEM. */
static char *cell(const NodeRow *node, Column column) {
        char when[TEXT_TIME_MAX];

        switch (column) {
        case COLUMN_NAME:
                return word_of_field(&node->name);
        case COLUMN_PORT:
                return word("%" PRIu64, node->port);
        case COLUMN_STATE:
                return word_of_field(&node->state);
        case COLUMN_TYPE:
                return word_of_type(node->type);
        case COLUMN_SCOPE:
                return word_of_field(&node->scope);
        case COLUMN_SINCE:
                return strdup(text_time_local(node->since_usec, when));
        case COLUMN_UID:
                return node->has_uid ? word("%" PRIu64, node->uid) : strdup("-");
        case COLUMN_UNIT:
                return word_of_field(&node->unit);
        case _COLUMN_N:
                break;
        }
        return NULL;
}

static struct libscols_table *unref_table(struct libscols_table *table) {
        scols_unref_table(table);
        return NULL;
}
DEFINE_CLEANUP(struct libscols_table *, unref_table)

static struct libscols_table *table_new(void) {
        _cleanup_(unref_tablep) struct libscols_table *table = scols_new_table();

        if (!table)
                return NULL;
        /* The cells are clean already, and it would escape our escapes. */
        scols_table_enable_noencoding(table, 1);
        for (Column column = 0; column < _COLUMN_N; column++) {
                int flags = columns[column].flags;

                if (!isatty(STDOUT_FILENO))
                        flags &= ~SCOLS_FL_TRUNC;
                if (!scols_table_new_column(table, columns[column].heading, 0, flags))
                        return NULL;
        }
        return TAKE_PTR(table);
}

static int table_add(struct libscols_table *table, const NodeRow *node) {
        struct libscols_line *line = scols_table_new_line(table, NULL);

        if (!line)
                return -ENOMEM;
        for (Column column = 0; column < _COLUMN_N; column++) {
                char *text = cell(node, column);

                if (!text || scols_line_refer_data(line, column, text) < 0) {
                        free(text);
                        return -ENOMEM;
                }
        }
        return 0;
}

/* The table's printing has no line without nodes, not even the headings. */
static void print_headings(void) {
        for (Column column = 0; column < _COLUMN_N; column++)
                printf("%s%c", columns[column].heading, column + 1 < _COLUMN_N ? ' ' : '\n');
}

static RollcallExit print_table(const NodeList *list) {
        _cleanup_(unref_tablep) struct libscols_table *table = table_new();

        if (!table)
                return output_out_of_memory();
        for (size_t i = 0; i < list->n_nodes; i++)
                if (table_add(table, &list->nodes[i]) < 0)
                        return output_out_of_memory();
        if (list->n_nodes == 0)
                print_headings();
        else if (scols_print_table(table) < 0)
                return output_out_of_memory();
        return output_finish();
}

/* --- as JSON ---------------------------------------------------------------------------------- */

static json_t *field_to_json(const ControlField *field) {
        _cleanup_(freep) char *text =
                field->value ? text_for_json(field->value, field->n_value) : NULL;

        return text ? json_string(text) : json_null();
}

static json_t *optional_to_json(bool is_known, uint64_t value) {
        return is_known ? json_integer((json_int_t)value) : json_null();
}

static json_t *type_to_json(uint64_t type) {
        const char *name = type <= UINT8_MAX ? node_type_to_string((uint8_t)type) : NULL;

        return name ? json_string(name) : json_null();
}

static json_t *node_to_json(const NodeRow *node) {
        char when[TEXT_TIME_MAX];

        return json_pack("{s:o, s:o, s:I, s:o, s:I, s:I, s:I, s:I, s:I,"
                         " s:s, s:I, s:o, s:o, s:o, s:o}",
                         "name", field_to_json(&node->name),
                         "state", field_to_json(&node->state),
                         "port", (json_int_t)node->port,
                         "type", type_to_json(node->type),
                         "type_number", (json_int_t)node->type,
                         "protocol", (json_int_t)node->protocol,
                         "highest_version", (json_int_t)node->highest_version,
                         "lowest_version", (json_int_t)node->lowest_version,
                         "creation", (json_int_t)node->creation,
                         "since", text_time_utc(node->since_usec, when),
                         "since_usec", (json_int_t)node->since_usec,
                         "scope", field_to_json(&node->scope),
                         "uid", optional_to_json(node->has_uid, node->uid),
                         "unit", field_to_json(&node->unit),
                         "listener_cookie", optional_to_json(node->has_listener, node->listener));
}

static json_t *nodes_to_json(const NodeList *list) {
        json_t *array = json_array();

        for (size_t i = 0; i < list->n_nodes; i++)
                if (json_array_append_new(array, node_to_json(&list->nodes[i])) < 0) {
                        json_decref(array);
                        return NULL;
                }
        return array;
}

/* ---------------------------------------------------------------------------------------------- */

RollcallExit names_run(const char *control_path, bool is_json) {
        _cleanup_(answer_done) Answer answer = { 0 };
        _cleanup_(node_list_done) NodeList list = { 0 };
        RollcallExit status = connection_ask(control_path, CONTROL_NAMES, &answer);

        if (status != ROLLCALL_EXIT_OK)
                return status;
        if (node_list_read(&answer, &list) < 0)
                return output_out_of_memory();
        return is_json ? output_json(nodes_to_json(&list)) : print_table(&list);
}
