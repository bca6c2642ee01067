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

/* UTF-8 without control characters. */
static bool is_plain_text(const char *text, size_t n_text) {
        const uint8_t *bytes = (const uint8_t *)text;

        for (size_t at = 0; at < n_text;) {
                uint32_t character;
                size_t n = utf8_decode(bytes + at, n_text - at, &character);

                if (n == 0 || is_control_character(character))
                        return false;
                at += n;
        }
        return true;
}

/* Nearly all names are of these alone, and need no decoding. */
static size_t count_printable_ascii(const uint8_t *bytes, size_t n_bytes) {
        size_t n = 0;

        while (n < n_bytes && bytes[n] >= ' ' && bytes[n] <= '~')
                n++;
        return n;
}

NodeNameVerdict node_name_check(const char *name, size_t n_name) {
        const uint8_t *bytes = (const uint8_t *)name;
        size_t n_characters, at;
        bool has_control = false;

        if (n_name == 0)
                return NODE_NAME_EMPTY;
        if (n_name > NODE_NAME_BYTES_MAX)
                return NODE_NAME_TOO_LONG;
        at = n_characters = count_printable_ascii(bytes, n_name);
        while (at < n_name) {
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

bool node_info_has_name(const NodeInfo *info, const char *name, size_t n_name) {
        return info->n_name == n_name && memcmp(info->name, name, n_name) == 0;
}

bool node_is_static(const Node *node) {
        return node->facts.origin != NODE_ORIGIN_REGISTERED;
}

bool node_is_elsewhere(const Node *node) {
        return node->facts.origin == NODE_ORIGIN_ELSEWHERE;
}

Node *node_new(const NodeInfo *info) {
        size_t n_data = info->n_name + 1 + info->n_extra + 1;
        Node *node = malloc(sizeof *node + n_data); /* calloc() takes nothing from the thread's own pieces */
        char *extra;

        if (!node)
                return NULL;
        *node = (Node){ 0 };
        extra = node->data + info->n_name + 1;
        memcpy(node->data, info->name, info->n_name);
        node->data[info->n_name] = 0;
        if (info->n_extra > 0)
                memcpy(extra, info->extra, info->n_extra);
        extra[info->n_extra] = 0;
        node->info = *info;
        node->info.name = node->data;
        node->info.extra = (const uint8_t *)extra;
        node->peer.uid = NODE_UID_UNKNOWN;
        node->connection_fd = -1;
        return node;
}

Node *node_copy(const Node *node) {
        _cleanup_(node_freep) Node *copy = node_new(&node->info);
        NodeInfo info;

        if (!copy)
                return NULL;
        info = copy->info;
        *copy = *node; /* copies the members; `data`, a flexible array, stays as node_new() made it */
        copy->info = info;
        copy->connection = NULL;
        copy->newer = copy->older = copy->next_in_names = NULL;
        copy->unit = NULL;
        copy->profile = (NodeProfile){ 0 };
        if (node->unit && !(copy->unit = strdup(node->unit)))
                return NULL;
        if (node_profile_copy(&node->profile, &copy->profile) < 0)
                return NULL;
        return TAKE_PTR(copy);
}

Node *node_free(Node *node) {
        if (node) {
                free(node->unit);
                node_profile_done(&node->profile);
        }
        free(node);
        return NULL;
}

void node_set_facts(Node *node, const NodeFacts *facts, uint64_t now_usec) {
        NodeState before = node->state;

        node->facts = *facts;
        node->state = node_state_decide(facts, &node->state_source);
        if (node->state != before || node->state_since_usec == 0)
                node->state_since_usec = now_usec;
}

/* --- what a node announced ------------------------------------------------------------------------ */

void node_profile_done(NodeProfile *profile) {
        free(profile->host);
        free(profile->metadata);
        *profile = (NodeProfile){ 0 };
}

int node_profile_copy(const NodeProfile *profile, NodeProfile *ret) {
        NodeProfile copy = { .is_host_static = profile->is_host_static, .n_metadata = profile->n_metadata };

        if (profile->host && !(copy.host = strdup(profile->host)))
                return -ENOMEM;
        if (profile->n_metadata > 0) {
                copy.metadata = malloc(profile->n_metadata);
                if (!copy.metadata) {
                        free(copy.host);
                        return -ENOMEM;
                }
                memcpy(copy.metadata, profile->metadata, profile->n_metadata);
        }
        *ret = copy;
        return 0;
}

const char *node_profile_host_source(const NodeProfile *profile) {
        if (!profile->host)
                return NULL;
        return profile->is_host_static ? "static" : "announced";
}

bool node_profile_equal(const NodeProfile *a, const NodeProfile *b) {
        if (!a->host != !b->host || (a->host && strcmp(a->host, b->host) != 0) || a->is_host_static != b->is_host_static)
                return false;
        return a->n_metadata == b->n_metadata &&
               (a->n_metadata == 0 || memcmp(a->metadata, b->metadata, a->n_metadata) == 0);
}

bool node_profile_next(const NodeProfile *profile, size_t *offset, const char **ret_key, const char **ret_value) {
        const char *key, *value;

        if (*offset >= profile->n_metadata)
                return false;
        key = profile->metadata + *offset;
        value = key + strlen(key) + 1;
        *offset = (size_t)(value - profile->metadata) + strlen(value) + 1;
        *ret_key = key;
        *ret_value = value;
        return true;
}

static bool is_metadata_key(const char *key, size_t n_key) {
        if (n_key == 0 || n_key > NODE_METADATA_KEY_MAX)
                return false;
        for (size_t i = 0; i < n_key; i++) {
                char c = key[i];

                if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                      c == '_' || c == '-'))
                        return false;
        }
        return true;
}

/* Where a pair with this key stands or belongs: its offset, and its size if it is there. */
static size_t node_profile_seek(const NodeProfile *profile, const char *key, size_t n_key, size_t *ret_n_pair,
                                size_t *ret_n_pairs) {
        const char *found_key, *found_value;
        size_t offset = 0, place = profile->n_metadata, n_pair = 0, n_pairs = 0;
        bool is_past = false;

        for (size_t begin = 0; node_profile_next(profile, &offset, &found_key, &found_value);
             begin = offset, n_pairs++) {
                size_t n_found = strlen(found_key);
                int r = memcmp(found_key, key, n_found < n_key ? n_found : n_key);

                if (is_past || r < 0 || (r == 0 && n_found < n_key))
                        continue;
                is_past = true;
                place = begin;
                if (r == 0 && n_found == n_key)
                        n_pair = offset - begin;
        }
        *ret_n_pair = n_pair;
        *ret_n_pairs = n_pairs;
        return place;
}

int node_profile_set(NodeProfile *profile, const char *key, size_t n_key, const char *value, size_t n_value) {
        size_t n_old, n_pairs, n_new = n_key + 1 + n_value + 1, n_after, place;
        char *metadata;

        if (!is_metadata_key(key, n_key) || n_value > NODE_METADATA_VALUE_MAX || !is_plain_text(value, n_value))
                return -EINVAL;
        place = node_profile_seek(profile, key, n_key, &n_old, &n_pairs);
        if (n_old == 0 && n_pairs >= NODE_METADATA_PAIRS_MAX)
                return -E2BIG;
        metadata = malloc(profile->n_metadata - n_old + n_new);
        if (!metadata)
                return -ENOMEM;
        n_after = profile->n_metadata - place - n_old;
        if (place > 0)
                memcpy(metadata, profile->metadata, place);
        memcpy(metadata + place, key, n_key);
        metadata[place + n_key] = 0;
        memcpy(metadata + place + n_key + 1, value, n_value);
        metadata[place + n_new - 1] = 0;
        if (n_after > 0)
                memcpy(metadata + place + n_new, profile->metadata + place + n_old, n_after);
        free(profile->metadata);
        profile->metadata = metadata;
        profile->n_metadata = profile->n_metadata - n_old + n_new;
        return 0;
}

bool node_host_is_valid(const char *host, size_t n_host) {
        return n_host > 0 && n_host <= NODE_HOST_BYTES_MAX && is_plain_text(host, n_host) &&
               !memchr(host, '@', n_host) && !memchr(host, ' ', n_host);
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

static const char *const end_words[_NODE_END_N] = {
        [NODE_END_LEFT] = "left",
        [NODE_END_REPLACED] = "replaced",
        [NODE_END_LISTENER_GONE] = "listener-gone",
        [NODE_END_FOUND_DEAD] = "found-dead",
        [NODE_END_MACHINE_RESTARTED] = "machine-restarted",
        [NODE_END_DID_NOT_RETURN] = "did-not-return",
        [NODE_END_STOPPED] = "stopped",
        [NODE_END_RELEASED] = "released",
        [NODE_END_REMOVED] = "removed",
};

const char *node_end_to_string(NodeEnd end) {
        return end_words[end];
}

int node_end_from_string(const char *word, NodeEnd *ret) {
        for (NodeEnd end = 0; end < _NODE_END_N; end++)
                if (strcmp(end_words[end], word) == 0) {
                        *ret = end;
                        return 0;
                }
        return -EINVAL;
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
