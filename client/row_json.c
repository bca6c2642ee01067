/* SPDX-License-Identifier: Apache-2.0 */
/* Knows the keys of nodes, registrations and refusals.
 *
 * The trap: keys are added and never renamed; what the daemon did not tell is null, never left out. */

#include "row_json.h"

#include "core/node.h"
#include "text.h"
#include "user.h"
#include "util.h"

static json_t *field_to_json(const ControlField *field) {
        _cleanup_(freep) char *text = field->value ? text_for_json(field->value, field->n_value) : NULL;

        return text ? json_string(text) : json_null();
}

static json_t *text_to_json(const Row *row, RowText text) {
        return field_to_json(&row->texts[text]);
}

/* The library has signed integers only. No daemon of ours tells a greater one, but it may. */
json_t *row_number_to_json(const Row *row, RowNumber number) {
        uint64_t value = row->numbers[number];

        if (!row->has_number[number])
                return json_null();
        return value <= INT64_MAX ? json_integer((json_int_t)value) : json_real((double)value);
}

static json_t *flag_to_json(const Row *row, RowNumber number) {
        return json_boolean(row->has_number[number] && row->numbers[number] != 0);
}

static json_t *time_to_json(const Row *row, RowNumber number) {
        char when[TEXT_TIME_MAX];

        return row->has_number[number] ? json_string(text_time_utc(row->numbers[number], when)) : json_null();
}

static json_t *type_to_json(const Row *row) {
        uint64_t type = row->numbers[ROW_TYPE];
        const char *name = row->has_number[ROW_TYPE] && type <= UINT8_MAX ? node_type_to_string((uint8_t)type) : NULL;

        return name ? json_string(name) : json_null();
}

static json_t *user_to_json(const Row *row) {
        const char *name = row->has_number[ROW_UID] ? user_name(row->numbers[ROW_UID]) : NULL;
        json_t *json = name ? json_string(name) : NULL;

        return json ? json : json_null(); /* a name that is not UTF-8 is none for JSON */
}

static json_t *pairs_to_json(const Row *row) {
        json_t *object = json_object();
        ControlField key, value;
        size_t offset = 0;

        while (row_next_pair(row, &offset, &key, &value)) {
                _cleanup_(freep) char *text = text_for_json(key.value, key.n_value);

                if (text)
                        json_object_set_new(object, text, field_to_json(&value));
        }
        return object;
}

static json_t *evidence_to_json(const Row *row) {
        json_t *array = json_array();
        ControlField evidence;
        size_t offset = 0;

        while (row_next_evidence(row, &offset, &evidence))
                json_array_append_new(array, field_to_json(&evidence));
        return array;
}

/* The older numbers are 0 where they were not told; the type of their keys is an integer. */
static json_t *registered_to_json(const Row *row) {
        return json_pack("{s:o, s:o, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:o, s:I, s:o, s:o, s:o, s:o,"
                         " s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
                         "name", text_to_json(row, ROW_NAME),
                         "state", text_to_json(row, ROW_STATE),
                         "port", (json_int_t)row->numbers[ROW_PORT],
                         "type", type_to_json(row),
                         "type_number", (json_int_t)row->numbers[ROW_TYPE],
                         "protocol", (json_int_t)row->numbers[ROW_PROTOCOL],
                         "highest_version", (json_int_t)row->numbers[ROW_HIGHEST_VERSION],
                         "lowest_version", (json_int_t)row->numbers[ROW_LOWEST_VERSION],
                         "creation", (json_int_t)row->numbers[ROW_CREATION],
                         "since", time_to_json(row, ROW_SINCE_USEC),
                         "since_usec", (json_int_t)row->numbers[ROW_SINCE_USEC],
                         "scope", text_to_json(row, ROW_SCOPE),
                         "uid", row_number_to_json(row, ROW_UID),
                         "unit", text_to_json(row, ROW_UNIT),
                         "listener_cookie", row_number_to_json(row, ROW_LISTENER),
                         "user", user_to_json(row),
                         "unit_pid", row_number_to_json(row, ROW_UNIT_PID),
                         "host", text_to_json(row, ROW_HOST),
                         "state_source", text_to_json(row, ROW_STATE_SOURCE),
                         "state_since", time_to_json(row, ROW_STATE_SINCE_USEC),
                         "state_since_usec", row_number_to_json(row, ROW_STATE_SINCE_USEC),
                         "awaited", flag_to_json(row, ROW_AWAITED),
                         "announced", text_to_json(row, ROW_ANNOUNCED),
                         "metadata", pairs_to_json(row),
                         "helper", flag_to_json(row, ROW_HELPER),
                         "listener_address", text_to_json(row, ROW_LISTENER_ADDRESS));
}

json_t *row_to_json(const Row *row) {
        json_t *object = registered_to_json(row);

        json_object_set_new(object, "host_source", text_to_json(row, ROW_HOST_SOURCE));
        json_object_set_new(object, "name_kind", text_to_json(row, ROW_NAME_KIND));
        json_object_set_new(object, "static", json_boolean(row_text_is(row, ROW_NODE_ORIGIN, "static")));
        json_object_set_new(object, "elsewhere", flag_to_json(row, ROW_ELSEWHERE));
        json_object_set_new(object, "pinned_port", row_number_to_json(row, ROW_PINNED_PORT));
        return object;
}

json_t *row_tenure_to_json(const Row *row) {
        json_t *object = row_to_json(row);

        json_object_set_new(object, "until", time_to_json(row, ROW_UNTIL_USEC));
        json_object_set_new(object, "until_usec", row_number_to_json(row, ROW_UNTIL_USEC));
        json_object_set_new(object, "how", text_to_json(row, ROW_HOW));
        json_object_set_new(object, "by", text_to_json(row, ROW_BY));
        return object;
}

json_t *row_holder_to_json(const Row *row) {
        json_t *object = row_to_json(row);

        json_object_set_new(object, "evidence", evidence_to_json(row));
        json_object_set_new(object, "in_fd_store", flag_to_json(row, ROW_IN_FD_STORE));
        return object;
}

json_t *row_refusal_to_json(const Row *row) {
        return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
                         "at", time_to_json(row, ROW_AT_USEC),
                         "at_usec", row_number_to_json(row, ROW_AT_USEC),
                         "reason", text_to_json(row, ROW_REASON),
                         "port", row_number_to_json(row, ROW_PORT),
                         "uid", row_number_to_json(row, ROW_UID),
                         "user", user_to_json(row),
                         "unit", text_to_json(row, ROW_UNIT));
}

static json_t *full_name_to_json(const Row *row) {
        _cleanup_(freep) char *name = row_full_name(row, text_for_json);

        return name ? json_string(name) : NULL;
}

/* A stock epmd tells none of these, which have been numbers from the beginning. */
static void set_unknown(json_t *object) {
        static const char *const keys[] = { "type_number", "protocol", "highest_version", "lowest_version",
                                            "creation", "since", "since_usec" };

        for (size_t i = 0; i < ELEMENTS(keys); i++)
                json_object_set_new(object, keys[i], json_null());
}

json_t *row_found_to_json(const Row *row) {
        json_t *object = json_pack("{s:o, s:b, s:s?, s:s}",
                                   "node", full_name_to_json(row),
                                   "host_assumed", row->assumed_host.value != NULL,
                                   "machine", row->machine,
                                   "told_by", row->is_by_stock ? "names" : "rollcall");
        json_t *rest = row_to_json(row);

        if (object && rest)
                json_object_update(object, rest);
        json_decref(rest);
        if (object && row->is_by_stock)
                set_unknown(object);
        return object;
}

json_t *row_entry_to_json(const Row *row) {
        return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
                         "name", text_to_json(row, ROW_NAME),
                         "port", row_number_to_json(row, ROW_PORT),
                         "address", text_to_json(row, ROW_ADDRESS),
                         "host", text_to_json(row, ROW_HOST),
                         "state", text_to_json(row, ROW_STATE),
                         "reason", text_to_json(row, ROW_REASON),
                         "since", time_to_json(row, ROW_SINCE_USEC),
                         "since_usec", row_number_to_json(row, ROW_SINCE_USEC),
                         "by", text_to_json(row, ROW_BY));
}

json_t *row_pin_to_json(const Row *row) {
        return json_pack("{s:o, s:o, s:o, s:o, s:o}",
                         "name", text_to_json(row, ROW_NAME),
                         "port", row_number_to_json(row, ROW_PORT),
                         "since", time_to_json(row, ROW_SINCE_USEC),
                         "since_usec", row_number_to_json(row, ROW_SINCE_USEC),
                         "by", text_to_json(row, ROW_BY));
}

json_t *rows_to_json(const Rows *rows, json_t *(*to_json)(const Row *row)) {
        json_t *array = json_array();

        for (size_t i = 0; i < rows->n_rows; i++)
                if (json_array_append_new(array, to_json(&rows->rows[i])) < 0) {
                        json_decref(array);
                        return NULL;
                }
        return array;
}
