/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows who is registered and in what orders they are found, how many there are of each kind and user, and what is
 * given next. Does not know why somebody enters or leaves: registry_decide.c has the rules.
 *
 * The trap: registry_apply() cannot fail, so it must not allocate. Room is reserved while the decision is made; and what
 * counts nodes is undone before, and done again after, whatever it counts by is changed.
 */

#include "core/registry.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "core/creation.h"
#include "core/formers.h"
#include "core/index.h"
#include "core/names.h"
#include "core/node_list.h"
#include "core/registry_private.h"

/* How many nodes of one user there are (P6). Few users register nodes: a list will do. Those of whom the
 * kernel did not tell count as one user: not to be known must be no way around the limit. */
typedef struct UidCount {
        uid_t uid;
        size_t n_nodes;
} UidCount;

struct Registry {
        RegistryLimits limits;
        const Rules *rules; /* borrowed; or NULL */

        Names names;     /* every node, to be found by its name */
        Index by_name;   /* the same, by (name, scope): to be listed */
        Index by_cookie; /* those with a known listener, by (cookie, serial) */
        NodeList nodes;
        size_t n_in_state[_NODE_STATE_N]; /* of those on this machine */
        size_t n_awaited;
        size_t n_static;    /* of `nodes`: on this machine, by entries; they have a bound of their own */
        size_t n_elsewhere; /* of `nodes` */

        UidCount *uids;
        size_t n_uids, n_uids_room;

        Formers formers;
        Node *last_elsewhere; /* of another machine, whose entry was removed last; or NULL */

        uint64_t revision;
        uint64_t next_serial;
        uint32_t next_creation;
        uint32_t reserved_creation; /* the first that is not reserved */
};

int registry_new(Registry **ret, const RegistryLimits *limits, uint64_t seed) {
        _cleanup_(registry_freep) Registry *registry = calloc(1, sizeof *registry);

        if (!registry)
                return -ENOMEM;
        registry->limits = *limits;
        registry->next_serial = 1;
        registry->next_creation = registry->reserved_creation = CREATION_MIN;
        names_init(&registry->names, seed);
        if (formers_init(&registry->formers, REGISTRY_FORMERS_MAX, seed) < 0)
                return -ENOMEM;
        *ret = TAKE_PTR(registry);
        return 0;
}

const RegistryLimits *registry_limits(const Registry *registry) {
        return &registry->limits;
}

const Rules *registry_rules(const Registry *registry) {
        return registry->rules;
}

bool registry_is_helper(const Registry *registry, const NodeInfo *info) {
        return registry->rules && rules_is_helper(registry->rules, info->name, info->n_name);
}

void registry_set_rules(Registry *registry, const Rules *rules, const RegistryLimits *limits) {
        registry->rules = rules;
        registry->limits = *limits;
        for (Node *node = registry->nodes.newest; node; node = node->older)
                node->is_helper = !node_is_static(node) && registry_is_helper(registry, &node->info);
}

Registry *registry_free(Registry *registry) {
        if (!registry)
                return NULL;
        node_list_done(&registry->nodes);
        formers_done(&registry->formers);
        node_free(registry->last_elsewhere);
        index_done(&registry->by_cookie);
        index_done(&registry->by_name);
        names_done(&registry->names);
        free(registry->uids);
        free(registry);
        return NULL;
}

/* --- users ------------------------------------------------------------------------------------ */

static UidCount *registry_find_uid(const Registry *registry, uid_t uid) {
        for (size_t i = 0; i < registry->n_uids; i++)
                if (registry->uids[i].uid == uid)
                        return registry->uids + i;
        return NULL;
}

size_t registry_n_of_uid(const Registry *registry, uid_t uid) {
        const UidCount *count = registry_find_uid(registry, uid);

        return count ? count->n_nodes : 0;
}

int registry_reserve_uid(Registry *registry) {
        size_t n_room = registry->n_uids_room ? registry->n_uids_room * 2 : 16;
        UidCount *uids;

        if (registry->n_uids < registry->n_uids_room)
                return 0;
        uids = reallocarray(registry->uids, n_room, sizeof *uids);
        if (!uids)
                return -ENOMEM;
        registry->uids = uids;
        registry->n_uids_room = n_room;
        return 0;
}

static void registry_count_uid(Registry *registry, uid_t uid) {
        UidCount *count = registry_find_uid(registry, uid);

        if (!count) {
                assert(registry->n_uids < registry->n_uids_room);
                count = registry->uids + registry->n_uids++;
                *count = (UidCount){ .uid = uid };
        }
        count->n_nodes++;
}

static void registry_uncount_uid(Registry *registry, uid_t uid) {
        UidCount *count = registry_find_uid(registry, uid);

        assert(count && count->n_nodes > 0);
        if (--count->n_nodes == 0)
                *count = registry->uids[--registry->n_uids];
}

int registry_reserve(Registry *registry) {
        if (names_reserve(&registry->names, 1) < 0 || index_reserve(&registry->by_name, 1) < 0 ||
            index_reserve(&registry->by_cookie, 1) < 0)
                return -ENOMEM;
        return registry_reserve_uid(registry);
}

/* --- what is given next (P5) --------------------------------------------------------------------- */

void registry_advance_creation(Registry *registry, uint32_t first) {
        first = first < CREATION_MIN ? CREATION_MIN : first;
        /* A registry that has not begun is not "ahead" of anything. */
        if (registry->next_creation == CREATION_MIN ||
            creation_later(first, registry->next_creation) != registry->next_creation)
                registry->next_creation = registry->reserved_creation = first;
}

uint64_t registry_next_serial(const Registry *registry) {
        return registry->next_serial;
}

void registry_advance_serial(Registry *registry, uint64_t last) {
        registry->next_serial = max_u64(registry->next_serial, last + 1);
}

uint32_t registry_next_creation(const Registry *registry) {
        return registry->next_creation;
}

uint32_t registry_last_creation(const Registry *registry, const char *name, size_t n_name) {
        return formers_last_creation(&registry->formers, name, n_name);
}

uint32_t registry_reserved_creation(const Registry *registry) {
        return registry->reserved_creation;
}

bool registry_wants_creations(const Registry *registry) {
        uint32_t n_left = creation_distance(registry->next_creation, registry->reserved_creation);

        /* More than a block is never ahead: then it lies behind, and some were given without. */
        return n_left < CREATION_BLOCK / 2 || n_left > CREATION_BLOCK;
}

uint32_t registry_reserve_creations(Registry *registry) {
        registry->reserved_creation =
                creation_add(registry->next_creation, CREATION_BLOCK);
        return registry->reserved_creation;
}

/* --- applying --------------------------------------------------------------------------------- */

static void registry_count(Registry *registry, const Node *node) {
        registry->n_elsewhere += node_is_elsewhere(node);
        if (node_is_elsewhere(node))
                return;
        registry->n_static += node_is_static(node);
        registry->n_in_state[node->state]++;
        registry->n_awaited += node->facts.is_awaited;
}

static void registry_uncount(Registry *registry, const Node *node) {
        registry->n_elsewhere -= node_is_elsewhere(node);
        if (node_is_elsewhere(node))
                return;
        registry->n_static -= node_is_static(node);
        registry->n_in_state[node->state]--;
        registry->n_awaited -= node->facts.is_awaited;
}

static void registry_set_facts(Registry *registry, Node *node, const Change *change) {
        registry_uncount(registry, node);
        node_set_facts(node, &change->facts, change->now_usec);
        node->unit_pid = change->unit_pid;
        node->unit_invocation = change->unit_invocation;
        node->pinned_port = change->pinned_port;
        registry_count(registry, node);
}

static void registry_insert(Registry *registry, Node *node) {
        names_insert(&registry->names, node);
        index_insert(&registry->by_name,
                     index_seek_name(&registry->by_name, node->info.name, node->info.n_name,
                                     &node->scope),
                     node);
        if (node->listener.cookie != 0)
                index_insert(&registry->by_cookie,
                             index_seek_cookie(&registry->by_cookie, node->listener.cookie,
                                               node->serial),
                             node);
        node_list_push_newest(&registry->nodes, node);
        registry_count(registry, node);
        if (!node_is_static(node))
                registry_count_uid(registry, node->peer.uid);
}

/* Serials can be equal: a file that is read late brings some that have meanwhile been given again. */
static size_t registry_position_by_cookie(const Registry *registry, const Node *node) {
        const Index *index = &registry->by_cookie;
        size_t position = index_seek_cookie(index, node->listener.cookie, node->serial);

        while (index->nodes[position] != node)
                position++;
        return position;
}

static void registry_remove(Registry *registry, Node *node) {
        if (!node_is_static(node))
                registry_uncount_uid(registry, node->peer.uid);
        registry_uncount(registry, node);
        node_list_remove(&registry->nodes, node);
        if (node->listener.cookie != 0)
                index_remove(&registry->by_cookie, registry_position_by_cookie(registry, node));
        index_remove(&registry->by_name, index_seek_name(&registry->by_name, node->info.name,
                                                         node->info.n_name, &node->scope));
        names_remove(&registry->names, node);
}

static void registry_apply_register(Registry *registry, Node *node) {
        if (!node_is_elsewhere(node))
                formers_give_way(&registry->formers, node);
        registry_insert(registry, node);
        registry->next_serial = node->serial + 1;
        if (!node_is_static(node))
                registry->next_creation = creation_add(registry->next_creation, 1);
}

/* Nothing is remembered of one that was on another machine: it was told of, and is not any more. It stays as good as
 * a former until the next change. */
static void registry_bury(Registry *registry, Node *node) {
        if (node_is_elsewhere(node)) {
                node_free(registry->last_elsewhere);
                registry->last_elsewhere = node;
        } else
                formers_add(&registry->formers, node);
}

/* The connection changes hands, and with it what was told on it. */
static void take_connection_of(Node *node, Node *twin) {
        uint32_t creation = node->creation;
        NodeProfile profile = node->profile;

        node->creation = twin->creation;
        twin->creation = creation;
        node->profile = twin->profile;
        twin->profile = profile;
        twin->connection = NULL;
}

static void registry_apply_return(Registry *registry, const Change *change) {
        Node *node = change->node;

        registry_uncount_uid(registry, node->peer.uid);
        node->peer = change->peer;
        registry_count_uid(registry, node->peer.uid);
        node->connection = change->connection;
        node->connection_fd = change->connection_fd;
        if (change->twin)
                take_connection_of(node, change->twin);
        registry_set_facts(registry, node, change);
}

static void registry_apply_facts(Registry *registry, Change *change) {
        Node *node = change->node;

        if (change->facts.is_awaited && !node->facts.is_awaited) {
                node->connection = NULL;
                node->await_until_usec = change->await_until_usec;
        }
        registry_set_facts(registry, node, change);
        if (!change->has_profile)
                return;
        node_profile_done(&node->profile);
        node->profile = change->profile;
        change->profile = (NodeProfile){ 0 };
}

void registry_apply(Registry *registry, Change *change) {
        switch (change->kind) {
        case CHANGE_NONE:
                return;
        case CHANGE_REGISTER:
                registry_apply_register(registry, change->node);
                break;
        case CHANGE_RETURN:
                registry_apply_return(registry, change);
                break;
        case CHANGE_FACTS:
                registry_apply_facts(registry, change);
                break;
        case CHANGE_END:
                registry_remove(registry, change->node);
                change->node->end = change->end;
                change->node->until_usec = change->now_usec;
                snprintf(change->node->ended_by, sizeof change->node->ended_by, "%s",
                         change->by ? change->by : "");
                registry_bury(registry, change->node);
                break;
        }
        registry->revision++;
}

/* --- start ------------------------------------------------------------------------------------ */

int registry_restore(Registry *registry, Node **node) {
        Node *restored = *node;
        int r;

        if (registry_find_conflict(registry, restored->info.name, restored->info.n_name,
                                   &restored->scope, NULL))
                return -EEXIST;
        r = registry_reserve(registry);
        if (r < 0)
                return r;
        restored->is_helper = !node_is_static(restored) && registry_is_helper(registry, &restored->info);
        formers_give_way(&registry->formers, restored);
        registry_insert(registry, TAKE_PTR(*node));
        registry->next_serial = max_u64(registry->next_serial, restored->serial + 1);
        registry->revision++;
        return 0;
}

int registry_restore_former(Registry *registry, Node **node) {
        const NodeInfo *info = &(*node)->info;
        const Node *former = formers_find(&registry->formers, info->name, info->n_name);

        if (names_find(&registry->names, info->name, info->n_name) ||
            (former && former->until_usec >= (*node)->until_usec))
                return -EEXIST;
        formers_add(&registry->formers, TAKE_PTR(*node));
        return 0;
}

/* --- reading ---------------------------------------------------------------------------------- */

Node *registry_find(const Registry *registry, const char *name, size_t n_name,
                          const Address *local) {
        Node *found = NULL;

        for (Node *node = names_find(&registry->names, name, n_name); node; node = names_next(node)) {
                if (node_is_elsewhere(node))
                        continue;
                /* `*` conflicts with every other scope: it is alone, and first. */
                if (address_is_any(&node->scope) || address_equal(&node->scope, local))
                        return node;
                if (!found || node->serial < found->serial)
                        found = node;
        }
        return found;
}

Node *registry_find_sole(const Registry *registry, const char *name, size_t n_name, bool *ret_is_sole) {
        Node *found = NULL;

        *ret_is_sole = true;
        for (Node *node = names_find(&registry->names, name, n_name); node; node = names_next(node)) {
                if (node_is_elsewhere(node))
                        continue;
                if (found) {
                        *ret_is_sole = false;
                        return NULL;
                }
                found = node;
        }
        return found;
}

Node *registry_find_by_cookie(const Registry *registry, uint64_t cookie) {
        const Index *index = &registry->by_cookie;
        size_t position = index_seek_cookie(index, cookie, 0);

        if (position == index->n_nodes || index->nodes[position]->listener.cookie != cookie)
                return NULL;
        return index->nodes[position];
}

Node *registry_find_after_cookie(const Registry *registry, uint64_t cookie) {
        const Index *index = &registry->by_cookie;
        size_t position = index_seek_cookie(index, cookie, UINT64_MAX);

        return position < index->n_nodes ? index->nodes[position] : NULL;
}

Node *registry_next_by_cookie(const Registry *registry, const Node *node) {
        const Index *index = &registry->by_cookie;
        uint64_t cookie = node->listener.cookie;
        size_t position = registry_position_by_cookie(registry, node) + 1;

        if (position == index->n_nodes || index->nodes[position]->listener.cookie != cookie)
                return NULL;
        return index->nodes[position];
}

size_t registry_n_nodes(const Registry *registry) {
        return registry->nodes.n_nodes - registry->n_elsewhere;
}

size_t registry_n_registered(const Registry *registry) {
        return registry_n_nodes(registry) - registry->n_static;
}

size_t registry_n_elsewhere(const Registry *registry) {
        return registry->n_elsewhere;
}

size_t registry_n_in_state(const Registry *registry, NodeState state) {
        return registry->n_in_state[state];
}

uint64_t registry_revision(const Registry *registry) {
        return registry->revision;
}

size_t registry_n_awaited(const Registry *registry) {
        return registry->n_awaited;
}

Node *registry_find_key(const Registry *registry, const char *name, size_t n_name, const Address *scope) {
        Node *node = names_find(&registry->names, name, n_name);

        while (node && !address_equal(&node->scope, scope))
                node = names_next(node);
        return node;
}

Node *registry_find_name(const Registry *registry, const char *name, size_t n_name, const Node *after) {
        return after ? names_next(after) : names_find(&registry->names, name, n_name);
}

const Node *registry_find_former(const Registry *registry, const char *name, size_t n_name) {
        return formers_find(&registry->formers, name, n_name);
}

size_t registry_seek(const Registry *registry, const char *name, size_t n_name) {
        return index_seek_name(&registry->by_name, name, n_name, &ADDRESS_ANY);
}

Node *registry_at(const Registry *registry, size_t position) {
        return position < registry->by_name.n_nodes ? registry->by_name.nodes[position] : NULL;
}

Node *registry_newest(const Registry *registry) {
        return registry->nodes.newest;
}

Node *registry_oldest_former(const Registry *registry) {
        return registry->formers.nodes.oldest;
}
