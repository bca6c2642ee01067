/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows who may order what about names, and that an order holds from the moment at which it is on disk. Does not know
 * what follows from it for nodes (serve/statics, serve/pins).
 *
 * P1, P2: what an operator orders must outlive a power cut. So it is written first; where the disk does not take it,
 * he is told, and nothing has changed: an order that is forgotten by the next start would be worse than none. What he
 * needs to hold without a disk has its place in nodes.d.
 *
 * The trap: a disk that hangs may take the order after all. Whoever waited is told that it is not known; the order
 * holds from when it is written, whoever is still there to hear of it.
 */

#include "serve/entry_orders.h"

#include <stdio.h>
#include <string.h>

#include "log.h"
#include "serve/answer.h"
#include "serve/records.h"
#include "serve/entry_rules.h"
#include "serve/said.h"
#include "serve/selection.h"
#include "timer.h"

typedef struct EntryOrder {
        struct EntryOrder *next;
        EntryOrders *orders;
        Conn *conn; /* NULL: he has left, or was told that it is not known */
        uint64_t number;     /* the store's */
        uint64_t since_usec; /* CLOCK_MONOTONIC */
        StoreOrder order;    /* owned */
        char by[NODE_ENDED_BY_MAX];
} EntryOrder;

struct EntryOrders {
        sd_event *event;
        EntryOrdersParts parts;
        sd_event_source *patience;
        EntryOrder *first;
};

static uint64_t orders_now(const EntryOrders *orders) {
        uint64_t now = 0;

        sd_event_now(orders->event, CLOCK_MONOTONIC, &now);
        return now;
}

static bool is_about_entry(const StoreOrder *order) {
        return order->kind == STORE_ADD_ENTRY || order->kind == STORE_REMOVE_ENTRY;
}

/* --- records ---------------------------------------------------------------------------------- */

static void put_pin(ControlBuffer *buffer, const Entry *pin, bool with_by) {
        control_put_record_begin(buffer, CONTROL_PIN_RECORD);
        control_put_text(buffer, CONTROL_TAG_NAME, pin->name, pin->n_name);
        control_put_u16(buffer, CONTROL_TAG_PORT, pin->port);
        control_put_u64(buffer, CONTROL_TAG_SINCE, pin->since_usec);
        if (with_by && pin->by)
                control_put_string(buffer, CONTROL_TAG_BY, pin->by);
        control_put_record_end(buffer);
}

/* What holds already. */
static void orders_answer(EntryOrders *orders, Conn *conn, bool is_entry, const Entry *entry) {
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };
        const Entry *pin = entries_find(pins_get(orders->parts.pins), entry->name, entry->n_name, &ADDRESS_ANY);

        control_put_answer_head(&buffer);
        if (is_entry)
                statics_tell_one(orders->parts.statics, entry, records_put_entry, &buffer);
        else if (pin)
                put_pin(&buffer, pin, true);
        answer_buffer(conn, &buffer);
}

/* --- orders on their way to disk ---------------------------------------------------------------- */

static void pending_free(EntryOrder *pending) {
        EntryOrder **link = &pending->orders->first;

        while (*link != pending)
                link = &(*link)->next;
        *link = pending->next;
        entry_done(&pending->order.entry);
        free(pending);
}

/* What was ordered goes its way. */
static void pending_on_left(void *userdata, Conn *conn) {
        EntryOrder *pending = userdata;

        (void)conn;
        pending->conn = NULL;
}

static int orders_on_impatient(sd_event_source *source, uint64_t usec, void *userdata) {
        EntryOrders *orders = userdata;
        uint64_t now = orders_now(orders), first = USEC_INFINITE;

        (void)usec;
        for (EntryOrder *pending = orders->first; pending; pending = pending->next) {
                uint64_t until = pending->since_usec + ENTRY_ORDERS_PATIENCE_USEC;

                if (!pending->conn)
                        continue;
                if (until > now) {
                        first = min_u64(first, until);
                        continue;
                }
                answer_error(pending->conn, CONTROL_E_UNAVAILABLE,
                             "The disk does not answer: whether it takes the order is not known yet.");
                pending->conn = NULL;
        }
        if (first == USEC_INFINITE)
                return 0;
        timer_arm(source, first);
        return 0;
}

/* It runs for the one who waits longest. */
static void orders_arm_patience(EntryOrders *orders, uint64_t until_usec) {
        int enabled = SD_EVENT_OFF;

        if (sd_event_source_get_enabled(orders->patience, &enabled) < 0 || enabled != SD_EVENT_OFF)
                return;
        timer_arm(orders->patience, until_usec);
}

static void orders_answer_failure(Conn *conn, int error) {
        if (error == -EBUSY)
                answer_error(conn, CONTROL_E_BUSY, "Too many wait already.");
        else if (error == -ENOMEM)
                answer_error(conn, CONTROL_E_INTERNAL, "There is no memory for that.");
        else
                answer_error(conn, CONTROL_E_UNAVAILABLE,
                             "Nothing has changed: the registry file takes no writes now, or none is kept; 'rollcall "
                             "status' says why. Entries in nodes.d need no registry file.");
}

/* Takes `order` on success. */
static int orders_submit(EntryOrders *orders, Conn *conn, StoreOrder *order) {
        EntryOrder *pending = calloc(1, sizeof *pending);
        int r;

        if (!pending)
                return -ENOMEM;
        r = conn_hold(conn, PLACE_ASKING, STORE_QUERIES_MAX, &(ConnHolder){ pending_on_left, pending });
        if (r < 0) {
                free(pending);
                return r;
        }
        *pending = (EntryOrder){ .orders = orders, .conn = conn, .since_usec = orders_now(orders), .order = *order };
        snprintf(pending->by, sizeof pending->by, "%s", order->entry.by);
        *order = (StoreOrder){ .kind = order->kind };
        pending->next = orders->first;
        orders->first = pending;
        r = store_order(orders->parts.store, &pending->order, &pending->number);
        if (r < 0) {
                orders_answer_failure(conn, r);
                pending_free(pending);
                return 0;
        }
        orders_arm_patience(orders, pending->since_usec + ENTRY_ORDERS_PATIENCE_USEC);
        return 0;
}

static void log_order(const EntryOrder *pending) {
        const Entry *entry = &pending->order.entry;
        LogFields fields = { .node = entry->name, .n_node = entry->n_name, .port = entry->port };
        char address[ADDRESS_TEXT_MAX];

        address_format(&entry->address, address);
        switch (pending->order.kind) {
        case STORE_ADD_ENTRY:
                log_event(LOG_NOTICE, LOG_EVENT_ENTRY, &fields, "%s at port %u of %s was entered by %s", entry->name,
                          entry->port, address, pending->by);
                break;
        case STORE_REMOVE_ENTRY:
                log_event(LOG_NOTICE, LOG_EVENT_ENTRY, &fields, "The entry of %s at port %u of %s was removed by %s",
                          entry->name, entry->port, address, pending->by);
                break;
        case STORE_ADD_PIN:
                log_event(LOG_NOTICE, LOG_EVENT_ENTRY, &fields, "%s was pinned to port %u by %s", entry->name,
                          entry->port, pending->by);
                break;
        case STORE_REMOVE_PIN:
                log_event(LOG_NOTICE, LOG_EVENT_ENTRY, &fields, "The pin of %s to port %u was removed by %s",
                          entry->name, entry->port, pending->by);
                break;
        }
}

/* It is on disk. */
static int orders_apply(EntryOrders *orders, const EntryOrder *pending) {
        const StoreOrder *order = &pending->order;
        _cleanup_(entry_done) Entry copy = { 0 };

        if (entry_copy(&order->entry, &copy) < 0)
                return -ENOMEM;
        switch (order->kind) {
        case STORE_ADD_ENTRY:
                return statics_put(orders->parts.statics, &copy);
        case STORE_REMOVE_ENTRY:
                statics_remove(orders->parts.statics, &copy, pending->by);
                return 0;
        case STORE_ADD_PIN:
                return pins_put(orders->parts.pins, &copy);
        case STORE_REMOVE_PIN:
                pins_remove(orders->parts.pins, copy.name, copy.n_name);
                return 0;
        }
        return 0;
}

/* One that is removed is told as it was. */
static void orders_finish(EntryOrders *orders, EntryOrder *pending) {
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };
        const StoreOrder *order = &pending->order;
        int r;

        control_put_answer_head(&buffer);
        if (order->kind == STORE_REMOVE_ENTRY)
                statics_tell_ordered(orders->parts.statics, &order->entry, records_put_entry, &buffer);
        r = orders_apply(orders, pending);
        log_order(pending);
        if (r < 0)
                log_error("What was ordered for %s holds from the next start on: %s", order->entry.name, strerror(-r));
        if (order->kind == STORE_ADD_ENTRY)
                statics_tell_ordered(orders->parts.statics, &order->entry, records_put_entry, &buffer);
        if (!is_about_entry(order))
                put_pin(&buffer, &order->entry, true);
        if (pending->conn)
                answer_buffer(pending->conn, &buffer);
}

void entry_orders_on_answer(EntryOrders *orders, const StoreAnswer *answer) {
        for (EntryOrder *pending = orders->first; pending; pending = pending->next) {
                if (pending->number != answer->query)
                        continue;
                if (answer->error == 0)
                        orders_finish(orders, pending);
                else if (pending->conn)
                        orders_answer_failure(pending->conn, answer->error);
                pending_free(pending);
                return;
        }
}

/* --- what is ordered ---------------------------------------------------------------------------- */

/* A copy that is the order's. 0 or -ENOMEM. */
static int said_to_entry(const SaidEntry *said, uid_t uid, Entry *ret) {
        _cleanup_(entry_done) Entry entry = {
                .n_name = said->selection.n_name,
                .address = said->address,
                .port = (uint16_t)said->port,
                .since_usec = now_usec(CLOCK_REALTIME),
        };

        entry.name = strndup(said->selection.name, said->selection.n_name);
        if (!entry.name || (said->host && !(entry.host = strndup(said->host, said->n_host))))
                return -ENOMEM;
        if (asprintf(&entry.by, "uid %u", uid) < 0) {
                entry.by = NULL;
                return -ENOMEM;
        }
        *ret = entry;
        entry = (Entry){ 0 };
        return 0;
}

/* Two orders of one name at a time would be judged by what holds before either. */
static bool orders_is_pending(const EntryOrders *orders, const char *name, size_t n_name) {
        for (const EntryOrder *pending = orders->first; pending; pending = pending->next)
                if (pending->order.entry.n_name == n_name && memcmp(pending->order.entry.name, name, n_name) == 0)
                        return true;
        return false;
}

/* Nor two pins of one port, whatever the names. */
static bool orders_is_port_pending(const EntryOrders *orders, const StoreOrder *order) {
        for (const EntryOrder *pending = orders->first; pending; pending = pending->next)
                if (pending->order.kind == STORE_ADD_PIN && pending->order.entry.port == order->entry.port)
                        return order->kind == STORE_ADD_PIN;
        return false;
}

static size_t orders_n_pending(const EntryOrders *orders, StoreOrderKind kind) {
        size_t n = 0;

        for (const EntryOrder *pending = orders->first; pending; pending = pending->next)
                n += pending->order.kind == kind;
        return n;
}

static Objection orders_judge(const EntryOrders *orders, bool has_address, StoreOrder *order) {
        const EntryFacts facts = {
                .ordered = statics_ordered(orders->parts.statics),
                .filed = statics_filed(orders->parts.statics),
                .pins = pins_get(orders->parts.pins),
                .is_pending = orders_is_pending(orders, order->entry.name, order->entry.n_name),
                .is_port_pending = orders_is_port_pending(orders, order),
                .n_pending = orders_n_pending(orders, order->kind),
        };

        return entry_rules_judge(&facts, has_address, order);
}

static StoreOrderKind kind_of(const ControlRequest *request) {
        switch (request->kind) {
        case CONTROL_ADD:
                return STORE_ADD_ENTRY;
        case CONTROL_REMOVE:
                return STORE_REMOVE_ENTRY;
        case CONTROL_PIN:
                return STORE_ADD_PIN;
        default:
                return STORE_REMOVE_PIN;
        }
}

static bool is_permitted(Conn *conn, const SaidEntry *said, uid_t *ret_uid) {
        LogFields fields = { .node = said->selection.name, .n_node = said->selection.n_name };

        if (conn_get_peer_uid(conn, ret_uid) < 0)
                *ret_uid = NODE_UID_UNKNOWN;
        if (*ret_uid != NODE_UID_UNKNOWN && (*ret_uid == 0 || *ret_uid == geteuid()))
                return true;
        log_event(LOG_NOTICE, LOG_EVENT_ENTRY, &fields, "An order about a name by uid %d was not carried out",
                  (int)*ret_uid);
        answer_error(conn, CONTROL_E_DENIED, "Only root and the daemon's own user may order that.");
        return false;
}

void entry_orders_on_request(EntryOrders *orders, Conn *conn, const ControlRequest *request) {
        StoreOrder order = { .kind = kind_of(request) };
        bool is_addition = order.kind == STORE_ADD_ENTRY || order.kind == STORE_ADD_PIN;
        Objection objection = { 0 };
        uid_t uid;
        SaidEntry said;
        const char *wrong = said_entry_parse(request, is_addition, &said);
        int r;

        if (wrong) {
                answer_error(conn, CONTROL_E_MALFORMED, wrong);
                return;
        }
        if (!is_permitted(conn, &said, &uid))
                return;
        if (!is_about_entry(&order)) {
                said.address = ADDRESS_ANY;
                said.host = NULL;
        }
        r = said_to_entry(&said, uid, &order.entry);
        if (r >= 0)
                objection = orders_judge(orders, said.has_address, &order);
        if (r >= 0 && objection.is_done)
                orders_answer(orders, conn, is_about_entry(&order), &order.entry);
        else if (r >= 0 && objection.error)
                answer_error(conn, objection.error, objection.text);
        else if (r >= 0)
                r = orders_submit(orders, conn, &order);
        if (r < 0)
                orders_answer_failure(conn, r);
        entry_done(&order.entry);
}

/* --- telling ------------------------------------------------------------------------------------- */

void entry_orders_tell_pins(EntryOrders *orders, Conn *conn, const ControlRequest *request) {
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };
        const Entries *pins = pins_get(orders->parts.pins);
        bool with_by = conn_kind(conn) == CONN_CONTROL;
        const Entry *pin = NULL;
        Selection selection;
        const char *wrong = selection_parse(request, !with_by, &selection);

        if (wrong) {
                answer_error(conn, CONTROL_E_MALFORMED, wrong);
                return;
        }
        control_put_answer_head(&buffer);
        if (selection.name)
                pin = entries_find(pins, selection.name, selection.n_name, &ADDRESS_ANY);
        if (pin)
                put_pin(&buffer, pin, with_by);
        for (size_t i = 0; i < pins->n_entries && !selection.name; i++)
                put_pin(&buffer, pins->entries + i, with_by);
        answer_buffer(conn, &buffer);
}

void entry_orders_tell_entries(EntryOrders *orders, Conn *conn) {
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };

        control_put_answer_head(&buffer);
        statics_tell_all(orders->parts.statics, records_put_entry, &buffer);
        answer_buffer(conn, &buffer);
}

/* --- life ------------------------------------------------------------------------------------------ */

int entry_orders_new(EntryOrders **ret, sd_event *event, const EntryOrdersParts *parts) {
        _cleanup_(entry_orders_freep) EntryOrders *orders = calloc(1, sizeof *orders);
        int r;

        if (!orders)
                return -ENOMEM;
        orders->event = event;
        orders->parts = *parts;
        r = timer_new(&orders->patience, event, 100 * USEC_PER_MSEC, orders_on_impatient, orders);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(orders);
        return 0;
}

/* Those who still wait are left to their connections. */
EntryOrders *entry_orders_free(EntryOrders *orders) {
        if (!orders)
                return NULL;
        while (orders->first)
                pending_free(orders->first);
        sd_event_source_disable_unref(orders->patience);
        free(orders);
        return NULL;
}
