/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows what each request of the EPMD protocol asks for and who may ask (P7). Does not know the bytes
 * (core/wire), how a name is given (serve/registrar), nor how it is found out who asks (serve/gate).
 *
 * The trap: whoever may not ask is closed without a byte, as by stock epmd whoever asks what it does not know.
 */

#include "serve/mapper.h"

#include <string.h>

#include "core/wire.h"
#include "log.h"

struct Mapper {
        MapperParts parts;
        MapperOptions options;
};

int mapper_new(Mapper **ret, const MapperParts *parts, const MapperOptions *options) {
        Mapper *mapper = calloc(1, sizeof *mapper);

        if (!mapper)
                return -ENOMEM;
        mapper->parts = *parts;
        mapper->options = *options;
        *ret = mapper;
        return 0;
}

Mapper *mapper_free(Mapper *mapper) {
        free(mapper);
        return NULL;
}

static Address local_address(Conn *conn) {
        const struct sockaddr *local = conn_local(conn);
        Address address = ADDRESS_ANY;

        if (local)
                address_from_sockaddr(local, &address, NULL);
        return address;
}

/* What happens to a node and allocates nothing, so that it cannot fail. */
static void mapper_tell(Mapper *mapper, EventKind kind, Node *node) {
        ledger_carry(mapper->parts.ledger,
                     &(Event){ .kind = kind, .node = node, .now_usec = now_usec(CLOCK_REALTIME) }, NULL);
}

/* --- PORT2_REQ, NAMES_REQ, DUMP_REQ ------------------------------------------------------------ */

/* The kernel is asked on which address the client has come only where that matters: it is a system call of seven. */
static Node *mapper_find(Mapper *mapper, Conn *conn, const WireRequest *request) {
        const Registry *registry = mapper->parts.registry;
        bool is_sole;
        Node *node = registry_find_sole(registry, request->name, request->n_name, &is_sole);
        Address local;

        if (is_sole)
                return node;
        local = local_address(conn);
        return registry_find(registry, request->name, request->n_name, &local);
}

static void mapper_port2(Mapper *mapper, Conn *conn, const WireRequest *request) {
        uint8_t answer[WIRE_PORT2_ANSWER_MAX];
        const Node *node;
        size_t n;

        statics_look_for(mapper->parts.statics, request->name, request->n_name);
        node = mapper_find(mapper, conn, request);
        n = wire_put_port2(answer, node ? &node->info : NULL);
        mapper->parts.counters->n_port2++;
        if (!node)
                mapper->parts.counters->n_lookups_missed++;
        if (node)
                log_debug("** answer to %s: port %u", conn_peer_text(conn), node->info.port);
        else
                log_debug("** answer to %s: no such node", conn_peer_text(conn));
        conn_answer(conn, answer, n);
}

static void mapper_listing(Mapper *mapper, Conn *conn, ListingKind kind) {
        uint8_t head[WIRE_LISTING_HEAD];
        size_t n_head = wire_put_listing_head(head, conn_listener_port(conn));
        Blob *blob;

        if (kind == LISTING_NAMES && !*mapper->options.names_with_helpers)
                kind = LISTING_NAMES_WITHOUT_HELPERS;
        statics_look(mapper->parts.statics);
        blob = listings_get(mapper->parts.listings, mapper->parts.registry, kind);
        if (kind != LISTING_DUMP)
                mapper->parts.counters->n_names++;
        else
                mapper->parts.counters->n_dump++;
        if (!blob) {
                log_event(LOG_ERR, LOG_EVENT_SHED, NULL, "A listing is closed unanswered: %s", strerror(ENOMEM));
                conn_finish(conn);
                return;
        }
        log_debug("** answer to %s: %zu nodes", conn_peer_text(conn),
                  registry_n_nodes(mapper->parts.registry));
        conn_answer_listing(conn, mapper->parts.listings, head, n_head, blob);
}

/* --- KILL_REQ, STOP_REQ ------------------------------------------------------------------------ */

static void mapper_kill(Mapper *mapper, Conn *conn) {
        bool granted = mapper->options.relaxed_command_check ||
                       registry_n_nodes(mapper->parts.registry) == 0;

        mapper->parts.counters->n_kill++;
        log_event(LOG_NOTICE, LOG_EVENT_KILL, &(LogFields){ .peer = conn_peer_text(conn) },
                  "%s asked us to end: %s", conn_peer_text(conn),
                  granted ? "granted" : "not while nodes are registered");
        if (granted)
                mapper->options.on_kill(mapper->options.userdata);
        conn_answer(conn, granted ? "OK" : "NO", 2);
}

static void mapper_stop(Mapper *mapper, Conn *conn, const WireRequest *request) {
        Node *node;

        mapper->parts.counters->n_stop++;
        if (!mapper->options.relaxed_command_check) {
                log_event(LOG_NOTICE, LOG_EVENT_DENIED, &(LogFields){ .peer = conn_peer_text(conn) },
                          "%s asked to stop a node: not without --relaxed-command-check",
                          conn_peer_text(conn));
                conn_finish(conn);
                return;
        }
        node = mapper_find(mapper, conn, request);
        log_debug("** answer to %s: %s", conn_peer_text(conn), node ? "stopped" : "no such node");
        if (!node) {
                conn_answer(conn, "NOEXIST", 7);
                return;
        }
        mapper_tell(mapper, EVENT_STOP, node);
        conn_answer(conn, "STOPPED", 7);
}

/* --- who may ask what (P7) ---------------------------------------------------------------------- */

/* Whom a request is open to beside this machine; NULL: nobody. */
static const AccessList *mapper_list_for(const Mapper *mapper, WireOp op) {
        switch (op) {
        case WIRE_PORT2:
                return mapper->options.lookup_from;
        case WIRE_NAMES:
                return mapper->options.list_from;
        case WIRE_ALIVE2:
        case WIRE_DUMP:
        case WIRE_KILL:
        case WIRE_STOP:
                break;
        }
        return NULL;
}

static const char *op_to_string(WireOp op) {
        switch (op) {
        case WIRE_ALIVE2:
                return "ALIVE2_REQ";
        case WIRE_PORT2:
                return "PORT2_REQ";
        case WIRE_NAMES:
                return "NAMES_REQ";
        case WIRE_DUMP:
                return "DUMP_REQ";
        case WIRE_KILL:
                return "KILL_REQ";
        case WIRE_STOP:
                return "STOP_REQ";
        }
        return "a request";
}

static void mapper_dispatch(Mapper *mapper, Conn *conn, const WireRequest *request) {
        switch (request->op) {
        case WIRE_ALIVE2:
                registrar_on_request(mapper->parts.registrar, conn, &request->info);
                break;
        case WIRE_PORT2:
                mapper_port2(mapper, conn, request);
                break;
        case WIRE_NAMES:
                mapper_listing(mapper, conn, LISTING_NAMES);
                break;
        case WIRE_DUMP:
                mapper_listing(mapper, conn, LISTING_DUMP);
                break;
        case WIRE_KILL:
                mapper_kill(mapper, conn);
                break;
        case WIRE_STOP:
                mapper_stop(mapper, conn, request);
                break;
        }
}

static void log_request(const Conn *conn, const WireRequest *request) {
        const char *name = request->op == WIRE_ALIVE2 ? request->info.name : request->name;
        size_t n_name = request->op == WIRE_ALIVE2 ? request->info.n_name : request->n_name;
        char text[512] = "";

        if (!log_is_debug())
                return;
        if (n_name > 0)
                log_printable(name, n_name, text, sizeof text);
        log_debug("** got %s%s%s from %s", op_to_string(request->op), text[0] ? " " : "", text,
                  conn_peer_text(conn));
}

static void mapper_close_unanswered(Mapper *mapper, Conn *conn, WireVerdict verdict, uint8_t opcode) {
        if (verdict == WIRE_UNKNOWN)
                mapper->parts.counters->n_unknown++;
        else
                mapper->parts.counters->n_malformed++;
        log_event(LOG_NOTICE, LOG_EVENT_GARBAGE, &(LogFields){ .peer = conn_peer_text(conn) },
                  "%s sent %s (%u) that %s; closed", conn_peer_text(conn), op_to_string((WireOp)opcode),
                  opcode, verdict == WIRE_UNKNOWN ? "is not known" : "is malformed");
        conn_finish(conn);
}

void mapper_on_request(Mapper *mapper, Conn *conn, const uint8_t *body, size_t n_body) {
        WireRequest request;
        WireVerdict verdict = wire_parse(body, n_body, &request);

        log_hex("request", body, n_body);
        if (verdict != WIRE_OK) {
                mapper_close_unanswered(mapper, conn, verdict, body[0]);
                return;
        }
        log_request(conn, &request);
        if (gate_is_open(mapper->parts.gate, conn, mapper_list_for(mapper, request.op))) {
                mapper_dispatch(mapper, conn, &request);
                return;
        }
        gate_note_denied(mapper->parts.gate, conn, op_to_string(request.op));
        conn_finish(conn);
}

/* A lookup is answered from memory at once; all else may look at every node, or ask the kernel, or write. */
bool mapper_is_dear(void *userdata, const Conn *conn, const uint8_t *body, size_t n_body) {
        (void)userdata;
        return conn_kind(conn) == CONN_CONTROL || n_body == 0 || body[0] != WIRE_PORT2;
}

void mapper_on_end(Mapper *mapper, Conn *conn) {
        log_debug("** %s has closed its connection", conn_peer_text(conn));
        vigil_on_connection_ended(mapper->parts.vigil, conn_node(conn));
}
