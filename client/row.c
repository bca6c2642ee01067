/* SPDX-License-Identifier: Apache-2.0 */
/* Knows which tag is which fact. Does not know how a fact is shown. */

#include "row.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"
#include "util.h"

static const struct {
        ControlTag tag;
        RowText text;
} text_tags[] = {
        { CONTROL_TAG_NAME, ROW_NAME },
        { CONTROL_TAG_STATE, ROW_STATE },
        { CONTROL_TAG_STATE_SOURCE, ROW_STATE_SOURCE },
        { CONTROL_TAG_SCOPE, ROW_SCOPE },
        { CONTROL_TAG_UNIT, ROW_UNIT },
        { CONTROL_TAG_HOST, ROW_HOST },
        { CONTROL_TAG_ANNOUNCED, ROW_ANNOUNCED },
        { CONTROL_TAG_LISTENER_ADDRESS, ROW_LISTENER_ADDRESS },
        { CONTROL_TAG_HOW, ROW_HOW },
        { CONTROL_TAG_BY, ROW_BY },
        { CONTROL_TAG_REASON, ROW_REASON },
        { CONTROL_TAG_ADDRESS, ROW_ADDRESS },
        { CONTROL_TAG_HOST_SOURCE, ROW_HOST_SOURCE },
        { CONTROL_TAG_NAME_KIND, ROW_NAME_KIND },
        { CONTROL_TAG_NODE_ORIGIN, ROW_NODE_ORIGIN },
};

static const struct {
        ControlTag tag;
        RowNumber number;
} number_tags[] = {
        { CONTROL_TAG_PORT, ROW_PORT },
        { CONTROL_TAG_TYPE, ROW_TYPE },
        { CONTROL_TAG_PROTOCOL, ROW_PROTOCOL },
        { CONTROL_TAG_HIGHEST_VERSION, ROW_HIGHEST_VERSION },
        { CONTROL_TAG_LOWEST_VERSION, ROW_LOWEST_VERSION },
        { CONTROL_TAG_CREATION, ROW_CREATION },
        { CONTROL_TAG_SINCE, ROW_SINCE_USEC },
        { CONTROL_TAG_STATE_SINCE, ROW_STATE_SINCE_USEC },
        { CONTROL_TAG_UID, ROW_UID },
        { CONTROL_TAG_UNIT_PID, ROW_UNIT_PID },
        { CONTROL_TAG_LISTENER, ROW_LISTENER },
        { CONTROL_TAG_AWAITED, ROW_AWAITED },
        { CONTROL_TAG_HELPER, ROW_HELPER },
        { CONTROL_TAG_IN_FD_STORE, ROW_IN_FD_STORE },
        { CONTROL_TAG_UNTIL, ROW_UNTIL_USEC },
        { CONTROL_TAG_AT, ROW_AT_USEC },
        { CONTROL_TAG_REVISION, ROW_REVISION },
        { CONTROL_TAG_EPOCH, ROW_EPOCH },
        { CONTROL_TAG_CURSOR, ROW_CURSOR },
        { CONTROL_TAG_ELSEWHERE, ROW_ELSEWHERE },
        { CONTROL_TAG_PINNED_PORT, ROW_PINNED_PORT },
};

static void take_field(Row *row, const ControlField *field) {
        for (size_t i = 0; i < ELEMENTS(text_tags); i++)
                if (text_tags[i].tag == field->tag)
                        row->texts[text_tags[i].text] = *field;
        for (size_t i = 0; i < ELEMENTS(number_tags); i++)
                if (number_tags[i].tag == field->tag) {
                        row->numbers[number_tags[i].number] = control_field_u64(field);
                        row->has_number[number_tags[i].number] = true;
                }
}

void row_read(const Record *record, Row *ret) {
        ControlField field;
        size_t offset = 0;

        *ret = (Row){ .kind = record->kind, .record = *record };
        while (control_next_field(record->fields, record->n_fields, &offset, &field))
                take_field(ret, &field);
}

static bool next_of(const Row *row, ControlTag tag, size_t *offset, ControlField *ret) {
        while (control_next_field(row->record.fields, row->record.n_fields, offset, ret))
                if (ret->tag == tag)
                        return true;
        return false;
}

bool row_next_evidence(const Row *row, size_t *offset, ControlField *ret) {
        return next_of(row, CONTROL_TAG_EVIDENCE_OF_LIFE, offset, ret);
}

bool row_next_pair(const Row *row, size_t *offset, ControlField *ret_key, ControlField *ret_value) {
        ControlField pair;

        while (next_of(row, CONTROL_TAG_PAIR, offset, &pair)) {
                const uint8_t *end = memchr(pair.value, 0, pair.n_value);

                if (!end)
                        continue;
                *ret_key = (ControlField){ .value = pair.value, .n_value = (uint16_t)(end - pair.value) };
                *ret_value = (ControlField){
                        .value = end + 1,
                        .n_value = (uint16_t)(pair.n_value - ret_key->n_value - 1),
                };
                return true;
        }
        return false;
}

char *row_text(const Row *row, RowText text) {
        const ControlField *field = &row->texts[text];

        return field->value ? text_for_people(field->value, field->n_value) : NULL;
}

bool row_text_is(const Row *row, RowText text, const char *word) {
        const ControlField *field = &row->texts[text];

        return field->value && field->n_value == strlen(word) && memcmp(field->value, word, field->n_value) == 0;
}

char *row_full_name(const Row *row, char *(*clean)(const uint8_t *bytes, size_t n_bytes)) {
        const ControlField *name = &row->texts[ROW_NAME];
        const ControlField *host = row->texts[ROW_HOST].value ? &row->texts[ROW_HOST] : &row->assumed_host;
        _cleanup_(freep) uint8_t *whole = malloc((size_t)name->n_value + 1 + host->n_value);
        size_t n = name->n_value;

        if (!whole)
                return NULL;
        if (n > 0)
                memcpy(whole, name->value, n);
        if (host->value) {
                whole[n++] = '@';
                memcpy(whole + n, host->value, host->n_value);
                n += host->n_value;
        }
        return clean(whole, n);
}

/* --- lists ------------------------------------------------------------------------------------ */

void rows_done(Rows *rows) {
        free(rows->rows);
        *rows = (Rows){ 0 };
}

int rows_add(Rows *rows, const Row *row) {
        if (rows->n_rows == rows->n_room) {
                size_t n_room = 2 * rows->n_room + 64;
                Row *grown = reallocarray(rows->rows, n_room, sizeof(*grown));

                if (!grown)
                        return -ENOMEM;
                rows->rows = grown;
                rows->n_room = n_room;
        }
        rows->rows[rows->n_rows++] = *row;
        return 0;
}

static int compare_fields(const ControlField *a, const ControlField *b) {
        size_t n = a->n_value < b->n_value ? a->n_value : b->n_value;
        int order = n > 0 ? memcmp(a->value, b->value, n) : 0;

        return order != 0 ? order : (a->n_value > b->n_value) - (a->n_value < b->n_value);
}

static int compare_rows(const void *a, const void *b) {
        const Row *row_a = a, *row_b = b;
        int order = compare_fields(&row_a->texts[ROW_NAME], &row_b->texts[ROW_NAME]);

        return order != 0 ? order : compare_fields(&row_a->texts[ROW_SCOPE], &row_b->texts[ROW_SCOPE]);
}

void rows_sort_by_name(Rows *rows) {
        if (rows->n_rows > 0)
                qsort(rows->rows, rows->n_rows, sizeof(*rows->rows), compare_rows);
}
