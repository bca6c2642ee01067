/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows what an operator wants to see and where it stands. Changes nothing. The bytes are core/control's.
 *
 * Who may connect is decided by the control socket's file mode.
 */

#include "serve/operator.h"

#include <stdio.h>
#include <string.h>

#include "core/control.h"
#include "core/wire.h"
#include "log.h"

static void put_string(ControlBuffer *buffer, ControlTag tag, const char *text) {
        control_put_text(buffer, tag, text, strlen(text));
}

static void put_counter(void *userdata, const char *name, uint64_t value) {
        control_put_counter(userdata, name, value);
}

static void put_registry(ControlBuffer *buffer, const StoreStatus *status) {
        if (status->path[0])
                put_string(buffer, CONTROL_TAG_REGISTRY_PATH, status->path);
        put_string(buffer, CONTROL_TAG_REGISTRY_HEALTH, store_health_to_string(status->health));
        if (status->detail[0])
                put_string(buffer, CONTROL_TAG_REGISTRY_DETAIL, status->detail);
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
}

static void put_evidence(ControlBuffer *buffer, const Vigil *vigil) {
        const char *blind_reason = vigil_blind_reason(vigil);

        put_string(buffer, CONTROL_TAG_EVIDENCE, "connections");
        if (blind_reason)
                put_string(buffer, CONTROL_TAG_BLIND, blind_reason);
        else
                put_string(buffer, CONTROL_TAG_EVIDENCE, "listeners");
        if (vigil_knows_units(vigil) && !blind_reason)
                put_string(buffer, CONTROL_TAG_EVIDENCE, "units");
}

static void put_sockets(ControlBuffer *buffer, const ListenSockets *sockets) {
        char text[256];

        for (size_t i = 0; i < sockets->n_sockets; i++) {
                const ListenSocket *entry = sockets->sockets + i;

                control_put_record_begin(buffer, CONTROL_SOCKET_RECORD);
                put_string(buffer, CONTROL_TAG_ADDRESS, listen_socket_format(entry, text, sizeof text));
                put_string(buffer, CONTROL_TAG_ORIGIN, entry->is_passed ? "systemd" : "own");
                control_put_record_end(buffer);
        }
}

static void put_status(ControlBuffer *buffer, const OperatorParts *parts) {
        StoreStatus status;
        const char *reason = ledger_degraded_reason(parts->ledger);

        store_get_status(parts->store, &status);
        put_sockets(buffer, parts->sockets);
        control_put_record_begin(buffer, CONTROL_STATUS_RECORD);
        put_string(buffer, CONTROL_TAG_PROGRAM_VERSION, PACKAGE_VERSION);
        control_put_u32(buffer, CONTROL_TAG_PID, (uint32_t)getpid());
        control_put_u64(buffer, CONTROL_TAG_STARTED, parts->started_usec);
        if (parts->boot_id)
                put_string(buffer, CONTROL_TAG_BOOT_ID, parts->boot_id);
        if (reason)
                put_string(buffer, CONTROL_TAG_DEGRADED, reason);
        put_evidence(buffer, parts->vigil);
        put_numbers(buffer, parts);
        put_registry(buffer, &status);
        counters_each(parts->counters, put_counter, buffer);
        control_put_record_end(buffer);
}

static void put_answer(ControlBuffer *buffer, const OperatorParts *parts, const ControlRequest *request) {
        if (request->version != CONTROL_VERSION) {
                control_put_error_answer(buffer, CONTROL_E_BAD_VERSION,
                                         "This daemon speaks version 1 of the control protocol.");
                return;
        }
        if (request->kind != CONTROL_STATUS) {
                control_put_error_answer(buffer, CONTROL_E_UNKNOWN_REQUEST,
                                         "This daemon does not know that request.");
                return;
        }
        control_put_answer_head(buffer);
        put_status(buffer, parts);
        control_put_record_begin(buffer, CONTROL_END);
        control_put_record_end(buffer);
}

/* All nodes are encoded once for a revision, and shared by all who read them (P6). */
static void answer_names(const OperatorParts *parts, Conn *conn) {
        Blob *blob = listings_get(parts->listings, parts->registry, LISTING_RECORDS);

        if (blob)
                conn_answer_listing(conn, parts->listings, NULL, 0, blob);
        else {
                log_error("A control request is closed unanswered: %s", strerror(ENOMEM));
                conn_finish(conn);
        }
}

void operator_on_request(const OperatorParts *parts, Conn *conn, const uint8_t *body, size_t n_body) {
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };
        ControlRequest request;
        bool is_request = control_parse_request(body, n_body, &request);

        log_debug("** got control request %u from %s", is_request ? request.kind : 0, conn_peer_text(conn));
        if (is_request && request.version == CONTROL_VERSION && request.kind == CONTROL_NAMES) {
                answer_names(parts, conn);
                return;
        }
        if (is_request)
                put_answer(&buffer, parts, &request);
        else
                control_put_error_answer(&buffer, CONTROL_E_MALFORMED,
                                         "This is no request of the control protocol.");
        if (buffer.error < 0) {
                log_error("A control request is closed unanswered: %s", strerror(-buffer.error));
                conn_finish(conn);
                return;
        }
        conn_answer(conn, buffer.data, buffer.n_data);
}
