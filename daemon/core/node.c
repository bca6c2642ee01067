/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows what makes a name acceptable and how a node is copied. Does not know the rules of the
 * registry.
 *
 * The trap: a node's strings live in its own allocation, so that a node is one malloc(); `info` of a
 * copy must point into the copy.
 */

#include "core/node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Decodes one character. Its length in bytes, or 0 where the bytes are not UTF-8 (RFC 3629: no overlong
 * form, no surrogate, nothing above U+10FFFF). */
static size_t utf8_decode(const uint8_t *bytes, size_t n_bytes, uint32_t *ret) {
        static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
        uint32_t character = bytes[0];
        size_t n;

        if (bytes[0] < 0x80)
                n = 1;
        else if (bytes[0] >= 0xc2 && bytes[0] < 0xe0)
                n = 2;
        else if (bytes[0] >= 0xe0 && bytes[0] < 0xf0)
                n = 3;
        else if (bytes[0] >= 0xf0 && bytes[0] < 0xf5)
                n = 4;
        else
                return 0;
        if (n > n_bytes)
                return 0;
        if (n > 1)
                character &= 0x7fU >> n;
        for (size_t i = 1; i < n; i++) {
                if ((bytes[i] & 0xc0) != 0x80)
                        return 0;
                character = character << 6 | (bytes[i] & 0x3f);
        }
        if (character < smallest[n] || character > 0x10ffff)
                return 0;
        if (character >= 0xd800 && character <= 0xdfff)
                return 0;
        *ret = character;
        return n;
}

static bool is_control_character(uint32_t character) {
        return character < 0x20 || (character >= 0x7f && character <= 0x9f);
}

NodeNameVerdict node_name_check(const char *name, size_t n_name) {
        const uint8_t *bytes = (const uint8_t *)name;
        size_t n_characters = 0;
        bool has_control = false;

        if (n_name == 0)
                return NODE_NAME_EMPTY;
        if (n_name > NODE_NAME_BYTES_MAX)
                return NODE_NAME_TOO_LONG;
        for (size_t at = 0; at < n_name;) {
                uint32_t character;
                size_t n = utf8_decode(bytes + at, n_name - at, &character);

                if (n == 0)
                        return NODE_NAME_NOT_UTF8;
                has_control = has_control || is_control_character(character);
                n_characters++;
                at += n;
        }
        if (n_characters > NODE_NAME_CHARS_MAX)
                return NODE_NAME_TOO_LONG;
        return has_control ? NODE_NAME_CONTROL_CHARACTER : NODE_NAME_OK;
}

Node *node_new(const NodeInfo *info) {
        size_t n_data = info->n_name + 1 + info->n_extra + 1;
        Node *node = calloc(1, sizeof *node + n_data);
        char *extra;

        if (!node)
                return NULL;
        extra = node->data + info->n_name + 1;
        memcpy(node->data, info->name, info->n_name);
        if (info->n_extra > 0)
                memcpy(extra, info->extra, info->n_extra);
        node->info = *info;
        node->info.name = node->data;
        node->info.extra = (const uint8_t *)extra;
        node->peer.uid = NODE_UID_UNKNOWN;
        node->connection_fd = -1;
        return node;
}

Node *node_copy(const Node *node) {
        Node *copy = node_new(&node->info);
        NodeInfo info;

        if (!copy)
                return NULL;
        info = copy->info;
        *copy = *node; /* copies the members; `data`, a flexible array, stays as node_new() made it */
        copy->info = info;
        copy->connection = NULL;
        copy->newer = copy->older = NULL;
        copy->unit = NULL;
        if (node->unit) {
                copy->unit = strdup(node->unit);
                if (!copy->unit)
                        return node_free(copy);
        }
        return copy;
}

Node *node_free(Node *node) {
        if (node)
                free(node->unit);
        free(node);
        return NULL;
}

int node_compare_key(const char *name_a, size_t n_a, const Address *scope_a, const char *name_b,
                     size_t n_b, const Address *scope_b) {
        int r = memcmp(name_a, name_b, n_a < n_b ? n_a : n_b);

        if (r != 0)
                return r;
        if (n_a != n_b)
                return n_a < n_b ? -1 : 1;
        return address_compare(scope_a, scope_b);
}

static const char *const state_words[_NODE_STATE_N] = {
        [NODE_UP] = "up",
        [NODE_AWAITED] = "awaited",
        [NODE_STOPPING] = "stopping",
};

static const char *const end_words[_NODE_END_N] = {
        [NODE_END_LEFT] = "left",
        [NODE_END_REPLACED] = "replaced",
        [NODE_END_LISTENER_GONE] = "listener-gone",
        [NODE_END_FOUND_DEAD] = "found-dead",
        [NODE_END_MACHINE_RESTARTED] = "machine-restarted",
        [NODE_END_DID_NOT_RETURN] = "did-not-return",
        [NODE_END_STOPPED] = "stopped",
};

static int find_word(const char *const *words, size_t n_words, const char *word) {
        for (size_t i = 0; i < n_words; i++)
                if (strcmp(words[i], word) == 0)
                        return (int)i;
        return -EINVAL;
}

const char *node_state_to_string(NodeState state) {
        return state_words[state];
}

const char *node_end_to_string(NodeEnd end) {
        return end_words[end];
}

int node_state_from_string(const char *word, NodeState *ret) {
        int i = find_word(state_words, _NODE_STATE_N, word);

        if (i < 0)
                return i;
        *ret = (NodeState)i;
        return 0;
}

int node_end_from_string(const char *word, NodeEnd *ret) {
        int i = find_word(end_words, _NODE_END_N, word);

        if (i < 0)
                return i;
        *ret = (NodeEnd)i;
        return 0;
}

const char *node_type_to_string(uint8_t type) {
        switch (type) {
        case NODE_TYPE_NORMAL:
                return "normal";
        case NODE_TYPE_HIDDEN:
                return "hidden";
        case 'h':
                return "c-node";
        default:
                return NULL;
        }
}
