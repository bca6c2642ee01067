/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows who had a name that nobody has now: DUMP lists them as old, and a name's next 16-bit creation is not its
 * last one (P5). Does not know who is registered.
 *
 * The trap: who came and went most often is not who must be remembered. Helpers, which take a new name each time,
 * would crowd out those whose last creation counts.
 */

#include "core/formers.h"

#include "core/creation.h"

int formers_init(Formers *formers, size_t n_max, uint64_t seed) {
        *formers = (Formers){ .n_max = n_max };
        names_init(&formers->by_name, seed);
        /* One more than are ever kept: a former is added before the oldest is dropped. */
        return names_reserve(&formers->by_name, n_max + 1);
}

void formers_done(Formers *formers) {
        node_list_done(&formers->nodes);
        names_done(&formers->by_name);
}

static uint32_t last_creation_of(const Node *node) {
        return node->creation != 0 ? node->creation : node->creation_before;
}

static void formers_forget(Formers *formers, Node *former) {
        names_remove(&formers->by_name, former);
        node_list_remove(&formers->nodes, former);
        node_free(former);
}

const Node *formers_find(const Formers *formers, const char *name, size_t n_name) {
        return names_find(&formers->by_name, name, n_name);
}

uint32_t formers_last_creation(const Formers *formers, const char *name, size_t n_name) {
        const Node *former = formers_find(formers, name, n_name);

        return former ? last_creation_of(former) : 0;
}

void formers_give_way(Formers *formers, Node *node) {
        const NodeInfo *info = &node->info;
        Node *former;

        while ((former = names_find(&formers->by_name, info->name, info->n_name))) {
                if (last_creation_of(node) == 0)
                        node->creation_before = last_creation_of(former);
                formers_forget(formers, former);
        }
}

/* The oldest goes first, but those that were given 1..3 last: they are what P5 needs to know. */
static void formers_shed(Formers *formers) {
        Node *former = formers->nodes.oldest;

        if (formers->nodes.n_nodes <= formers->n_max)
                return;
        while (former->newer && last_creation_of(former) > 0 && last_creation_of(former) <= CREATION_SMALL_MAX)
                former = former->newer;
        /* All others are small ones: the newest, which has just come, is not the one to go. */
        if (!former->newer)
                former = formers->nodes.oldest;
        formers_forget(formers, former);
}

void formers_add(Formers *formers, Node *node) {
        formers_give_way(formers, node);
        names_insert(&formers->by_name, node);
        node_list_push_newest(&formers->nodes, node);
        formers_shed(formers);
}
