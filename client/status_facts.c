/* SPDX-License-Identifier: Apache-2.0 */
/* Knows which tag is which fact of a status; not how a fact is shown. Tags and records that it does
 * not know are passed over: a newer daemon tells more. */

#include "status_facts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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
        { CONTROL_TAG_FD_STORE_MAX, STATUS_FD_STORE_MAX },
        { CONTROL_TAG_FD_STORE_N, STATUS_FD_STORE_N },
        { CONTROL_TAG_FD_STORE_WAITING, STATUS_FD_STORE_WAITING },
        { CONTROL_TAG_N_WATCHERS, STATUS_N_WATCHERS },
        { CONTROL_TAG_N_HELD, STATUS_N_HELD },
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
        { CONTROL_TAG_UNITS_UNSEEN, STATUS_UNITS_UNSEEN },
};

typedef char *(*Cleaner)(const uint8_t *bytes, size_t n_bytes);

static void string_list_done(StringList *list) {
        for (size_t i = 0; i < list->n_texts; i++)
                free(list->texts[i]);
        free(list->texts);
}

static void counters_done(StatusCounter *counters, size_t n_counters) {
        for (size_t i = 0; i < n_counters; i++)
                free(counters[i].name);
        free(counters);
}

void status_facts_done(StatusFacts *facts) {
        for (size_t i = 0; i < ELEMENTS(facts->texts); i++)
                free(facts->texts[i]);
        string_list_done(&facts->degraded);
        string_list_done(&facts->evidence);
        string_list_done(&facts->config_files);
        for (size_t i = 0; i < facts->n_sockets; i++) {
                free(facts->sockets[i].address);
                free(facts->sockets[i].origin);
        }
        free(facts->sockets);
        for (size_t i = 0; i < facts->n_culprits; i++) {
                free(facts->culprits[i].address);
                free(facts->culprits[i].unit);
        }
        free(facts->culprits);
        counters_done(facts->counters, facts->n_counters);
        counters_done(facts->states, facts->n_states);
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

/* The field has the form of a counter. */
static int add_counter(StatusCounter **counters, size_t *n_counters, Cleaner clean, const ControlField *field) {
        StatusCounter counter;
        const char *name;
        size_t n_name;

        if (!control_field_counter(field, &name, &n_name, &counter.value))
                return 0;
        counter.name = clean((const uint8_t *)name, n_name);
        if (!counter.name || !grow(counters, *n_counters, sizeof(counter))) {
                free(counter.name);
                return -ENOMEM;
        }
        (*counters)[(*n_counters)++] = counter;
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
        case CONTROL_TAG_CONFIG_FILE:
                return string_list_add(&facts->config_files, clean, field);
        case CONTROL_TAG_COUNTER:
                return add_counter(&facts->counters, &facts->n_counters, clean, field);
        case CONTROL_TAG_N_IN_STATE:
                return add_counter(&facts->states, &facts->n_states, clean, field);
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

static int take_culprit_field(StatusCulprit *culprit, Cleaner clean, const ControlField *field) {
        switch (field->tag) {
        case CONTROL_TAG_ADDRESS:
                return set_text(&culprit->address, clean, field);
        case CONTROL_TAG_UNIT:
                return set_text(&culprit->unit, clean, field);
        case CONTROL_TAG_UID:
                culprit->uid = control_field_u64(field);
                culprit->has_uid = true;
                break;
        case CONTROL_TAG_SINCE:
                culprit->since_usec = control_field_u64(field);
                break;
        case CONTROL_TAG_AT:
                culprit->last_usec = control_field_u64(field);
                break;
        case CONTROL_TAG_N_SHED:
                culprit->n_shed = control_field_u64(field);
                break;
        case CONTROL_TAG_N_BUSY:
                culprit->n_busy = control_field_u64(field);
                break;
        }
        return 0;
}

static int take_culprit(StatusFacts *facts, Cleaner clean, const Record *record) {
        ControlField field;
        size_t offset = 0;
        StatusCulprit *culprit;
        int r = 0;

        if (!grow(&facts->culprits, facts->n_culprits, sizeof(StatusCulprit)))
                return -ENOMEM;
        culprit = &facts->culprits[facts->n_culprits++];
        *culprit = (StatusCulprit){ 0 };
        while (r == 0 && control_next_field(record->fields, record->n_fields, &offset, &field))
                r = take_culprit_field(culprit, clean, &field);
        return r;
}

/* A state that does not occur is not told; where none is told, either there are no nodes, or the daemon is older
 * than that. */
bool status_facts_n_in_state(const StatusFacts *facts, const char *state, uint64_t *ret) {
        *ret = 0;
        for (size_t i = 0; i < facts->n_states; i++)
                if (strcmp(facts->states[i].name, state) == 0)
                        *ret = facts->states[i].value;
        return facts->n_states > 0 || (facts->has_number[STATUS_N_NODES] && facts->numbers[STATUS_N_NODES] == 0);
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
                else if (record.kind == CONTROL_CULPRIT_RECORD)
                        r = take_culprit(&facts, clean, &record);
                if (r < 0)
                        return r;
        }
        if (!has_status)
                return -EBADMSG;
        *ret = facts;
        facts = (StatusFacts){ 0 };
        return 0;
}
