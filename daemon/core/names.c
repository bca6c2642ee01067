/* SPDX-License-Identifier: Apache-2.0 */
/* Knows where the nodes of a name are. Does not know prefixes nor any order of names (core/index). Owns the buckets,
 * never the nodes. */

#include "core/names.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "core/hash.h"

#define BUCKETS_AT_FIRST 128

void names_init(Names *names, uint64_t seed) {
        *names = (Names){ .seed = seed };
}

void names_done(Names *names) {
        free(names->buckets);
        names_init(names, names->seed);
}

static uint32_t names_hash(const Names *names, const char *name, size_t n_name) {
        return (uint32_t)hash_bytes(name, n_name, names->seed);
}

static Node **names_bucket(const Names *names, uint32_t hash) {
        return names->buckets + (hash & (names->n_buckets - 1));
}

static Node *reversed(Node *node) {
        Node *before = NULL, *next;

        for (; node; node = next) {
                next = node->next_in_names;
                node->next_in_names = before;
                before = node;
        }
        return before;
}

/* A bucket's nodes share one of the larger table's with no other bucket's: put there from the last to the first they
 * follow each other as before, and nobody looks for a place, however many have one name (P6). */
static void bucket_move(Node *bucket, Names *larger) {
        for (Node *node = reversed(bucket), *next; node; node = next) {
                Node **place = names_bucket(larger, node->name_hash);

                next = node->next_in_names;
                node->next_in_names = *place;
                *place = node;
        }
}

int names_reserve(Names *names, size_t n) {
        size_t n_buckets = names->n_buckets ? names->n_buckets : BUCKETS_AT_FIRST;
        Names larger = { .seed = names->seed, .n_nodes = names->n_nodes };

        while (n_buckets / 2 < names->n_nodes + n)
                n_buckets *= 2;
        if (n_buckets == names->n_buckets)
                return 0;
        larger.n_buckets = n_buckets;
        larger.buckets = calloc(n_buckets, sizeof *larger.buckets);
        if (!larger.buckets)
                return -ENOMEM;
        for (size_t i = 0; i < names->n_buckets; i++)
                bucket_move(names->buckets[i], &larger);
        free(names->buckets);
        *names = larger;
        return 0;
}

static Node *first_named(Node *node, uint32_t hash, const char *name, size_t n_name) {
        while (node && !(node->name_hash == hash && node_info_has_name(&node->info, name, n_name)))
                node = node->next_in_names;
        return node;
}

Node *names_find(const Names *names, const char *name, size_t n_name) {
        uint32_t hash = names_hash(names, name, n_name);

        return names->n_nodes > 0 ? first_named(*names_bucket(names, hash), hash, name, n_name) : NULL;
}

Node *names_next(const Node *node) {
        return first_named(node->next_in_names, node->name_hash, node->info.name, node->info.n_name);
}

/* Before the first of its name that has a greater scope, else behind its name's last. */
static Node **bucket_find_place(Node **bucket, const Node *node) {
        Node **place = bucket;

        for (Node **link = bucket; *link; link = &(*link)->next_in_names) {
                if (!node_info_has_name(&(*link)->info, node->info.name, node->info.n_name))
                        continue;
                if (address_compare(&node->scope, &(*link)->scope) < 0)
                        return link;
                place = &(*link)->next_in_names;
        }
        return place;
}

void names_insert(Names *names, Node *node) {
        Node **place;

        assert(names->n_nodes < names->n_buckets / 2);
        node->name_hash = names_hash(names, node->info.name, node->info.n_name);
        place = bucket_find_place(names_bucket(names, node->name_hash), node);
        node->next_in_names = *place;
        *place = node;
        names->n_nodes++;
}

void names_remove(Names *names, Node *node) {
        Node **link = names_bucket(names, node->name_hash);

        while (*link != node)
                link = &(*link)->next_in_names;
        *link = node->next_in_names;
        node->next_in_names = NULL;
        names->n_nodes--;
}
