/* SPDX-License-Identifier: Apache-2.0 */
/* Knows which fields a node's record has. PROTOCOL.md lists them. */

#include "serve/records.h"

#include <string.h>

static void put_string(ControlBuffer *buffer, ControlTag tag, const char *text) {
        control_put_text(buffer, tag, text, strlen(text));
}

static void put_node(ControlBuffer *buffer, const Node *node) {
        char scope[ADDRESS_TEXT_MAX];

        control_put_record_begin(buffer, CONTROL_NODE_RECORD);
        control_put_text(buffer, CONTROL_TAG_NAME, node->info.name, node->info.n_name);
        put_string(buffer, CONTROL_TAG_STATE, node_state_to_string(node->state));
        control_put_u16(buffer, CONTROL_TAG_PORT, node->info.port);
        control_put_u8(buffer, CONTROL_TAG_TYPE, node->info.type);
        control_put_u8(buffer, CONTROL_TAG_PROTOCOL, node->info.protocol);
        control_put_u16(buffer, CONTROL_TAG_HIGHEST_VERSION, node->info.highest_version);
        control_put_u16(buffer, CONTROL_TAG_LOWEST_VERSION, node->info.lowest_version);
        control_put_u32(buffer, CONTROL_TAG_CREATION, node->creation);
        control_put_u64(buffer, CONTROL_TAG_SINCE, node->since_usec);
        put_string(buffer, CONTROL_TAG_SCOPE, address_format(&node->scope, scope));
        if (node->peer.uid != NODE_UID_UNKNOWN)
                control_put_u32(buffer, CONTROL_TAG_UID, node->peer.uid);
        if (node->unit)
                put_string(buffer, CONTROL_TAG_UNIT, node->unit);
        if (node->listener.cookie != 0)
                control_put_u64(buffer, CONTROL_TAG_LISTENER, node->listener.cookie);
        control_put_record_end(buffer);
}

void records_put(ControlBuffer *buffer, const Registry *registry) {
        control_put_answer_head(buffer);
        for (Node *node = registry_newest(registry); node; node = node->older)
                put_node(buffer, node);
        control_put_record_begin(buffer, CONTROL_END);
        control_put_record_end(buffer);
}
