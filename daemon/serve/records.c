/* SPDX-License-Identifier: Apache-2.0 */
/* Knows which fields the records of nodes, ended registrations and refusals have, and who may read them. PROTOCOL.md
 * lists them. */

#include "serve/records.h"

#include <string.h>

/* Nodes of short names and of long ones cannot connect to each other; OTP tells them apart by this. */
static bool host_is_long(const char *host) {
        return strpbrk(host, ".:") != NULL;
}

static void put_host(ControlBuffer *buffer, const Node *node) {
        const char *host = node->profile.host;

        if (!host)
                return;
        control_put_string(buffer, CONTROL_TAG_HOST, host);
        control_put_string(buffer, CONTROL_TAG_HOST_SOURCE, node_profile_host_source(&node->profile));
        control_put_string(buffer, CONTROL_TAG_NAME_KIND, host_is_long(host) ? "long" : "short");
}

static void put_announced(ControlBuffer *buffer, const Node *node) {
        const char *announced = node_announced_to_string(node->facts.announced), *key, *value;
        size_t offset = 0;

        if (announced)
                control_put_string(buffer, CONTROL_TAG_ANNOUNCED, announced);
        put_host(buffer, node);
        while (node_profile_next(&node->profile, &offset, &key, &value))
                control_put_pair(buffer, key, value);
}

static void put_place(ControlBuffer *buffer, const Node *node) {
        char address[ADDRESS_TEXT_MAX];

        control_put_string(buffer, CONTROL_TAG_SCOPE, address_format(&node->scope, address));
        if (node->listener.cookie != 0)
                control_put_string(buffer, CONTROL_TAG_LISTENER_ADDRESS,
                                   address_format(&node->listener.address, address));
        if (node->unit)
                control_put_string(buffer, CONTROL_TAG_UNIT, node->unit);
}

/* What an operator has ordered about it. */
static void put_orders(ControlBuffer *buffer, const Node *node) {
        const char *origin = node_origin_to_string(node->facts.origin);

        if (origin)
                control_put_string(buffer, CONTROL_TAG_NODE_ORIGIN, origin);
        if (node_is_elsewhere(node))
                control_put_u8(buffer, CONTROL_TAG_ELSEWHERE, 1);
        if (node->pinned_port != 0)
                control_put_u16(buffer, CONTROL_TAG_PINNED_PORT, node->pinned_port);
}

static void put_state(ControlBuffer *buffer, const Node *node) {
        control_put_string(buffer, CONTROL_TAG_STATE, node_state_to_string(node->state));
        control_put_string(buffer, CONTROL_TAG_STATE_SOURCE, node_source_to_string(node->state_source));
        /* History does not keep it. */
        if (node->state_since_usec != 0)
                control_put_u64(buffer, CONTROL_TAG_STATE_SINCE, node->state_since_usec);
        if (node->facts.is_awaited)
                control_put_u8(buffer, CONTROL_TAG_AWAITED, 1);
        if (node->is_helper)
                control_put_u8(buffer, CONTROL_TAG_HELPER, 1);
}

void records_put_public_fields(ControlBuffer *buffer, const Node *node) {
        control_put_text(buffer, CONTROL_TAG_NAME, node->info.name, node->info.n_name);
        put_state(buffer, node);
        control_put_u16(buffer, CONTROL_TAG_PORT, node->info.port);
        control_put_u8(buffer, CONTROL_TAG_TYPE, node->info.type);
        control_put_u8(buffer, CONTROL_TAG_PROTOCOL, node->info.protocol);
        control_put_u16(buffer, CONTROL_TAG_HIGHEST_VERSION, node->info.highest_version);
        control_put_u16(buffer, CONTROL_TAG_LOWEST_VERSION, node->info.lowest_version);
        if (node->creation != 0)
                control_put_u32(buffer, CONTROL_TAG_CREATION, node->creation);
        control_put_u64(buffer, CONTROL_TAG_SINCE, node->since_usec);
        put_place(buffer, node);
        put_announced(buffer, node);
        put_orders(buffer, node);
}

void records_put_private_fields(ControlBuffer *buffer, const Node *node) {
        if (node->peer.uid != NODE_UID_UNKNOWN)
                control_put_u32(buffer, CONTROL_TAG_UID, node->peer.uid);
        if (node->unit_pid > 0)
                control_put_u32(buffer, CONTROL_TAG_UNIT_PID, (uint32_t)node->unit_pid);
        if (node->listener.cookie != 0)
                control_put_u64(buffer, CONTROL_TAG_LISTENER, node->listener.cookie);
}

void records_put_node_fields(ControlBuffer *buffer, const Node *node) {
        records_put_public_fields(buffer, node);
        records_put_private_fields(buffer, node);
}

void records_put_node(ControlBuffer *buffer, const Node *node) {
        records_put_node_as(buffer, node, RECORDS_FULL, 0);
}

void records_put_node_as(ControlBuffer *buffer, const Node *node, RecordsForm form, uint64_t revision) {
        control_put_record_begin(buffer, CONTROL_NODE_RECORD);
        records_put_public_fields(buffer, node);
        if (revision != 0)
                control_put_u64(buffer, CONTROL_TAG_REVISION, revision);
        if (form == RECORDS_FULL)
                records_put_private_fields(buffer, node);
        control_put_record_end(buffer);
}

void records_put_tenure(ControlBuffer *buffer, ControlKind kind, const Node *node, const char *how, const char *by) {
        control_put_record_begin(buffer, kind);
        records_put_public_tenure_fields(buffer, node, how);
        records_put_private_tenure_fields(buffer, node, by);
        control_put_record_end(buffer);
}

void records_put_public_tenure_fields(ControlBuffer *buffer, const Node *node, const char *how) {
        records_put_public_fields(buffer, node);
        control_put_u64(buffer, CONTROL_TAG_UNTIL, node->until_usec);
        control_put_string(buffer, CONTROL_TAG_HOW, how);
}

void records_put_private_tenure_fields(ControlBuffer *buffer, const Node *node, const char *by) {
        if (by)
                control_put_string(buffer, CONTROL_TAG_BY, by);
        records_put_private_fields(buffer, node);
}

void records_put_refused(ControlBuffer *buffer, const Refused *refused) {
        control_put_record_begin(buffer, CONTROL_REFUSAL_RECORD);
        control_put_text(buffer, CONTROL_TAG_NAME, refused->name, refused->n_name);
        control_put_u64(buffer, CONTROL_TAG_AT, refused->at_usec);
        control_put_string(buffer, CONTROL_TAG_REASON, refusal_to_string(refused->reason));
        control_put_u16(buffer, CONTROL_TAG_PORT, refused->port);
        if (refused->uid != NODE_UID_UNKNOWN)
                control_put_u32(buffer, CONTROL_TAG_UID, refused->uid);
        if (refused->unit)
                control_put_string(buffer, CONTROL_TAG_UNIT, refused->unit);
        control_put_record_end(buffer);
}

void records_put_culprit(ControlBuffer *buffer, const Culprit *culprit) {
        char party[PARTY_TEXT_MAX];

        control_put_record_begin(buffer, CONTROL_CULPRIT_RECORD);
        if (!party_is_user(&culprit->party))
                control_put_string(buffer, CONTROL_TAG_ADDRESS, party_format(&culprit->party, party));
        else if (culprit->party.uid != NODE_UID_UNKNOWN)
                control_put_u32(buffer, CONTROL_TAG_UID, culprit->party.uid);
        if (culprit->unit[0])
                control_put_string(buffer, CONTROL_TAG_UNIT, culprit->unit);
        control_put_u64(buffer, CONTROL_TAG_SINCE, culprit->since_usec);
        control_put_u64(buffer, CONTROL_TAG_AT, culprit->last_usec);
        control_put_u64(buffer, CONTROL_TAG_N_SHED, culprit->n_times[CULPRIT_SHED]);
        control_put_u64(buffer, CONTROL_TAG_N_BUSY, culprit->n_times[CULPRIT_BUSY]);
        control_put_record_end(buffer);
}

void records_put(ControlBuffer *buffer, const Registry *registry) {
        control_put_answer_head(buffer);
        for (Node *node = registry_newest(registry); node; node = node->older)
                records_put_node(buffer, node);
        control_put_record_begin(buffer, CONTROL_END);
        control_put_record_end(buffer);
}

void records_put_entry(void *userdata, const Entry *entry, StaticsState state, const char *reason) {
        ControlBuffer *buffer = userdata;
        char address[ADDRESS_TEXT_MAX];

        control_put_record_begin(buffer, CONTROL_ENTRY_RECORD);
        control_put_text(buffer, CONTROL_TAG_NAME, entry->name, entry->n_name);
        if (entry->host)
                control_put_string(buffer, CONTROL_TAG_HOST, entry->host);
        control_put_u16(buffer, CONTROL_TAG_PORT, entry->port);
        control_put_string(buffer, CONTROL_TAG_ADDRESS, address_format(&entry->address, address));
        control_put_u64(buffer, CONTROL_TAG_SINCE, entry->since_usec);
        control_put_string(buffer, CONTROL_TAG_BY, entry->by ? entry->by : "");
        control_put_string(buffer, CONTROL_TAG_STATE, statics_state_to_string(state));
        if (reason[0])
                control_put_string(buffer, CONTROL_TAG_REASON, reason);
        control_put_record_end(buffer);
}
