/* SPDX-License-Identifier: Apache-2.0 */
/* Knows the lines of NAMES, and makes of them the records that a rollcalld would have sent, as far as they go.
 *
 * The trap: a name may have blanks in it, and " at port " as well: the last one counts. */

#include "stock.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

#define PORT_BYTES 4
static const char before_name[] = "name ", before_port[] = " at port ";

typedef struct StockName {
        const char *name;
        size_t n_name;
        uint16_t port;
} StockName;

/* --- lines ------------------------------------------------------------------------------------ */

static bool parse_port(const char *digits, size_t n_digits, uint16_t *ret) {
        unsigned port = 0;

        for (size_t i = 0; i < n_digits; i++) {
                if (digits[i] < '0' || digits[i] > '9' || port > UINT16_MAX)
                        return false;
                port = 10 * port + (unsigned)(digits[i] - '0');
        }
        *ret = (uint16_t)port;
        return n_digits > 0 && port <= UINT16_MAX;
}

static const char *find_last(const char *line, size_t n_line, const char *text) {
        size_t n_text = strlen(text);

        for (size_t end = n_line; end >= n_text; end--)
                if (memcmp(line + end - n_text, text, n_text) == 0)
                        return line + end - n_text;
        return NULL;
}

static bool parse_line(const char *line, size_t n_line, StockName *ret) {
        size_t n_head = strlen(before_name);
        const char *at, *digits;

        if (n_line < n_head || memcmp(line, before_name, n_head) != 0)
                return false;
        ret->name = line + n_head;
        at = find_last(ret->name, n_line - n_head, before_port);
        if (!at)
                return false;
        ret->n_name = (size_t)(at - ret->name);
        digits = at + strlen(before_port);
        return parse_port(digits, (size_t)(line + n_line - digits), &ret->port);
}

static void put(ControlBuffer *records, ControlKind kind, const StockName *name) {
        control_put_record_begin(records, kind);
        control_put_text(records, CONTROL_TAG_NAME, name->name, name->n_name);
        control_put_u16(records, CONTROL_TAG_PORT, name->port);
        control_put_record_end(records);
}

int stock_read_names(const uint8_t *data, size_t n_data, ControlBuffer *records) {
        const char *line = (const char *)data + PORT_BYTES, *end = (const char *)data + n_data, *newline;

        if (n_data < PORT_BYTES || n_data > STOCK_ANSWER_BYTES_MAX)
                return -EBADMSG;
        for (; line < end; line = newline + 1) {
                StockName name;

                newline = memchr(line, '\n', (size_t)(end - line));
                if (!newline || !parse_line(line, (size_t)(newline - line), &name))
                        return -EBADMSG;
                put(records, CONTROL_NODE_RECORD, &name);
        }
        return records->error;
}

/* --- two answers ------------------------------------------------------------------------------ */

typedef struct StockNames {
        StockName *names; /* owned */
        size_t n_names;
} StockNames;

static void names_done(StockNames *names) {
        free(names->names);
}

/* By name, then port. */
static int compare(const void *a, const void *b) {
        const StockName *name_a = a, *name_b = b;
        size_t n = name_a->n_name < name_b->n_name ? name_a->n_name : name_b->n_name;
        int order = n > 0 ? memcmp(name_a->name, name_b->name, n) : 0;

        if (order == 0)
                order = (name_a->n_name > name_b->n_name) - (name_a->n_name < name_b->n_name);
        return order != 0 ? order : (name_a->port > name_b->port) - (name_a->port < name_b->port);
}

static int list(const ControlBuffer *records, StockNames *ret) {
        size_t position = 0, n, n_fields;
        const uint8_t *fields;
        uint8_t kind;

        while (position < records->n_data &&
               control_next_record(records->data + position, records->n_data - position, &n, &kind, &fields,
                                   &n_fields) == 1) {
                StockName *names = reallocarray(ret->names, ret->n_names + 1, sizeof(*names));
                ControlField name, port;

                if (!names)
                        return -ENOMEM;
                ret->names = names;
                position += n;
                if (!control_find_field(fields, n_fields, CONTROL_TAG_NAME, &name) ||
                    !control_find_field(fields, n_fields, CONTROL_TAG_PORT, &port))
                        continue;
                names[ret->n_names++] = (StockName){
                        .name = (const char *)name.value,
                        .n_name = name.n_value,
                        .port = (uint16_t)control_field_u64(&port),
                };
        }
        if (ret->n_names > 0)
                qsort(ret->names, ret->n_names, sizeof(*ret->names), compare);
        return 0;
}

/* Those of `these` that are not among `others`. */
static void put_missing(const StockNames *these, const StockNames *others, ControlKind kind, ControlBuffer *records) {
        for (size_t i = 0; i < these->n_names; i++)
                if (others->n_names == 0 ||
                    !bsearch(&these->names[i], others->names, others->n_names, sizeof(StockName), compare))
                        put(records, kind, &these->names[i]);
}

int stock_compare(const ControlBuffer *before, const ControlBuffer *after, ControlBuffer *records) {
        _cleanup_(names_done) StockNames old = { 0 };
        _cleanup_(names_done) StockNames new = { 0 };

        if (list(before, &old) < 0 || list(after, &new) < 0)
                return -ENOMEM;
        put_missing(&old, &new, CONTROL_GONE_RECORD, records);
        put_missing(&new, &old, CONTROL_NODE_RECORD, records);
        return records->error;
}
