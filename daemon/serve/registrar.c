/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows how a registration goes: what the kernel and systemd say of the newcomer and of those in his way, then the
 * registry's decision, then the answer, at once or when the holder has gone. Does not know the rules (core/registry)
 * or when an answer may leave (serve/ledger).
 *
 * The trap: a refused client is told with the same bytes as by stock epmd, and is then closed; OTP keeps
 * its side open otherwise, one more with each retry.
 */

#include "serve/registrar.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/wire.h"
#include "log.h"
#include "serve/held.h"

/* How long a newcomer waits for systemd's word on whether the holder is being stopped. */
#define ASK_PATIENCE_USEC (250 * USEC_PER_MSEC)

/* When a newcomer's unit is looked for again that could not be found in time. */
#define UNIT_RETRY_USEC (200 * USEC_PER_MSEC)

struct Registrar {
        RegistrarParts parts;
        const uint64_t *hold_usec;
        Held *held;
};

/* --- refusals --------------------------------------------------------------------------------- */

static void log_refusal_by_holder(const NodeInfo *info, const Node *holder, const char *name) {
        LogFields fields = {
                .node = info->name,
                .n_node = info->n_name,
                .port = info->port,
                .unit = holder->unit,
        };
        char uid[32] = "unknown", since[32] = "";
        time_t seconds = (time_t)(holder->since_usec / USEC_PER_SEC);
        struct tm tm;

        if (holder->peer.uid != NODE_UID_UNKNOWN)
                snprintf(uid, sizeof uid, "%u", holder->peer.uid);
        if (gmtime_r(&seconds, &tm))
                strftime(since, sizeof since, "%Y-%m-%d %H:%M:%S UTC", &tm);
        log_event(LOG_WARNING, LOG_EVENT_NAME_REFUSED, &fields,
                  "%s at port %u is refused: the name is held (%s) at port %u by uid %s, unit %s, since %s",
                  name, info->port, node_state_to_string(holder->state), holder->info.port, uid,
                  holder->unit ? holder->unit : "unknown", since);
}

static void log_refusal_by_rule(const Event *event, const Reply *reply, const char *name) {
        const Reservation *reservation = reply->reservation;
        LogFields fields = {
                .node = event->info.name,
                .n_node = event->info.n_name,
                .port = event->info.port,
                .unit = event->unit,
                .reservation = reservation->label,
        };
        char uid[32] = "unknown";

        if (event->peer.uid != NODE_UID_UNKNOWN) {
                snprintf(uid, sizeof uid, "%u", event->peer.uid);
                fields.uid = uid;
        }
        log_event(LOG_WARNING, LOG_EVENT_NAME_REFUSED, &fields,
                  "%s at port %u is refused to uid %s, unit %s: [reserve %s] keeps it for %s%s", name,
                  event->info.port, uid, event->unit ? event->unit : "unknown", reservation->label,
                  reservation->n_owners ? reservation->owners[0].text : "nobody",
                  reservation->n_owners > 1 ? " and others" : "");
}

static void log_refusal(const Event *event, const Reply *reply, const Conn *conn) {
        const NodeInfo *info = &event->info;
        char name[512];
        LogFields fields = { .port = info->port, .peer = conn_peer_text(conn) };

        log_printable(info->name, info->n_name, name, sizeof name);
        if (reply->holder) {
                log_refusal_by_holder(info, reply->holder, name);
                return;
        }
        if (reply->reservation) {
                log_refusal_by_rule(event, reply, name);
                return;
        }
        fields.node = info->n_name ? info->name : NULL;
        fields.n_node = info->n_name;
        log_event(LOG_WARNING, LOG_EVENT_NAME_REFUSED, &fields, "%s at port %u is refused: %s", name,
                  info->port, refusal_to_string(reply->refusal));
}

/* For the one who asks why. A refusal is true all the same where there is no memory to note it. */
static void registrar_remember_refusal(Registrar *registrar, const Event *event, const Reply *reply) {
        _cleanup_(refused_done) Refused refused = {
                .at_usec = event->now_usec,
                .reason = reply->refusal,
                .port = event->info.port,
                .uid = event->peer.uid,
        };

        /* Nobody can ask for what is no name; and a copy of one with a zero byte would end there. */
        if (node_name_check(event->info.name, event->info.n_name) != NODE_NAME_OK)
                return;
        refused.n_name = event->info.n_name;
        refused.name = strndup(event->info.name, event->info.n_name);
        refused.unit = event->unit ? strdup(event->unit) : NULL;
        if (refused.name && refusals_note(registrar->parts.refusals, &refused) > 0)
                (void)store_submit_refusal(registrar->parts.store, &refused);
}

static void registrar_refuse(Registrar *registrar, Conn *conn, const Event *event, const Reply *reply) {
        uint8_t answer[WIRE_ALIVE_ANSWER_MAX];
        size_t n = wire_put_alive(answer, event->info.highest_version, 1, WIRE_CREATION_OF_REFUSAL);

        registrar->parts.counters->n_refused[reply->refusal]++;
        log_refusal(event, reply, conn);
        log_debug("** answer to %s: refused, %s", conn_peer_text(conn), refusal_to_string(reply->refusal));
        conn_answer(conn, answer, n);
}

/* The node has been registered; where its connection cannot be watched, it has to go again. */
static void registrar_accept(Registrar *registrar, Conn *conn, const NodeInfo *info, const Reply *reply) {
        uint8_t answer[WIRE_ALIVE_ANSWER_MAX];
        size_t n = wire_put_alive(answer, info->highest_version, 0, reply->creation);
        int r = conn_register(conn, reply->node, answer, n);

        if (r < 0) {
                log_error("%s cannot be watched and is dropped: %s", reply->node->info.name,
                          strerror(-r));
                vigil_on_connection_ended(registrar->parts.vigil, reply->node);
                return;
        }
        log_debug("** answer to %s: registered, creation %u", conn_peer_text(conn), reply->creation);
        ledger_answer_when_written(registrar->parts.ledger, conn);
}

/* True while systemd's word on the holder is to come. A turn can come of other news: they are no answer. And where
 * several are in the way, the word on the one says nothing of the next. */
static bool registrar_asks(Registrar *registrar, const Node *holder, const HeldTurn *turn) {
        UnitStates *unit_states = registrar->parts.unit_states;

        if (turn && unit_states_is_asked(unit_states, holder))
                return true;
        if (turn && unit_states_is_heard(unit_states, holder, turn->since_usec))
                return false;
        return unit_states_ask(unit_states, holder) == 0;
}

/* P4: the holder is going, or it is to be asked of systemd whether it is: until when the newcomer waits
 * (CLOCK_MONOTONIC). 0: he does not. `turn` NULL: he has just come. */
static uint64_t registrar_patience(Registrar *registrar, const Event *event, const Reply *reply,
                                   const HeldTurn *turn) {
        uint64_t hold = *registrar->hold_usec, now = now_usec(CLOCK_MONOTONIC);
        uint64_t since = turn ? turn->since_usec : now, until = since + hold;

        if (hold == 0 || now >= until)
                return 0;
        /* Whom a name is reserved for must not be refused because his unit was not looked for in time. */
        if (reply->refusal == REFUSAL_NAME_RESERVED && event->is_unit_late)
                return min_u64(until, now + UNIT_RETRY_USEC);
        if (reply->refusal != REFUSAL_NAME_TAKEN)
                return 0;
        if (reply->is_holder_going)
                return until;
        until = min_u64(until, since + ASK_PATIENCE_USEC);
        if (now >= until)
                return 0;
        return registrar_asks(registrar, reply->holder, turn) ? until : 0;
}

static void log_held(const NodeInfo *info, const Reply *reply) {
        LogFields fields = { .node = info->name, .n_node = info->n_name, .port = info->port,
                             .unit = reply->holder->unit };
        char name[512];

        log_printable(info->name, info->n_name, name, sizeof name);
        log_event(LOG_INFO, LOG_EVENT_NAME_HELD, &fields,
                  "%s at port %u waits: the name's holder at port %u (unit %s) is going", name, info->port,
                  reply->holder->info.port, reply->holder->unit ? reply->holder->unit : "unknown");
}

/* True if the newcomer waits, until `*ret_until`. */
static bool registrar_holds(Registrar *registrar, Conn *conn, const Event *event, const Reply *reply,
                         const HeldTurn *turn, uint64_t *ret_until) {
        uint64_t until = registrar_patience(registrar, event, reply, turn);

        if (until == 0)
                return false;
        if (!turn && held_add(registrar->held, conn, event->peer.uid, &event->info, until) < 0)
                return false;
        if (reply->is_holder_going && (!turn || turn->n_turns == 0))
                log_held(&event->info, reply);
        if (!turn)
                registrar->parts.counters->n_held++;
        *ret_until = until;
        return true;
}

/* The registry has its own bounds; but what is held and what streams takes room, too (P6). Where a node of that name is in
 * the way it is for the registry to say whether the newcomer takes its place: who comes back must not find it taken (P4). */
static bool registrar_has_room(Registrar *registrar, Conn *conn, const Event *event) {
        Address scope = registry_scope_of(&event->listener);

        return conn_may_stay(conn) || registry_find_conflict(registrar->parts.registry, event->info.name,
                                                             event->info.n_name, &scope, NULL);
}

static int registrar_decide(Registrar *registrar, Conn *conn, const Event *event, Reply *ret) {
        if (registrar_has_room(registrar, conn, event))
                return ledger_carry(registrar->parts.ledger, event, ret);
        *ret = (Reply){ .refusal = REFUSAL_NODES_LIMIT };
        return 0;
}

/* Who has broken off before it was his turn would not hear of it, and his end would cost as much again (P6). Whoever is
 * found in this kernel has not. */
static bool registrar_is_left(const Conn *conn, const Event *event) {
        return event->peer.uid == NODE_UID_UNKNOWN && conn_is_broken(conn);
}

/* Until when the newcomer waits, or 0: he was answered, or is gone. */
static uint64_t registrar_register(Registrar *registrar, Conn *conn, const NodeInfo *info, const HeldTurn *turn) {
        Event event = {
                .kind = EVENT_REGISTER,
                .now_usec = now_usec(CLOCK_REALTIME),
                .info = *info,
                .connection = conn,
                .connection_fd = conn_fd(conn),
                .pinned_port = pins_port_of(registrar->parts.pins, info->name, info->n_name),
        };
        uint64_t until = 0;
        Reply reply;
        int r;

        vigil_examine(registrar->parts.vigil, conn, &event);
        if (!turn && registrar_is_left(conn, &event)) {
                conn_finish(conn);
                return 0;
        }
        unit_states_fill(registrar->parts.unit_states, &event);
        /* At whatever address: the one who has gone may be the twin of the one who is in the way. */
        vigil_settle_holders(registrar->parts.vigil, info->name, info->n_name, &ADDRESS_ANY);
        r = registrar_decide(registrar, conn, &event, &reply);
        if (r < 0) {
                log_event(LOG_ERR, LOG_EVENT_SHED, NULL, "A registration is closed unanswered: %s", strerror(-r));
                conn_finish(conn);
        } else if (reply.refusal == REFUSAL_NONE)
                registrar_accept(registrar, conn, info, &reply);
        else if (!registrar_holds(registrar, conn, &event, &reply, turn, &until)) {
                registrar_remember_refusal(registrar, &event, &reply);
                registrar_refuse(registrar, conn, &event, &reply);
        }
        return until;
}

static uint64_t registrar_on_turn(void *userdata, const HeldTurn *turn) {
        return registrar_register(userdata, turn->conn, turn->info, turn);
}

/* Those who have waited come first, also where it is the newcomer who makes it seen that the holder has gone. */
static void registrar_serve_waiters(Registrar *registrar, const NodeInfo *info) {
        if (held_n(registrar->held) == 0)
                return;
        vigil_settle_holders(registrar->parts.vigil, info->name, info->n_name, &ADDRESS_ANY);
        held_take_turns(registrar->held);
}

void registrar_on_request(Registrar *registrar, Conn *conn, const NodeInfo *info) {
        registrar->parts.counters->n_alive2++;
        registrar_serve_waiters(registrar, info);
        registrar_register(registrar, conn, info, NULL);
}

/* --- what those who wait wait for ------------------------------------------------------------- */

void registrar_on_news(Registrar *registrar, const LedgerNews *news) {
        if (news->kind == CHANGE_END || news->kind == CHANGE_FACTS)
                held_poke(registrar->held, news->node->info.name, news->node->info.n_name);
}

void registrar_on_heard(Registrar *registrar) {
        held_poke_all(registrar->held);
}

size_t registrar_n_held(const Registrar *registrar) {
        return held_n(registrar->held);
}

/* --- life ------------------------------------------------------------------------------------- */

int registrar_new(Registrar **ret, sd_event *event, const RegistrarParts *parts, const uint64_t *hold_usec) {
        _cleanup_(registrar_freep) Registrar *registrar = calloc(1, sizeof *registrar);
        int r;

        if (!registrar)
                return -ENOMEM;
        registrar->parts = *parts;
        registrar->hold_usec = hold_usec;
        r = held_new(&registrar->held, event, &(HeldHandler){ registrar_on_turn, registrar });
        if (r < 0)
                return r;
        *ret = TAKE_PTR(registrar);
        return 0;
}

Registrar *registrar_free(Registrar *registrar) {
        if (!registrar)
                return NULL;
        held_free(registrar->held);
        free(registrar);
        return NULL;
}
