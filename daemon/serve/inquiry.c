/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows which questions operators ask about the present and the past. What is registered comes from memory; what
 * was, from the file, by the store's thread, while the asker's connection is held.
 *
 * The trap: an answer of the store can come after its asker has left, or never (a disk that hangs).
 */

#include "serve/inquiry.h"

#include <stdlib.h>

#include "serve/answer.h"
#include "serve/records.h"
#include "serve/selection.h"
#include "timer.h"

/* A registration that an asker is told of as one that lasts. */
typedef struct Living {
        uint64_t serial, since_usec;
} Living;

typedef struct LivingList {
        Living *living; /* sorted once they are all there */
        size_t n_living;
} LivingList;

typedef struct Asker {
        struct Asker *next;
        Inquiry *inquiry;
        Conn *conn;
        uint64_t query; /* the store's number for it */
        uint64_t since_usec; /* CLOCK_MONOTONIC */
        ControlBuffer buffer; /* what is known already: the head, and the nodes that are registered */
        LivingList living;    /* who these are */
} Asker;

struct Inquiry {
        sd_event *event;
        InquiryParts parts;
        sd_event_source *patience;
        Asker *first; /* newest first */
};

static uint64_t inquiry_now(const Inquiry *inquiry) {
        uint64_t now = 0;

        sd_event_now(inquiry->event, CLOCK_MONOTONIC, &now);
        return now;
}

/* --- why -------------------------------------------------------------------------------------- */

static void put_evidence(ControlBuffer *buffer, Inquiry *inquiry, const Node *node) {
        if (node->connection && !conn_has_ended(node->connection))
                control_put_string(buffer, CONTROL_TAG_EVIDENCE_OF_LIFE, "connection");
        if (vigil_asks_listener(inquiry->parts.vigil, node) == 1)
                control_put_string(buffer, CONTROL_TAG_EVIDENCE_OF_LIFE, "listener");
        if (node_is_elsewhere(node))
                control_put_string(buffer, CONTROL_TAG_EVIDENCE_OF_LIFE, "entry");
        if (node->facts.is_awaited && node->await_until_usec != USEC_INFINITE)
                control_put_string(buffer, CONTROL_TAG_EVIDENCE_OF_LIFE, "grace");
        if (node->connection && fdstore_is_stored(conn_stored(node->connection)))
                control_put_u8(buffer, CONTROL_TAG_IN_FD_STORE, 1);
}

static void put_holder(ControlBuffer *buffer, Inquiry *inquiry, const Node *node) {
        control_put_record_begin(buffer, CONTROL_NODE_RECORD);
        records_put_node_fields(buffer, node);
        put_evidence(buffer, inquiry, node);
        control_put_record_end(buffer);
}

void inquiry_why(Inquiry *inquiry, Conn *conn, const ControlRequest *request) {
        const Registry *registry = inquiry->parts.registry;
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };
        const Node *former;
        const Refused *refused;
        Selection selection;
        const char *wrong = selection_parse(request, true, &selection);

        if (wrong) {
                answer_error(conn, CONTROL_E_MALFORMED, wrong);
                return;
        }
        control_put_answer_head(&buffer);
        for (Node *node = NULL; (node = selection_next(&selection, registry, node));)
                put_holder(&buffer, inquiry, node);
        refused = refusals_find(inquiry->parts.refusals, selection.name, selection.n_name);
        if (refused)
                records_put_refused(&buffer, refused);
        former = registry_find_former(registry, selection.name, selection.n_name);
        if (former)
                records_put_tenure(&buffer, CONTROL_TENURE_RECORD, former, node_end_to_string(former->end),
                                   former->ended_by[0] ? former->ended_by : NULL);
        if (inquiry->parts.statics)
                statics_tell_name(inquiry->parts.statics, selection.name, selection.n_name, records_put_entry, &buffer);
        answer_buffer(conn, &buffer);
}

/* --- who was registered when it was asked ------------------------------------------------------- */

/* Whose registration ends while the store reads is not told of twice. That goes by what was told, not by the times: a
 * clock that was set back would hide all that has ended since, by its word, in the future. */

static void living_list_done(LivingList *list) {
        free(list->living);
        *list = (LivingList){ 0 };
}

static int living_compare(const void *a, const void *b) {
        const Living *x = a, *y = b;

        if (x->serial != y->serial)
                return x->serial < y->serial ? -1 : 1;
        return (x->since_usec > y->since_usec) - (x->since_usec < y->since_usec);
}

static Living living_of(const Node *node) {
        return (Living){ .serial = node->serial, .since_usec = node->since_usec };
}

static bool living_list_has(const LivingList *list, const Node *node) {
        Living key = living_of(node);

        return list->n_living > 0 && bsearch(&key, list->living, list->n_living, sizeof key, living_compare);
}

/* Those who are still registered and were so between the times of `query`. 0 or -ENOMEM. */
static int living_list_put(LivingList *list, ControlBuffer *buffer, const Registry *registry, const StoreQuery *query) {
        list->living = calloc(registry_n_nodes(registry) + 1, sizeof *list->living);
        if (!list->living)
                return -ENOMEM;
        for (const Node *node = registry_newest(registry); node; node = node->older) {
                if (node->since_usec > query->to_usec)
                        continue;
                if (query->name && !node_info_has_name(&node->info, query->name, query->n_name))
                        continue;
                records_put_node(buffer, node);
                list->living[list->n_living++] = living_of(node);
        }
        qsort(list->living, list->n_living, sizeof *list->living, living_compare);
        return 0;
}

/* --- the past --------------------------------------------------------------------------------- */

static void asker_free(Asker *asker) {
        Asker **link = &asker->inquiry->first;

        while (*link != asker)
                link = &(*link)->next;
        *link = asker->next;
        control_buffer_done(&asker->buffer);
        living_list_done(&asker->living);
        free(asker);
}

static void asker_on_left(void *userdata, Conn *conn) {
        Asker *asker = userdata;

        (void)conn;
        store_cancel_query(asker->inquiry->parts.store, asker->query);
        asker_free(asker);
}

static int inquiry_on_impatient(sd_event_source *source, uint64_t usec, void *userdata) {
        Inquiry *inquiry = userdata;
        uint64_t now = inquiry_now(inquiry), first = USEC_INFINITE;

        (void)usec;
        for (Asker *asker = inquiry->first, *next; asker; asker = next) {
                next = asker->next;
                if (asker->since_usec + INQUIRY_PATIENCE_USEC > now) {
                        first = min_u64(first, asker->since_usec + INQUIRY_PATIENCE_USEC);
                        continue;
                }
                store_cancel_query(inquiry->parts.store, asker->query);
                answer_error(asker->conn, CONTROL_E_UNAVAILABLE, "The disk does not answer.");
                asker_free(asker);
        }
        if (first == USEC_INFINITE)
                return 0;
        timer_arm(source, first);
        return 0;
}

/* Takes what is in `buffer` and `living` on success. */
static int asker_new(Inquiry *inquiry, Conn *conn, uint64_t query, ControlBuffer *buffer, LivingList *living) {
        Asker *asker = calloc(1, sizeof *asker);
        int r;

        if (!asker)
                return -ENOMEM;
        r = conn_hold(conn, PLACE_ASKING, STORE_QUERIES_MAX, &(ConnHolder){ asker_on_left, asker });
        if (r < 0) {
                free(asker);
                return r;
        }
        *asker = (Asker){
                .next = inquiry->first,
                .inquiry = inquiry,
                .conn = conn,
                .query = query,
                .since_usec = inquiry_now(inquiry),
                .buffer = *buffer,
                .living = *living,
        };
        *buffer = (ControlBuffer){ 0 };
        *living = (LivingList){ 0 };
        inquiry->first = asker;
        if (!asker->next)
                timer_arm(inquiry->patience, asker->since_usec + INQUIRY_PATIENCE_USEC);
        return 0;
}

static void answer_query_failure(Conn *conn, int error) {
        if (error == -EBUSY)
                answer_error(conn, CONTROL_E_BUSY, "Too many wait for the registry file already.");
        else if (error == -ENOMEM)
                answer_error(conn, CONTROL_E_INTERNAL, "There is no memory for that.");
        else
                answer_error(conn, CONTROL_E_UNAVAILABLE,
                             "The past is not kept, or cannot be read now: 'rollcall status' says why.");
}

static void inquiry_ask(Inquiry *inquiry, Conn *conn, const StoreQuery *query) {
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };
        _cleanup_(living_list_done) LivingList living = { 0 };
        uint64_t number;
        int r = 0;

        control_put_answer_head(&buffer);
        if (query->cursor == 0)
                r = living_list_put(&living, &buffer, inquiry->parts.registry, query);
        if (r >= 0)
                r = store_query(inquiry->parts.store, query, &number);
        if (r < 0) {
                answer_query_failure(conn, r);
                return;
        }
        r = asker_new(inquiry, conn, number, &buffer, &living);
        if (r < 0) {
                store_cancel_query(inquiry->parts.store, number);
                answer_query_failure(conn, r);
        }
}

static bool read_u64(const ControlRequest *request, ControlTag tag, uint64_t *ret) {
        ControlField field;

        if (!control_find_field(request->fields, request->n_fields, tag, &field))
                return false;
        *ret = control_field_u64(&field);
        return true;
}

void inquiry_history(Inquiry *inquiry, Conn *conn, const ControlRequest *request) {
        StoreQuery query = { .to_usec = INT64_MAX, .n_max = STORE_ANSWER_MAX };
        Selection selection;
        const char *wrong = selection_parse(request, false, &selection);
        bool has_until;

        if (wrong) {
                answer_error(conn, CONTROL_E_MALFORMED, wrong);
                return;
        }
        query.name = selection.name;
        query.n_name = selection.n_name;
        read_u64(request, CONTROL_TAG_SINCE, &query.from_usec);
        has_until = read_u64(request, CONTROL_TAG_UNTIL, &query.to_usec);
        read_u64(request, CONTROL_TAG_CURSOR, &query.cursor);
        if (has_until && query.from_usec > query.to_usec) {
                answer_error(conn, CONTROL_E_MALFORMED, "That time ends before it begins.");
                return;
        }
        inquiry_ask(inquiry, conn, &query);
}

void inquiry_at(Inquiry *inquiry, Conn *conn, const ControlRequest *request) {
        StoreQuery query = { .n_max = STORE_ANSWER_MAX };

        if (!read_u64(request, CONTROL_TAG_AT, &query.from_usec)) {
                answer_error(conn, CONTROL_E_MALFORMED, "The request says no time.");
                return;
        }
        query.to_usec = query.from_usec;
        read_u64(request, CONTROL_TAG_CURSOR, &query.cursor);
        inquiry_ask(inquiry, conn, &query);
}

static void asker_answer(Asker *asker, const StoreAnswer *answer) {
        ControlBuffer *buffer = &asker->buffer;

        for (size_t i = 0; i < answer->n_tenures; i++) {
                const Tenure *tenure = answer->tenures + i;

                if (living_list_has(&asker->living, tenure->node))
                        continue;
                records_put_tenure(buffer, CONTROL_TENURE_RECORD, tenure->node, tenure->how, tenure->by);
        }
        if (answer->cursor != 0) {
                control_put_record_begin(buffer, CONTROL_MORE_RECORD);
                control_put_u64(buffer, CONTROL_TAG_CURSOR, answer->cursor);
                control_put_record_end(buffer);
        }
        answer_buffer(asker->conn, buffer);
}

void inquiry_on_answer(Inquiry *inquiry, const StoreAnswer *answer) {
        for (Asker *asker = inquiry->first; asker; asker = asker->next) {
                if (asker->query != answer->query)
                        continue;
                if (answer->error < 0)
                        answer_query_failure(asker->conn, answer->error);
                else
                        asker_answer(asker, answer);
                asker_free(asker);
                return;
        }
}

/* --- life ------------------------------------------------------------------------------------- */

int inquiry_new(Inquiry **ret, sd_event *event, const InquiryParts *parts) {
        _cleanup_(inquiry_freep) Inquiry *inquiry = calloc(1, sizeof *inquiry);
        int r;

        if (!inquiry)
                return -ENOMEM;
        inquiry->event = event;
        inquiry->parts = *parts;
        r = timer_new(&inquiry->patience, event, 100 * USEC_PER_MSEC, inquiry_on_impatient, inquiry);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(inquiry);
        return 0;
}

Inquiry *inquiry_free(Inquiry *inquiry) {
        if (!inquiry)
                return NULL;
        while (inquiry->first)
                asker_free(inquiry->first);
        sd_event_source_disable_unref(inquiry->patience);
        free(inquiry);
        return NULL;
}
