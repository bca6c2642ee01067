/* SPDX-License-Identifier: Apache-2.0 */
/* Knows which fields an order has and what each may be. Does not know who may order it, nor what follows.
 *
 * The trap: what a later client says beyond that is no fault. */

#include "serve/said.h"

#include <string.h>

/* --- announcements ---------------------------------------------------------------------------- */

void said_announcement_done(SaidAnnouncement *announcement) {
        node_profile_done(&announcement->profile);
}

/* Whole values only: a word that contains a NUL is none. */
static char *copy_text(const ControlField *field) {
        if (memchr(field->value, 0, field->n_value))
                return NULL;
        return strndup((const char *)field->value, field->n_value);
}

static const char *parse_announced(const ControlField *field, NodeAnnounced *ret) {
        _cleanup_(freep) char *word = copy_text(field);

        if (!word || node_announced_from_string(word, ret) < 0)
                return "A node can announce that it is ready or draining.";
        return NULL;
}

static const char *parse_host(const ControlField *field, NodeProfile *profile) {
        if (!node_host_is_valid((const char *)field->value, field->n_value))
                return "That cannot be the host part of a node's name.";
        free(profile->host);
        profile->host = copy_text(field);
        return profile->host ? NULL : "There is no memory for that.";
}

static const char *parse_pair(const ControlField *field, NodeProfile *profile) {
        const char *key = (const char *)field->value;
        const char *end = memchr(key, 0, field->n_value);
        int r;

        if (!end)
                return "A pair is a key, a zero byte and a value.";
        r = node_profile_set(profile, key, (size_t)(end - key), end + 1, field->n_value - (size_t)(end + 1 - key));
        if (r == -E2BIG)
                return "A node can announce 32 pairs at most.";
        if (r == -EINVAL)
                return "A key is 1 to 64 letters, digits, '.', '_' or '-', a value at most 256 bytes of text.";
        return r < 0 ? "There is no memory for that." : NULL;
}

static const char *parse_field(const ControlField *field, SaidAnnouncement *announcement) {
        switch (field->tag) {
        case CONTROL_TAG_CREATION:
                announcement->has_creation = true;
                announcement->creation = control_field_u64(field);
                return NULL;
        case CONTROL_TAG_ANNOUNCED:
                return parse_announced(field, &announcement->announced);
        case CONTROL_TAG_HOST:
                return parse_host(field, &announcement->profile);
        case CONTROL_TAG_PAIR:
                return parse_pair(field, &announcement->profile);
        default: /* what a later client may say */
                return NULL;
        }
}

const char *said_announcement_parse(const ControlRequest *request, SaidAnnouncement *announcement) {
        const char *wrong = selection_parse(request, true, &announcement->selection);
        ControlField field;
        size_t offset = 0;

        while (!wrong && control_next_field(request->fields, request->n_fields, &offset, &field))
                wrong = parse_field(&field, announcement);
        return wrong;
}

/* --- entries and pins ------------------------------------------------------------------------- */

const char *said_entry_parse(const ControlRequest *request, bool needs_port, SaidEntry *ret) {
        SaidEntry said = { .port = 0 };
        const char *wrong = selection_parse(request, true, &said.selection);
        ControlField field;
        size_t offset = 0;

        while (!wrong && control_next_field(request->fields, request->n_fields, &offset, &field)) {
                if (field.tag == CONTROL_TAG_PORT)
                        said.port = control_field_u64(&field);
                if (field.tag == CONTROL_TAG_HOST) {
                        said.host = (const char *)field.value;
                        said.n_host = field.n_value;
                }
                if (field.tag == CONTROL_TAG_ADDRESS) {
                        wrong = selection_parse_scope(&field, &said.address) ? NULL : "The address is none.";
                        said.has_address = true;
                }
        }
        if (!wrong && needs_port && (said.port == 0 || said.port > UINT16_MAX))
                wrong = "A port is a number from 1 to 65535.";
        if (!wrong && said.host && !node_host_is_valid(said.host, said.n_host))
                wrong = "That cannot be the host part of a node's name.";
        *ret = said;
        return wrong;
}
