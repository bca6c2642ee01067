/* SPDX-License-Identifier: Apache-2.0 */
/* Knows which tag is which fact of a status; not how a fact is shown. Tags and records that it does
 * not know are passed over: a newer daemon tells more. */

#include "status_facts.h"

#include <errno.h>
#include <stdlib.h>

#include "text.h"
#include "util.h"

static const struct {
        ControlTag tag;
        StatusNumber number;
} number_tags[] = {
        { CONTROL_TAG_PID, STATUS_PID },
        { CONTROL_TAG_STARTED, STATUS_STARTED_USEC },
        { CONTROL_TAG_REGISTRY_BYTES, STATUS_REGISTRY_BYTES },
        { CONTROL_TAG_WAL_BYTES, STATUS_WAL_BYTES },
        { CONTROL_TAG_SCHEMA_VERSION, STATUS_SCHEMA_VERSION },
        { CONTROL_TAG_N_NODES, STATUS_N_NODES },
        { CONTROL_TAG_N_AWAITED, STATUS_N_AWAITED },
        { CONTROL_TAG_N_STOPPING, STATUS_N_STOPPING },
        { CONTROL_TAG_N_CONNECTIONS, STATUS_N_CONNECTIONS },
        { CONTROL_TAG_N_CONNECTIONS_MAX, STATUS_N_CONNECTIONS_MAX },
        { CONTROL_TAG_REVISION, STATUS_REVISION },
        { CONTROL_TAG_COMMITTED_REVISION, STATUS_COMMITTED_REVISION },
        { CONTROL_TAG_NODES_PER_UID_MAX, STATUS_NODES_PER_UID_MAX },
};

static const struct {
        ControlTag tag;
        StatusText text;
} text_tags[] = {
        { CONTROL_TAG_PROGRAM_VERSION, STATUS_PROGRAM_VERSION },
        { CONTROL_TAG_REGISTRY_PATH, STATUS_REGISTRY_PATH },
        { CONTROL_TAG_REGISTRY_HEALTH, STATUS_REGISTRY_HEALTH },
        { CONTROL_TAG_REGISTRY_DETAIL, STATUS_REGISTRY_DETAIL },
        { CONTROL_TAG_BOOT_ID, STATUS_BOOT_ID },
        { CONTROL_TAG_BLIND, STATUS_BLIND },
};

typedef char *(*Cleaner)(const uint8_t *bytes, size_t n_bytes);

static void string_list_done(StringList *list) {
        for (size_t i = 0; i < list->n_texts; i++)
                free(list->texts[i]);
        free(list->texts);
}

void status_facts_done(StatusFacts *facts) {
        for (size_t i = 0; i < ELEMENTS(facts->texts); i++)
                free(facts->texts[i]);
        string_list_done(&facts->degraded);
        string_list_done(&facts->evidence);
        for (size_t i = 0; i < facts->n_sockets; i++) {
                free(facts->sockets[i].address);
                free(facts->sockets[i].origin);
        }
        free(facts->sockets);
        for (size_t i = 0; i < facts->n_counters; i++)
                free(facts->counters[i].name);
        free(facts->counters);
        *facts = (StatusFacts){ 0 };
}

/* Room for one more element of a list that only grows. NULL on ENOMEM. */
static void *grow(void *list_pointer, size_t n, size_t n_element) {
        void **list = list_pointer;
        void *grown = reallocarray(*list, n + 1, n_element);

        if (grown)
                *list = grown;
        return grown;
}

static int string_list_add(StringList *list, Cleaner clean, const ControlField *field) {
        char *text = clean(field->value, field->n_value);

        if (!text || !grow(&list->texts, list->n_texts, sizeof(char *))) {
                free(text);
                return -ENOMEM;
        }
        list->texts[list->n_texts++] = text;
        return 0;
}

static int add_counter(StatusFacts *facts, Cleaner clean, const ControlField *field) {
        StatusCounter counter;
        const char *name;
        size_t n_name;

        if (!control_field_counter(field, &name, &n_name, &counter.value))
                return 0;
        counter.name = clean((const uint8_t *)name, n_name);
        if (!counter.name || !grow(&facts->counters, facts->n_counters, sizeof(counter))) {
                free(counter.name);
                return -ENOMEM;
        }
        facts->counters[facts->n_counters++] = counter;
        return 0;
}

/* The last one counts, where a text comes twice that should not. */
static int set_text(char **text, Cleaner clean, const ControlField *field) {
        free(*text);
        *text = clean(field->value, field->n_value);
        return *text ? 0 : -ENOMEM;
}

static int take_status_field(StatusFacts *facts, Cleaner clean, const ControlField *field) {
        switch (field->tag) {
        case CONTROL_TAG_DEGRADED:
                return string_list_add(&facts->degraded, clean, field);
        case CONTROL_TAG_EVIDENCE:
                return string_list_add(&facts->evidence, clean, field);
        case CONTROL_TAG_COUNTER:
                return add_counter(facts, clean, field);
        }
        for (size_t i = 0; i < ELEMENTS(number_tags); i++)
                if (number_tags[i].tag == field->tag) {
                        facts->numbers[number_tags[i].number] = control_field_u64(field);
                        facts->has_number[number_tags[i].number] = true;
                }
        for (size_t i = 0; i < ELEMENTS(text_tags); i++)
                if (text_tags[i].tag == field->tag)
                        return set_text(&facts->texts[text_tags[i].text], clean, field);
        return 0;
}

static int take_status(StatusFacts *facts, Cleaner clean, const Record *record) {
        ControlField field;
        size_t offset = 0;

        while (control_next_field(record->fields, record->n_fields, &offset, &field)) {
                int r = take_status_field(facts, clean, &field);

                if (r < 0)
                        return r;
        }
        return 0;
}

static int take_socket(StatusFacts *facts, Cleaner clean, const Record *record) {
        ControlField field;
        size_t offset = 0;
        StatusSocket *socket;
        int r = 0;

        if (!grow(&facts->sockets, facts->n_sockets, sizeof(StatusSocket)))
                return -ENOMEM;
        socket = &facts->sockets[facts->n_sockets++];
        *socket = (StatusSocket){ 0 };
        while (r == 0 && control_next_field(record->fields, record->n_fields, &offset, &field))
                if (field.tag == CONTROL_TAG_ADDRESS)
                        r = set_text(&socket->address, clean, &field);
                else if (field.tag == CONTROL_TAG_ORIGIN)
                        r = set_text(&socket->origin, clean, &field);
        return r;
}

int status_facts_read(const Answer *answer, bool for_json, StatusFacts *ret) {
        _cleanup_(status_facts_done) StatusFacts facts = { 0 };
        Cleaner clean = for_json ? text_for_json : text_for_people;
        bool has_status = false;
        size_t position = 0;
        Record record;

        while (answer_next_record(answer, &position, &record)) {
                int r = 0;

                if (record.kind == CONTROL_STATUS_RECORD) {
                        r = take_status(&facts, clean, &record);
                        has_status = true;
                } else if (record.kind == CONTROL_SOCKET_RECORD)
                        r = take_socket(&facts, clean, &record);
                if (r < 0)
                        return r;
        }
        if (!has_status)
                return -EBADMSG;
        *ret = facts;
        facts = (StatusFacts){ 0 };
        return 0;
}
