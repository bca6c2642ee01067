/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows the order of things: decide, apply, submit, and answer when it is written. Does not know bytes,
 * nor why an event came about.
 *
 * P1: nobody reads "registered" before the row is in the file. P2: but nobody waits for a disk that fails
 * or hangs; then answers leave at once, and the daemon says that it is degraded until the file is whole
 * again.
 */

#include "serve/ledger.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "log.h"
#include "timer.h"

/* Those who wait for the disk have waited; it comes once for each transaction, so that nobody else waits for long. */
#define WRITTEN_PRIORITY (SD_EVENT_PRIORITY_NORMAL - 1)

struct Ledger {
        sd_event *event;
        Registry *registry;
        Store *store;
        Counters *counters;
        LedgerHandler handler;

        sd_event_source *written; /* the store has something to say */
        sd_event_source *patience;
        sd_event_source *overdue;
        uint64_t overdue_revision;
        Conn *first, *last; /* wait for their commit, in order of revision */
        uint64_t hanging_since_revision;
        uint64_t unwritten_revision; /* the last that was answered before it was on disk */
        bool is_hanging;
        StoreHealth health; /* as it was told */
        bool is_health_told; /* not before the start is over: then every store is opening */
        char reason[512]; /* "" while healthy */
};

static uint64_t ledger_now(const Ledger *ledger, clockid_t clock) {
        uint64_t now = 0;

        sd_event_now(ledger->event, clock, &now);
        return now;
}

/* --- who waits -------------------------------------------------------------------------------- */

static void waiting_append(Ledger *ledger, Conn *conn, uint64_t revision) {
        ConnWait *wait = conn_wait(conn);

        *wait = (ConnWait){
                .previous = ledger->last,
                .revision = revision,
                .since_usec = ledger_now(ledger, CLOCK_MONOTONIC),
                .is_waiting = true,
        };
        if (ledger->last)
                conn_wait(ledger->last)->next = conn;
        else
                ledger->first = conn;
        ledger->last = conn;
}

static void waiting_remove(Ledger *ledger, Conn *conn) {
        ConnWait *wait = conn_wait(conn);

        if (!wait->is_waiting)
                return;
        if (wait->previous)
                conn_wait(wait->previous)->next = wait->next;
        else
                ledger->first = wait->next;
        if (wait->next)
                conn_wait(wait->next)->previous = wait->previous;
        else
                ledger->last = wait->previous;
        *wait = (ConnWait){ 0 };
}

static void ledger_answer(Ledger *ledger, Conn *conn) {
        conn_release_answer(conn);
        ledger->handler.on_answered(ledger->handler.userdata, conn);
}

static void waiting_release(Ledger *ledger, Conn *conn) {
        waiting_remove(ledger, conn);
        ledger_answer(ledger, conn);
}

static void ledger_note_unwritten(Ledger *ledger, uint64_t revision) {
        ledger->counters->n_unwritten++;
        ledger->unwritten_revision = max_u64(ledger->unwritten_revision, revision);
}

static void waiting_release_all_unwritten(Ledger *ledger) {
        while (ledger->first) {
                ledger_note_unwritten(ledger, conn_wait(ledger->first)->revision);
                waiting_release(ledger, ledger->first);
        }
}

/* The timer runs while somebody waits; it looks at the one who waits longest. */
static void patience_arm(Ledger *ledger) {
        if (!ledger->first)
                return;
        timer_arm(ledger->patience, conn_wait(ledger->first)->since_usec + STORE_COMMIT_PATIENCE_USEC);
}

/* --- degraded or not -------------------------------------------------------------------------- */

const char *ledger_degraded_reason(const Ledger *ledger) {
        return ledger->reason[0] ? ledger->reason : NULL;
}

/* P2: with a file that takes no writes, what was answered is what counts. */
uint64_t ledger_tellable_revision(const Ledger *ledger) {
        if (ledger->health != STORE_OK && store_health(ledger->store) != STORE_OK)
                return registry_revision(ledger->registry);
        return store_committed_revision(ledger->store);
}

static void ledger_describe(Ledger *ledger) {
        StoreStatus status;

        store_get_status(ledger->store, &status);
        switch (ledger->health) {
        case STORE_OK:
                ledger->reason[0] = 0;
                break;
        case STORE_NO_FILE:
                snprintf(ledger->reason, sizeof ledger->reason, "no registry file%s%s: names are kept in memory only",
                         status.detail[0] ? ", " : "", status.detail);
                break;
        case STORE_OPENING:
                snprintf(ledger->reason, sizeof ledger->reason, "the registry file has not been read yet");
                break;
        case STORE_HANGING:
                snprintf(ledger->reason, sizeof ledger->reason,
                         "the disk has not answered for %u s: new names are in memory only",
                         (unsigned)(STORE_COMMIT_PATIENCE_USEC / USEC_PER_SEC));
                break;
        case STORE_TOO_NEW:
        case STORE_FAILING:
                snprintf(ledger->reason, sizeof ledger->reason,
                         "the registry file cannot be written (%s): new names are in memory only",
                         status.detail);
                break;
        case _STORE_HEALTH_N:
                break;
        }
}

/* Says loudly what has become of the file, once for each turn for the worse or the better. */
void ledger_check_health(Ledger *ledger) {
        StoreHealth health = store_health(ledger->store);

        /* A file that takes writes again is whole when it has what was answered meanwhile (P1). */
        if (health == STORE_OK && store_committed_revision(ledger->store) < ledger->unwritten_revision)
                return;
        if (health == ledger->health && ledger->is_health_told)
                return;
        ledger->health = health;
        ledger_describe(ledger);
        if (ledger->reason[0])
                log_event(LOG_ERR, LOG_EVENT_DEGRADED, NULL, "Degraded: %s", ledger->reason);
        else if (ledger->is_health_told)
                log_event(LOG_NOTICE, LOG_EVENT_HEALED, NULL,
                          "The registry file is whole again: every name is on disk");
        ledger->is_health_told = true;
        ledger->handler.on_change(ledger->handler.userdata);
}

/* What is submitted now should be on disk by then. */
static void overdue_arm(Ledger *ledger) {
        int enabled = SD_EVENT_OFF;

        if (sd_event_source_get_enabled(ledger->overdue, &enabled) < 0 || enabled != SD_EVENT_OFF)
                return;
        ledger->overdue_revision = registry_revision(ledger->registry);
        timer_arm(ledger->overdue, ledger_now(ledger, CLOCK_MONOTONIC) + STORE_COMMIT_PATIENCE_USEC);
}

static void ledger_hang(Ledger *ledger) {
        ledger->is_hanging = true;
        ledger->hanging_since_revision = registry_revision(ledger->registry);
        store_set_hanging(ledger->store, true);
        ledger_check_health(ledger);
        waiting_release_all_unwritten(ledger);
        ledger->handler.on_tellable(ledger->handler.userdata, ledger_tellable_revision(ledger));
}

static int ledger_on_impatient(sd_event_source *source, uint64_t usec, void *userdata) {
        Ledger *ledger = userdata;

        (void)source;
        (void)usec;
        if (!ledger->first)
                return 0;
        if (conn_wait(ledger->first)->since_usec + STORE_COMMIT_PATIENCE_USEC >
            ledger_now(ledger, CLOCK_MONOTONIC)) {
                patience_arm(ledger);
                return 0;
        }
        ledger_hang(ledger);
        return 0;
}

/* The same where nobody waits who registers: others wait to be told what has changed. */
static int ledger_on_overdue(sd_event_source *source, uint64_t usec, void *userdata) {
        Ledger *ledger = userdata;
        uint64_t committed = store_committed_revision(ledger->store);

        (void)source;
        (void)usec;
        if (committed < ledger->overdue_revision && store_health(ledger->store) == STORE_OK)
                ledger_hang(ledger);
        else if (committed < registry_revision(ledger->registry))
                overdue_arm(ledger);
        return 0;
}

static void ledger_write_whole(Ledger *ledger) {
        size_t n_nodes = registry_n_nodes(ledger->registry), n = 0;
        _cleanup_(freep) Node **nodes = calloc(n_nodes ? n_nodes : 1, sizeof *nodes);

        /* Without memory for it now, the store goes on wanting it. */
        if (!nodes)
                return;
        for (Node *node = registry_newest(ledger->registry); node; node = node->older)
                if (!node_is_elsewhere(node))
                        nodes[n++] = node;
        store_submit_whole(ledger->store, registry_revision(ledger->registry), nodes, n,
                           registry_reserved_creation(ledger->registry));
}

void ledger_answer_written(Ledger *ledger) {
        uint64_t committed = store_committed_revision(ledger->store);

        while (ledger->first && conn_wait(ledger->first)->revision <= committed)
                waiting_release(ledger, ledger->first);
}

static void ledger_take_notices(Ledger *ledger) {
        char notice[STORE_NOTICE_MAX];

        while (store_take_notice(ledger->store, notice))
                log_event(LOG_WARNING, LOG_EVENT_REGISTRY_FILE, NULL, "%s", notice);
}

/* Before the whole is written, lest that loses what was read. */
static void ledger_take_loaded(Ledger *ledger) {
        _cleanup_(store_loaded_freep) StoreLoaded *loaded = store_take_loaded(ledger->store);

        if (loaded)
                ledger->handler.on_loaded(ledger->handler.userdata, loaded);
}

static void ledger_take_answers(Ledger *ledger) {
        StoreAnswer *answer;

        while ((answer = store_take_answer(ledger->store))) {
                ledger->handler.on_answer(ledger->handler.userdata, answer);
                store_answer_free(answer);
        }
}

static int ledger_on_written(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        Ledger *ledger = userdata;
        uint64_t committed;

        (void)source;
        (void)fd;
        (void)events;
        store_clear_event(ledger->store);
        committed = store_committed_revision(ledger->store);
        ledger_answer_written(ledger);
        ledger_take_answers(ledger);
        if (ledger->is_hanging && committed >= ledger->hanging_since_revision) {
                ledger->is_hanging = false;
                store_set_hanging(ledger->store, false);
        }
        ledger_take_notices(ledger);
        ledger_take_loaded(ledger);
        if (store_wants_whole(ledger->store))
                ledger_write_whole(ledger);
        ledger_check_health(ledger);
        /* Not before it was told. */
        if (ledger->health != STORE_OK && store_health(ledger->store) != STORE_OK)
                waiting_release_all_unwritten(ledger);
        ledger->handler.on_tellable(ledger->handler.userdata, ledger_tellable_revision(ledger));
        return 0;
}

/* --- life ------------------------------------------------------------------------------------- */

int ledger_new(Ledger **ret, sd_event *event, Registry *registry, Store *store, Counters *counters,
               const LedgerHandler *handler) {
        _cleanup_(ledger_freep) Ledger *ledger = calloc(1, sizeof *ledger);
        int r;

        if (!ledger)
                return -ENOMEM;
        *ledger = (Ledger){
                .event = event,
                .registry = registry,
                .store = store,
                .counters = counters,
                .handler = *handler,
        };
        r = sd_event_add_io(event, &ledger->written, store_event_fd(store), EPOLLIN, ledger_on_written,
                            ledger);
        if (r >= 0)
                r = sd_event_source_set_priority(ledger->written, WRITTEN_PRIORITY);
        if (r >= 0)
                r = timer_new(&ledger->patience, event, 10 * USEC_PER_MSEC, ledger_on_impatient, ledger);
        if (r >= 0)
                r = timer_new(&ledger->overdue, event, 100 * USEC_PER_MSEC, ledger_on_overdue, ledger);
        if (r < 0)
                return r;
        ledger->health = STORE_OPENING;
        ledger_describe(ledger);
        *ret = TAKE_PTR(ledger);
        return 0;
}

Ledger *ledger_free(Ledger *ledger) {
        if (!ledger)
                return NULL;
        while (ledger->first)
                waiting_remove(ledger, ledger->first);
        sd_event_source_disable_unref(ledger->overdue);
        sd_event_source_disable_unref(ledger->patience);
        sd_event_source_disable_unref(ledger->written);
        free(ledger);
        return NULL;
}

/* --- the one way ------------------------------------------------------------------------------ */

static LogFields fields_of(const Node *node) {
        return (LogFields){
                .node = node->info.name,
                .n_node = node->info.n_name,
                .port = node->info.port,
                .unit = node->unit,
        };
}

/* A listener that closes before its connection is worth a notice; what systemd or the node itself says of it
 * stands in their own logs. */
static void log_state(const Node *node, NodeState state_before) {
        LogFields fields = fields_of(node);

        if (node->state == state_before)
                return;
        if (node->state_source == NODE_SOURCE_LISTENER)
                log_event(LOG_NOTICE, LOG_EVENT_NODE_STOPPING, &fields,
                          "%s is going: its listening socket (port %u) has closed, its connection to us has not",
                          node->info.name, node->info.port);
        else
                log_event(LOG_INFO, LOG_EVENT_NODE_STATE, &fields, "%s at port %u is %s (by its %s)",
                          node->info.name, node->info.port, node_state_to_string(node->state),
                          node_source_to_string(node->state_source));
}

/* What an operator does to a node is worth more than what the node does. */
static void log_end(const Change *change) {
        LogFields fields = fields_of(change->node);

        if (change->end == NODE_END_RELEASED)
                log_event(LOG_NOTICE, LOG_EVENT_NODE_RELEASED, &fields, "%s at port %u was released by %s",
                          change->node->info.name, change->node->info.port, change->by ? change->by : "nobody");
        else
                log_event(LOG_INFO, LOG_EVENT_NODE_ENDED, &fields, "%s%s at port %u is gone: %s",
                          change->node->info.name, change->node->facts.is_awaited ? ", awaited," : "",
                          change->node->info.port, node_end_to_string(change->end));
}

static void log_enter(const Node *node) {
        LogFields fields = fields_of(node);
        char address[ADDRESS_TEXT_MAX];

        if (node_is_elsewhere(node))
                log_event(LOG_INFO, LOG_EVENT_NODE_REGISTERED, &fields, "%s at port %u of %s is told of, by its static entry",
                          node->info.name, node->info.port, address_format(&node->scope, address));
        else if (node_is_static(node))
                log_event(LOG_INFO, LOG_EVENT_NODE_REGISTERED, &fields, "%s listens at port %u: it is there by its static entry",
                          node->info.name, node->info.port);
        else
                log_event(LOG_INFO, LOG_EVENT_NODE_REGISTERED, &fields, "%s registered at port %u", node->info.name,
                          node->info.port);
        if (node->pinned_port != 0 && node->pinned_port != node->info.port)
                log_event(LOG_WARNING, LOG_EVENT_ENTRY, &fields,
                          "%s is at port %u, though its name is pinned to port %u", node->info.name, node->info.port,
                          node->pinned_port);
}

static void log_change(const Change *change, NodeState state_before) {
        LogFields fields = fields_of(change->node);
        const char *name = change->node->info.name;
        unsigned port = change->node->info.port;

        switch (change->kind) {
        case CHANGE_REGISTER:
                log_enter(change->node);
                break;
        case CHANGE_RETURN:
                log_event(LOG_INFO, LOG_EVENT_NODE_RETURNED, &fields, "%s is back at port %u", name, port);
                break;
        case CHANGE_FACTS:
                log_state(change->node, state_before);
                break;
        case CHANGE_END:
                log_end(change);
                break;
        case CHANGE_NONE:
                break;
        }
}

/* Belongs to no revision: it goes before the registration that may need it, and must not announce that one
 * as written. */
void ledger_reserve_creations(Ledger *ledger) {
        if (registry_wants_creations(ledger->registry))
                store_submit_creations(ledger->store, 0,
                                       registry_reserve_creations(ledger->registry));
}

/* What the file is told. Where memory is short the store will ask for everything (store_wants_whole()). Nodes on other
 * machines are not in it: they follow from their entries. */
static void ledger_submit(Ledger *ledger, const Change *change, uint64_t now_usec) {
        uint64_t revision = registry_revision(ledger->registry);

        if (change->kind != CHANGE_NONE && node_is_elsewhere(change->node)) {
                store_submit_mark(ledger->store, revision);
                return;
        }
        switch (change->kind) {
        case CHANGE_REGISTER:
                ledger_reserve_creations(ledger);
                store_submit_put(ledger->store, revision, change->node);
                break;
        case CHANGE_RETURN:
        case CHANGE_FACTS:
                store_submit_put(ledger->store, revision, change->node);
                break;
        case CHANGE_END:
                store_submit_end(ledger->store, revision, change->node, change->end, change->by, now_usec);
                break;
        case CHANGE_NONE:
                break;
        }
}

static void ledger_count(Ledger *ledger, const Change *change) {
        if (change->kind == CHANGE_NONE || node_is_static(change->node))
                return;
        switch (change->kind) {
        case CHANGE_REGISTER:
                ledger->counters->n_registered++;
                break;
        case CHANGE_RETURN:
                ledger->counters->n_returned++;
                break;
        case CHANGE_END:
                ledger->counters->n_ended++;
                break;
        case CHANGE_FACTS:
        case CHANGE_NONE:
                break;
        }
}

/* One that ends before its registration was written is still told of it, as by stock epmd: some clients
 * close their side right after the request. */
static void ledger_drop_connection(Ledger *ledger, Conn *conn) {
        if (conn_wait(conn)->is_waiting) {
                waiting_remove(ledger, conn);
                conn_release_answer(conn);
        }
        conn_finish(conn);
}

/* Whoever is told looks at what may be told already, too: with a file that is not written to, that is all. */
static void ledger_tell(Ledger *ledger, const LedgerNews *news) {
        ledger->handler.on_news(ledger->handler.userdata, news);
        ledger->handler.on_tellable(ledger->handler.userdata, ledger_tellable_revision(ledger));
        ledger->handler.on_change(ledger->handler.userdata);
}

static void ledger_carry_change(Ledger *ledger, Change *change, uint64_t now_usec) {
        LedgerNews news;

        if (change->kind == CHANGE_NONE)
                return;
        news = (LedgerNews){
                .kind = change->kind,
                .node = change->node,
                .state_before = change->node->state,
                .end = change->end,
                .by = change->by,
                .connection_before = change->node->connection,
                .now_usec = now_usec,
        };
        registry_apply(ledger->registry, change);
        if (change->kind == CHANGE_RETURN && change->twin)
                conn_set_node(change->node->connection, change->node);
        news.revision = registry_revision(ledger->registry);
        ledger_submit(ledger, change, now_usec);
        overdue_arm(ledger);
        ledger_count(ledger, change);
        log_change(change, news.state_before);
        ledger_tell(ledger, &news);
        if (change->kind == CHANGE_END)
                change->node->connection = NULL;
        if (news.connection_before && !change->node->connection)
                ledger_drop_connection(ledger, news.connection_before);
}

int ledger_carry(Ledger *ledger, const Event *event, Reply *ret_reply) {
        Change change;
        int r;

        do {
                r = registry_decide(ledger->registry, event, &change, ret_reply);
                if (r < 0)
                        return r;
                ledger_carry_change(ledger, &change, event->now_usec);
        } while (r == REGISTRY_E_AGAIN);
        return 0;
}

void ledger_answer_when_written(Ledger *ledger, Conn *conn) {
        uint64_t revision = registry_revision(ledger->registry);

        /* Not before it was told; and no more once the file takes writes again. */
        if (ledger->health != STORE_OK && store_health(ledger->store) != STORE_OK) {
                ledger_note_unwritten(ledger, revision);
                ledger_answer(ledger, conn);
                return;
        }
        waiting_append(ledger, conn, revision);
        if (ledger->first == conn)
                patience_arm(ledger);
}

/* --- start ------------------------------------------------------------------------------------ */

void ledger_note_kept(Ledger *ledger, const Node *node, const char *reason) {
        LogFields fields = fields_of(node);
        LedgerNews news = {
                .kind = CHANGE_REGISTER,
                .node = node,
                .revision = registry_revision(ledger->registry),
                .now_usec = ledger_now(ledger, CLOCK_REALTIME),
        };

        store_submit_put(ledger->store, news.revision, node);
        overdue_arm(ledger);
        if (node->facts.is_awaited)
                log_event(LOG_INFO, LOG_EVENT_NODE_AWAITED, &fields, "%s at port %u is awaited: %s",
                          node->info.name, node->info.port, reason);
        else
                log_debug("%s at port %u lives on: %s", node->info.name, node->info.port, reason);
        ledger_tell(ledger, &news);
}

void ledger_note_ended(Ledger *ledger, const Node *node, NodeEnd end, uint64_t now_usec) {
        LogFields fields = fields_of(node);

        store_submit_end(ledger->store, registry_revision(ledger->registry), node, end, NULL, now_usec);
        ledger->counters->n_ended++;
        log_event(LOG_INFO, LOG_EVENT_NODE_ENDED, &fields, "%s at port %u, of an earlier run, is gone: %s",
                  node->info.name, node->info.port, node_end_to_string(end));
}
