/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows what a section [node NAME] may say. Does not know how a file is read (config_file), nor what follows from an
 * entry (serve/statics).
 *
 * The trap: an entry of which half is understood would be another one, at an address or a port that nobody meant. It
 * is left out whole, and told.
 */

#include "config/node_drafts.h"

#include <assert.h>
#include <string.h>

#include "config/settings.h"

static void node_draft_done(NodeDraft *node) {
        entry_done(&node->entry);
        free(node->origin);
}

void node_drafts_done(NodeDrafts *drafts) {
        for (size_t i = 0; i < drafts->n_nodes; i++)
                node_draft_done(drafts->nodes + i);
        free(drafts->nodes);
        *drafts = (NodeDrafts){ 0 };
}

static int refuse(NodeDraft *node, char **ret_why, const char *value, const char *expected) {
        node->is_broken = true;
        return problems_refuse(ret_why, "'%s' is not %s", value, expected);
}

int node_drafts_begin(NodeDrafts *drafts, const char *name, const char *file, const char *origin, char **ret_why) {
        NodeDraft *grown = reallocarray(drafts->nodes, drafts->n_nodes + 1, sizeof *grown), *node;

        if (!grown)
                return -ENOMEM;
        drafts->nodes = grown;
        node = grown + drafts->n_nodes;
        *node = (NodeDraft){
                .entry = { .name = strdup(name), .n_name = strlen(name), .by = strdup(file) },
                .origin = strdup(origin),
        };
        drafts->n_nodes++;
        if (!node->entry.name || !node->entry.by || !node->origin)
                return -ENOMEM;
        /* What stands behind the @ has a line of its own. */
        if (node_name_check(name, strlen(name)) != NODE_NAME_OK || strchr(name, '@'))
                return refuse(node, ret_why, name, "the name of a node (without a host part)");
        return 0;
}

void node_drafts_break(NodeDrafts *drafts) {
        if (drafts->n_nodes > 0)
                drafts->nodes[drafts->n_nodes - 1].is_broken = true;
}

static int set_host(NodeDraft *node, const char *value, char **ret_why) {
        if (!node_host_is_valid(value, strlen(value)))
                return refuse(node, ret_why, value, "the host part of a node's name");
        free(node->entry.host);
        node->entry.host = strdup(value);
        return node->entry.host ? 0 : -ENOMEM;
}

int node_drafts_set(NodeDrafts *drafts, const char *key, const char *value, char **ret_why) {
        NodeDraft *node = drafts->nodes + drafts->n_nodes - 1;
        unsigned long port;

        assert(drafts->n_nodes > 0);
        if (strcmp(key, "host-part") == 0)
                return set_host(node, value, ret_why);
        if (strcmp(key, "address") == 0)
                return address_parse(value, &node->entry.address) < 0 ? refuse(node, ret_why, value, "an address, or *") : 0;
        if (strcmp(key, "port") == 0) {
                if (setting_parse_number(value, 1, UINT16_MAX, &port) < 0)
                        return refuse(node, ret_why, value, "a port");
                node->entry.port = (uint16_t)port;
                return 0;
        }
        node->is_broken = true;
        return -ENOENT;
}

/* True if nothing speaks against the entry. One that was told to be broken is left out without a word. */
static bool node_draft_is_whole(const NodeDraft *node, const Entries *entries, Problems *problems) {
        const Entry *entry = &node->entry, *same;

        if (node->is_broken)
                return false;
        same = entries_find(entries, entry->name, entry->n_name, &entry->address);
        if (entry->port == 0)
                problems_add_error(problems, "%s: [node %s] has no line port=", node->origin, entry->name);
        else if (same)
                problems_add_error(problems, "%s: [node %s] has an entry for that address already, in %s", node->origin,
                                   entry->name, same->by);
        else if (entries->n_entries >= ENTRIES_STATICS_MAX)
                problems_add_error(problems, "%s: [node %s] is one more than %u static entries", node->origin, entry->name,
                                   ENTRIES_STATICS_MAX);
        else
                return true;
        return false;
}

int node_drafts_make(const NodeDrafts *drafts, Entries *ret, Problems *problems) {
        _cleanup_(entries_done) Entries entries = { 0 };
        uint64_t now = now_usec(CLOCK_REALTIME);

        for (size_t i = 0; i < drafts->n_nodes; i++) {
                const NodeDraft *node = drafts->nodes + i;
                Entry copy;

                if (!node_draft_is_whole(node, &entries, problems))
                        continue;
                if (entries_reserve(&entries) < 0 || entry_copy(&node->entry, &copy) < 0)
                        return -ENOMEM;
                copy.since_usec = now;
                entries_put(&entries, &copy);
        }
        *ret = entries;
        entries = (Entries){ 0 };
        return 0;
}

void node_drafts_print(const Entries *entries, FILE *out) {
        for (size_t i = 0; i < entries->n_entries; i++) {
                const Entry *entry = entries->entries + i;
                char address[ADDRESS_TEXT_MAX];

                fprintf(out, "\n[node %s]\n# %s\n", entry->name, entry->by);
                if (entry->host)
                        fprintf(out, "host-part = %s\n", entry->host);
                fprintf(out, "address = %s\nport = %u\n", address_format(&entry->address, address), entry->port);
        }
}
