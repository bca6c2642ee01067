/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows which request is whose to answer, and what an operator wants to see of the daemon as a whole. The bytes are
 * core/control's.
 *
 * Who may connect is decided by the control socket's file mode; over TCP, who may ask what is decided here (P7).
 */

#include "serve/operator.h"

#include <stdio.h>

#include "core/control.h"
#include "core/wire.h"
#include "log.h"
#include "serve/answer.h"
#include "serve/records.h"

static void put_counter(void *userdata, const char *name, uint64_t value) {
        control_put_counter(userdata, name, value);
}

static void put_registry(ControlBuffer *buffer, const StoreStatus *status) {
        if (status->path[0])
                control_put_string(buffer, CONTROL_TAG_REGISTRY_PATH, status->path);
        control_put_string(buffer, CONTROL_TAG_REGISTRY_HEALTH, store_health_to_string(status->health));
        if (status->detail[0])
                control_put_string(buffer, CONTROL_TAG_REGISTRY_DETAIL, status->detail);
        control_put_u64(buffer, CONTROL_TAG_REGISTRY_BYTES, status->file_bytes);
        control_put_u64(buffer, CONTROL_TAG_WAL_BYTES, status->wal_bytes);
        control_put_u32(buffer, CONTROL_TAG_SCHEMA_VERSION, status->schema_version);
        control_put_u64(buffer, CONTROL_TAG_COMMITTED_REVISION, status->committed_revision);
        control_put_counter(buffer, "registry.commits", status->n_commits);
        control_put_counter(buffer, "registry.changes", status->n_changes);
        control_put_counter(buffer, "registry.failures", status->n_failures);
        control_put_counter(buffer, "registry.dropped", status->n_dropped);
        control_put_counter(buffer, "registry.queued", status->n_queued);
}

static void put_numbers(ControlBuffer *buffer, const OperatorParts *parts) {
        const Registry *registry = parts->registry;

        control_put_u64(buffer, CONTROL_TAG_N_NODES, registry_n_nodes(registry));
        control_put_u64(buffer, CONTROL_TAG_N_AWAITED, registry_n_awaited(registry));
        control_put_u64(buffer, CONTROL_TAG_N_STOPPING, registry_n_in_state(registry, NODE_STOPPING));
        control_put_u64(buffer, CONTROL_TAG_N_CONNECTIONS, conns_n(parts->conns));
        control_put_u64(buffer, CONTROL_TAG_N_CONNECTIONS_MAX, conns_n_max(parts->conns));
        control_put_u64(buffer, CONTROL_TAG_NODES_PER_UID_MAX, parts->n_nodes_per_uid_max);
        control_put_u64(buffer, CONTROL_TAG_REVISION, registry_revision(registry));
        control_put_u64(buffer, CONTROL_TAG_N_WATCHERS, watch_n(parts->watch));
        control_put_u64(buffer, CONTROL_TAG_N_HELD, registrar_n_held(parts->registrar));
        for (NodeState state = 0; state < _NODE_STATE_N; state++)
                if (registry_n_in_state(registry, state) > 0)
                        control_put_named_u64(buffer, CONTROL_TAG_N_IN_STATE, node_state_to_string(state),
                                              registry_n_in_state(registry, state));
}

static void put_fd_store(ControlBuffer *buffer, const Fdstore *fdstore) {
        FdstoreStatus status;

        fdstore_get_status(fdstore, &status);
        if (status.n_max == 0)
                return;
        control_put_u64(buffer, CONTROL_TAG_FD_STORE_MAX, status.n_max);
        control_put_u64(buffer, CONTROL_TAG_FD_STORE_N, status.n_stored);
        control_put_u64(buffer, CONTROL_TAG_FD_STORE_WAITING, status.n_waiting);
}

static void put_evidence(ControlBuffer *buffer, const OperatorParts *parts) {
        const Vigil *vigil = parts->vigil;
        const char *blind_reason = vigil_blind_reason(vigil);
        const char *unseen_reason = unit_states_unseen_reason(parts->unit_states);

        control_put_string(buffer, CONTROL_TAG_EVIDENCE, "connections");
        if (blind_reason)
                control_put_string(buffer, CONTROL_TAG_BLIND, blind_reason);
        else
                control_put_string(buffer, CONTROL_TAG_EVIDENCE, "listeners");
        if (vigil_knows_units(vigil) && !blind_reason)
                control_put_string(buffer, CONTROL_TAG_EVIDENCE, "units");
        if (unseen_reason)
                control_put_string(buffer, CONTROL_TAG_UNITS_UNSEEN, unseen_reason);
}

static void put_sockets(ControlBuffer *buffer, const ListenSockets *sockets) {
        char text[256];

        for (size_t i = 0; i < sockets->n_sockets; i++) {
                const ListenSocket *entry = sockets->sockets + i;

                control_put_record_begin(buffer, CONTROL_SOCKET_RECORD);
                control_put_string(buffer, CONTROL_TAG_ADDRESS, listen_socket_format(entry, text, sizeof text));
                control_put_string(buffer, CONTROL_TAG_ORIGIN, entry->is_passed ? "systemd" : "own");
                control_put_record_end(buffer);
        }
}

static void put_culprits(ControlBuffer *buffer, const Culprits *culprits) {
        for (size_t i = 0; i < culprits->n_culprits; i++)
                records_put_culprit(buffer, culprits->culprits + i);
}

static void put_status(ControlBuffer *buffer, const OperatorParts *parts) {
        StoreStatus status;
        const char *reason = ledger_degraded_reason(parts->ledger);

        store_get_status(parts->store, &status);
        put_sockets(buffer, parts->sockets);
        put_culprits(buffer, blame_culprits(parts->blame));
        control_put_record_begin(buffer, CONTROL_STATUS_RECORD);
        control_put_string(buffer, CONTROL_TAG_PROGRAM_VERSION, PACKAGE_VERSION);
        control_put_u32(buffer, CONTROL_TAG_PID, (uint32_t)getpid());
        control_put_u64(buffer, CONTROL_TAG_STARTED, parts->started_usec);
        if (parts->boot_id)
                control_put_string(buffer, CONTROL_TAG_BOOT_ID, parts->boot_id);
        if (reason)
                control_put_string(buffer, CONTROL_TAG_DEGRADED, reason);
        if (parts->config_reason)
                control_put_string(buffer, CONTROL_TAG_DEGRADED, parts->config_reason);
        for (size_t i = 0; i < parts->n_config_files; i++)
                control_put_string(buffer, CONTROL_TAG_CONFIG_FILE, parts->config_files[i]);
        put_evidence(buffer, parts);
        put_fd_store(buffer, parts->fdstore);
        put_numbers(buffer, parts);
        put_registry(buffer, &status);
        counters_each(parts->counters, put_counter, buffer);
        control_put_record_end(buffer);
}

static void answer_status(const OperatorParts *parts, Conn *conn) {
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };

        control_put_answer_head(&buffer);
        put_status(&buffer, parts);
        answer_buffer(conn, &buffer);
}

/* All nodes are encoded once for a revision, and shared by all who read them (P6). */
static void answer_names(const OperatorParts *parts, Conn *conn) {
        Blob *blob = listings_get(parts->listings, parts->registry, LISTING_RECORDS);

        if (blob)
                conn_answer_listing(conn, parts->listings, NULL, 0, blob);
        else
                answer_error(conn, CONTROL_E_INTERNAL, "There is no memory for that.");
}

static void answer_find(const OperatorParts *parts, Conn *conn, const ControlRequest *request) {
        find_on_request(&(FindParts){ parts->registry, parts->pending, parts->watch }, conn, request);
}

static void operator_dispatch(const OperatorParts *parts, Conn *conn, const ControlRequest *request) {
        statics_look(parts->statics);
        switch (request->kind) {
        case CONTROL_STATUS:
                answer_status(parts, conn);
                break;
        case CONTROL_NAMES:
                answer_names(parts, conn);
                break;
        case CONTROL_WHY:
                inquiry_why(parts->inquiry, conn, request);
                break;
        case CONTROL_HISTORY:
                inquiry_history(parts->inquiry, conn, request);
                break;
        case CONTROL_AT:
                inquiry_at(parts->inquiry, conn, request);
                break;
        case CONTROL_WATCH:
                watch_on_request(parts->watch, conn, request);
                break;
        case CONTROL_ANNOUNCE:
                orders_announce(parts->orders, conn, request);
                break;
        case CONTROL_RELEASE:
                orders_release(parts->orders, conn, request);
                break;
        case CONTROL_FIND:
                answer_find(parts, conn, request);
                break;
        case CONTROL_ADD:
        case CONTROL_REMOVE:
        case CONTROL_PIN:
        case CONTROL_UNPIN:
                entry_orders_on_request(parts->entry_orders, conn, request);
                break;
        case CONTROL_PINS:
                entry_orders_tell_pins(parts->entry_orders, conn, request);
                break;
        case CONTROL_ENTRIES:
                entry_orders_tell_entries(parts->entry_orders, conn);
                break;
        default: /* a number from outside */
                answer_error(conn, CONTROL_E_UNKNOWN_REQUEST, "This daemon does not know that request.");
        }
}

/* False: it was answered. */
static bool operator_reads(const OperatorParts *parts, Conn *conn, const uint8_t *body, size_t n_body,
                           ControlRequest *ret) {
        bool is_request = control_parse_request(body, n_body, ret);

        parts->counters->n_control++;
        log_debug("** got control request %u from %s", is_request ? ret->kind : 0, conn_peer_text(conn));
        if (!is_request)
                answer_error(conn, CONTROL_E_MALFORMED, "This is no request of the control protocol.");
        else if (ret->version != CONTROL_VERSION)
                answer_error(conn, CONTROL_E_BAD_VERSION, "This daemon speaks version 1 of the control protocol.");
        else
                return true;
        return false;
}

void operator_on_request(const OperatorParts *parts, Conn *conn, const uint8_t *body, size_t n_body) {
        ControlRequest request;

        if (operator_reads(parts, conn, body, n_body, &request))
                operator_dispatch(parts, conn, &request);
}

/* --- over TCP --------------------------------------------------------------------------------- */

/* To whom a request is open over TCP. */
typedef enum Openness {
        OPEN_TO_NOBODY, /* on the control socket only */
        OPEN_TO_THIS_MACHINE,
        OPEN_TO_LIST_FROM,
        OPEN_UNKNOWN, /* there is no such request */
} Openness;

static Openness openness_of(uint8_t kind) {
        switch (kind) {
        case CONTROL_FIND:
        case CONTROL_WATCH:
                return OPEN_TO_LIST_FROM;
        case CONTROL_ANNOUNCE:
        case CONTROL_PINS:
                return OPEN_TO_THIS_MACHINE;
        case CONTROL_STATUS:
        case CONTROL_NAMES:
        case CONTROL_WHY:
        case CONTROL_HISTORY:
        case CONTROL_AT:
        case CONTROL_RELEASE:
        case CONTROL_ADD:
        case CONTROL_REMOVE:
        case CONTROL_PIN:
        case CONTROL_UNPIN:
        case CONTROL_ENTRIES:
                return OPEN_TO_NOBODY;
        }
        return OPEN_UNKNOWN;
}

/* What is asked for, in the words of the log. */
static const char *kind_to_string(uint8_t kind) {
        switch (kind) {
        case CONTROL_FIND:
                return "FIND";
        case CONTROL_WATCH:
                return "WATCH";
        case CONTROL_ANNOUNCE:
                return "ANNOUNCE";
        case CONTROL_PINS:
                return "PINS";
        }
        return "what is answered on the control socket only";
}

static void operator_deny(const OperatorParts *parts, Conn *conn, uint8_t kind, const char *text) {
        gate_note_denied(parts->gate, conn, kind_to_string(kind));
        answer_error(conn, CONTROL_E_DENIED, text);
}

bool operator_may_watch(const OperatorParts *parts, Conn *conn) {
        return gate_is_open(parts->gate, conn, parts->list_from);
}

static void operator_dispatch_tcp(const OperatorParts *parts, Conn *conn, const ControlRequest *request) {
        switch (openness_of(request->kind)) {
        case OPEN_TO_NOBODY:
                operator_deny(parts, conn, request->kind, "That is answered on the control socket only.");
                return;
        case OPEN_TO_THIS_MACHINE:
                if (gate_is_open(parts->gate, conn, NULL))
                        break;
                operator_deny(parts, conn, request->kind, "Only this machine may ask that.");
                return;
        case OPEN_TO_LIST_FROM:
                if (operator_may_watch(parts, conn))
                        break;
                operator_deny(parts, conn, request->kind,
                              "You may not ask that: the setting list-from does not name you.");
                return;
        case OPEN_UNKNOWN:
                break;
        }
        operator_dispatch(parts, conn, request);
}

/* Stock epmd closes what it does not know; whoever speaks this protocol is answered in words. */
bool operator_on_tcp_request(const OperatorParts *parts, Conn *conn, const uint8_t *body, size_t n_body) {
        ControlRequest request;

        if (!control_has_magic(body, n_body))
                return false;
        if (operator_reads(parts, conn, body, n_body, &request))
                operator_dispatch_tcp(parts, conn, &request);
        return true;
}
