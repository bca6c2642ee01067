/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows who is registered, who was, and by which rules a name is given, refused, taken back and given up
 * (P3, P4, P5, P6). Does not know connections, clocks, files or bytes: evidence and times come in with the
 * event, and what must be done about a decision is said in a Change.
 *
 * The trap: registry_decide() may reserve room but must not change what the registry says, since its
 * change can still be dropped; registry_apply() must not allocate, since it cannot fail.
 */

#include "core/registry.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "core/creation.h"
#include "core/index.h"

/* How many nodes of one user there are (P6). Few users register nodes: a list will do. Those of whom the
 * kernel did not tell count as one user: not to be known must be no way around the limit. */
typedef struct UidCount {
        uid_t uid;
        size_t n_nodes;
} UidCount;

typedef struct NodeList {
        Node *newest, *oldest;
        size_t n_nodes;
} NodeList;

struct Registry {
        RegistryLimits limits;
        const Rules *rules; /* borrowed; or NULL */

        Index by_name;   /* every node, by (name, scope) */
        Index by_cookie; /* those with a known listener, by (cookie, serial) */
        NodeList nodes;
        size_t n_in_state[_NODE_STATE_N]; /* of those on this machine */
        size_t n_awaited;
        size_t n_static;    /* of `nodes`: on this machine, by entries; they have a bound of their own */
        size_t n_elsewhere; /* of `nodes` */

        UidCount *uids;
        size_t n_uids, n_uids_room;

        Index formers_by_name;
        NodeList formers;
        Node *last_elsewhere; /* of another machine, whose entry was removed last; or NULL */

        uint64_t revision;
        uint64_t next_serial;
        uint32_t next_creation;
        uint32_t reserved_creation; /* the first that is not reserved */
};

int registry_new(Registry **ret, const RegistryLimits *limits) {
        _cleanup_(registry_freep) Registry *registry = calloc(1, sizeof *registry);

        if (!registry)
                return -ENOMEM;
        registry->limits = *limits;
        registry->next_serial = 1;
        registry->next_creation = registry->reserved_creation = CREATION_MIN;
        /* One more than are ever kept: a former is added before the oldest is dropped. */
        if (index_reserve(&registry->formers_by_name, REGISTRY_FORMERS_MAX + 1) < 0)
                return -ENOMEM;
        *ret = TAKE_PTR(registry);
        return 0;
}

static bool registry_is_helper(const Registry *registry, const NodeInfo *info) {
        return registry->rules && rules_is_helper(registry->rules, info->name, info->n_name);
}

void registry_set_rules(Registry *registry, const Rules *rules, const RegistryLimits *limits) {
        registry->rules = rules;
        registry->limits = *limits;
        for (Node *node = registry->nodes.newest; node; node = node->older)
                node->is_helper = !node_is_static(node) && registry_is_helper(registry, &node->info);
}

static void node_list_free(NodeList *list) {
        while (list->newest) {
                Node *node = list->newest;

                list->newest = node->older;
                node_free(node);
        }
}

Registry *registry_free(Registry *registry) {
        if (!registry)
                return NULL;
        node_list_free(&registry->nodes);
        node_list_free(&registry->formers);
        node_free(registry->last_elsewhere);
        index_done(&registry->formers_by_name);
        index_done(&registry->by_cookie);
        index_done(&registry->by_name);
        free(registry->uids);
        free(registry);
        return NULL;
}

static void node_list_push_newest(NodeList *list, Node *node) {
        node->older = list->newest;
        node->newer = NULL;
        if (list->newest)
                list->newest->newer = node;
        else
                list->oldest = node;
        list->newest = node;
        list->n_nodes++;
}

static void node_list_remove(NodeList *list, Node *node) {
        if (node->newer)
                node->newer->older = node->older;
        else
                list->newest = node->older;
        if (node->older)
                node->older->newer = node->newer;
        else
                list->oldest = node->newer;
        node->newer = node->older = NULL;
        list->n_nodes--;
}

/* --- users ------------------------------------------------------------------------------------ */

static UidCount *registry_find_uid(const Registry *registry, uid_t uid) {
        for (size_t i = 0; i < registry->n_uids; i++)
                if (registry->uids[i].uid == uid)
                        return registry->uids + i;
        return NULL;
}

static int registry_reserve_uid(Registry *registry) {
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

/* --- creations (P5) --------------------------------------------------------------------------- */

void registry_advance_creation(Registry *registry, uint32_t first) {
        first = first < CREATION_MIN ? CREATION_MIN : first;
        /* A registry that has not begun is not "ahead" of anything. */
        if (registry->next_creation == CREATION_MIN ||
            creation_later(first, registry->next_creation) != registry->next_creation)
                registry->next_creation = registry->reserved_creation = first;
}

void registry_advance_serial(Registry *registry, uint64_t last) {
        registry->next_serial = max_u64(registry->next_serial, last + 1);
}

uint32_t registry_next_creation(const Registry *registry) {
        return registry->next_creation;
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

static Node *index_first_of_name(const Index *index, const char *name, size_t n_name) {
        size_t position = index_seek_name(index, name, n_name, &ADDRESS_ANY);
        Node *node;

        if (position == index->n_nodes)
                return NULL;
        node = index->nodes[position];
        if (!node_info_has_name(&node->info, name, n_name))
                return NULL;
        return node;
}

static uint32_t node_last_creation(const Node *node) {
        return node->creation != 0 ? node->creation : node->creation_before;
}

/* What the newcomer is given: the next number, or for an old asker 1..3, not what the name had last. */
static uint32_t registry_choose_creation(const Registry *registry, const NodeInfo *info) {
        const Node *former;

        if (info->highest_version >= NODE_VERSION_CREATION_32)
                return registry->next_creation;
        former = index_first_of_name(&registry->formers_by_name, info->name, info->n_name);
        return creation_small(registry->next_creation, former ? node_last_creation(former) : 0);
}

/* --- who is in the way ------------------------------------------------------------------------ */

Address registry_scope_of(const NodeListener *listener) {
        return listener->cookie ? listener->address : ADDRESS_ANY;
}

/* Two nodes of one name; that of another machine is only in the way of the same address. */
static bool node_is_in_the_way(const Node *node, const Address *scope) {
        if (address_equal(&node->scope, scope))
                return true;
        return !node_is_elsewhere(node) && (address_is_any(&node->scope) || address_is_any(scope));
}

Node *registry_find_conflict(const Registry *registry, const char *name, size_t n_name,
                             const Address *scope, const Node *after) {
        const Index *index = &registry->by_name;
        size_t position = after ? index_seek_name(index, name, n_name, &after->scope) + 1
                                : index_seek_name(index, name, n_name, &ADDRESS_ANY);

        for (; position < index->n_nodes; position++) {
                Node *node = index->nodes[position];

                if (!node_info_has_name(&node->info, name, n_name))
                        return NULL;
                if (node_is_in_the_way(node, scope))
                        return node;
        }
        return NULL;
}

static bool node_info_equal(const NodeInfo *a, const NodeInfo *b) {
        return a->port == b->port && a->type == b->type && a->protocol == b->protocol &&
               a->highest_version == b->highest_version && a->lowest_version == b->lowest_version &&
               a->n_extra == b->n_extra &&
               (a->n_extra == 0 || memcmp(a->extra, b->extra, a->n_extra) == 0);
}

/* The same listening socket, by a number that the kernel never gives twice: the same node (P5). */
static bool event_is_return_of(const Event *event, const Node *holder) {
        return holder->facts.is_awaited && !node_is_static(holder) && holder->listener.cookie != 0 &&
               holder->listener.cookie == event->listener.cookie &&
               node_info_equal(&holder->info, &event->info);
}

/* P4: a holder gives way if nothing says that it is alive. An open connection does, as in stock epmd, until
 * the listener that was matched to it has closed; a connection that our own restart cut does not, but a
 * listener that the kernel still has does (such a node is awaited without a limit). A static node gives way to itself,
 * once it registers; and none to a static one that may come back. */
static bool holder_yields(const Node *holder, const Event *event) {
        if (holder->facts.is_listener_gone || node_is_elsewhere(holder))
                return true;
        if (event->kind == EVENT_STATIC)
                return false;
        if (node_is_static(holder) && holder->listener.cookie == event->listener.cookie)
                return true;
        if (!holder->facts.is_awaited)
                return false;
        return holder->await_until_usec != USEC_INFINITE ||
               (event->listener.cookie != 0 && holder->listener.cookie == event->listener.cookie);
}

/* --- deciding --------------------------------------------------------------------------------- */

static Refusal refusal_of_info(const NodeInfo *info) {
        switch (node_name_check(info->name, info->n_name)) {
        case NODE_NAME_OK:
                break;
        case NODE_NAME_EMPTY:
                return REFUSAL_NAME_EMPTY;
        case NODE_NAME_TOO_LONG:
                return REFUSAL_NAME_TOO_LONG;
        case NODE_NAME_NOT_UTF8:
                return REFUSAL_NAME_NOT_UTF8;
        case NODE_NAME_CONTROL_CHARACTER:
                return REFUSAL_NAME_CONTROL_CHARACTER;
        }
        return info->n_extra > NODE_EXTRA_BYTES_MAX ? REFUSAL_EXTRA_TOO_LONG : REFUSAL_NONE;
}

/* All that are in the way make room for the newcomer: they count no more. */
static Refusal registry_refusal_of_limits(const Registry *registry, const Event *event,
                                          const Address *scope) {
        const UidCount *count = registry_find_uid(registry, event->peer.uid);
        size_t n_of_uid = count ? count->n_nodes : 0;
        size_t n_nodes = registry_n_nodes(registry) - registry->n_static;
        const Node *yielding = NULL;

        while ((yielding = registry_find_conflict(registry, event->info.name, event->info.n_name,
                                                  scope, yielding))) {
                if (node_is_static(yielding))
                        continue;
                n_nodes--;
                if (count && yielding->peer.uid == event->peer.uid)
                        n_of_uid--;
        }
        if (n_nodes >= registry->limits.n_nodes_max)
                return REFUSAL_NODES_LIMIT;
        if (n_of_uid >= registry->limits.n_nodes_per_uid_max)
                return REFUSAL_UID_LIMIT;
        return REFUSAL_NONE;
}

static int registry_reserve(Registry *registry) {
        if (index_reserve(&registry->by_name, 1) < 0 || index_reserve(&registry->by_cookie, 1) < 0)
                return -ENOMEM;
        return registry_reserve_uid(registry);
}

static int registry_decide_new(Registry *registry, const Event *event, Change *ret) {
        NodeFacts facts = { .unit_phase = event->unit_phase };
        _cleanup_(node_freep) Node *node = node_new(&event->info);
        int r;

        if (!node)
                return -ENOMEM;
        if (event->unit && !(node->unit = strdup(event->unit)))
                return -ENOMEM;
        r = registry_reserve(registry);
        if (r < 0)
                return r;
        node->scope = registry_scope_of(&event->listener);
        node->listener = event->listener;
        node->peer = event->peer;
        node->is_unit_own = event->is_unit_own;
        node->unit_pid = event->unit_pid;
        node->unit_invocation = event->unit_invocation;
        node->pinned_port = event->pinned_port;
        node->is_helper = registry_is_helper(registry, &event->info);
        node_set_facts(node, &facts, event->now_usec);
        node->creation = registry_choose_creation(registry, &event->info);
        node->since_usec = event->now_usec;
        node->connection = event->connection;
        node->connection_fd = event->connection_fd;
        node->serial = registry->next_serial;
        *ret = (Change){ .kind = CHANGE_REGISTER, .node = TAKE_PTR(node), .now_usec = event->now_usec };
        return 0;
}

/* What has been made of the event as of a registration, as a node that has not registered. 0 or -ENOMEM. */
static int make_static(Node *node, const Event *event) {
        NodeFacts facts = node->facts;

        facts.origin = event->is_elsewhere ? NODE_ORIGIN_ELSEWHERE : NODE_ORIGIN_STATIC;
        node->scope = event->scope;
        node->creation = 0;
        node->is_helper = false;
        node_set_facts(node, &facts, event->now_usec);
        return event->profile ? node_profile_copy(event->profile, &node->profile) : 0;
}

static Change change_replaced(Node *holder, const Event *event) {
        return (Change){
                .kind = CHANGE_END,
                .node = holder,
                .end = NODE_END_REPLACED,
                .now_usec = event->now_usec,
        };
}

static int registry_decide_return(Registry *registry, const Event *event, Node *holder,
                                  Change *ret) {
        int r = registry_reserve_uid(registry);

        if (r < 0)
                return r;
        *ret = (Change){
                .kind = CHANGE_RETURN,
                .node = holder,
                .now_usec = event->now_usec,
                .facts = holder->facts,
                .unit_pid = holder->unit_pid,
                .unit_invocation = holder->unit_invocation,
                .pinned_port = holder->pinned_port,
                .peer = event->peer,
                .connection = event->connection,
                .connection_fd = event->connection_fd,
        };
        ret->facts.is_awaited = false;
        return 0;
}

/* All that are in the way must yield. The first that does not is the reason to refuse, one that will stay
 * before one that is going. NULL: none. */
static const Node *registry_find_obstacle(const Registry *registry, const Event *event,
                                          const Address *scope) {
        const Node *going = NULL;
        Node *holder = NULL;

        while ((holder = registry_find_conflict(registry, event->info.name, event->info.n_name,
                                                scope, holder))) {
                if (holder_yields(holder, event))
                        continue;
                if (!node_is_going(&holder->facts))
                        return holder;
                if (!going)
                        going = holder;
        }
        return going;
}

/* Why the newcomer cannot have the name; REFUSAL_NONE: he can, once those in his way have been ended. */
static void registry_judge(const Registry *registry, const Event *event, const Address *scope, Reply *ret) {
        *ret = (Reply){ .refusal = refusal_of_info(&event->info) };
        if (ret->refusal != REFUSAL_NONE)
                return;
        if (registry->rules && !rules_allow(registry->rules, event->info.name, event->info.n_name,
                                            &event->peer, event->unit, &ret->reservation)) {
                ret->refusal = REFUSAL_NAME_RESERVED;
                return;
        }
        ret->holder = registry_find_obstacle(registry, event, scope);
        if (ret->holder) {
                ret->refusal = REFUSAL_NAME_TAKEN;
                ret->is_holder_going = node_is_going(&ret->holder->facts);
                return;
        }
        ret->refusal = registry_refusal_of_limits(registry, event, scope);
}

static int registry_decide_register(Registry *registry, const Event *event, Change *ret_change,
                                    Reply *ret_reply) {
        Address scope = registry_scope_of(&event->listener);
        Node *holder = registry_find_conflict(registry, event->info.name, event->info.n_name, &scope, NULL);
        int r;

        if (holder && event_is_return_of(event, holder)) {
                *ret_reply = (Reply){ .creation = holder->creation, .node = holder };
                return registry_decide_return(registry, event, holder, ret_change);
        }
        registry_judge(registry, event, &scope, ret_reply);
        if (ret_reply->refusal != REFUSAL_NONE)
                return 0;
        if (holder) {
                *ret_change = change_replaced(holder, event);
                return REGISTRY_E_AGAIN;
        }
        r = registry_decide_new(registry, event, ret_change);
        if (r < 0)
                return r;
        ret_reply->creation = ret_change->node->creation;
        ret_reply->node = ret_change->node;
        return 0;
}

static Change change_end(const Event *event, NodeEnd end) {
        return (Change){ .kind = CHANGE_END, .node = event->node, .end = end, .now_usec = event->now_usec };
}

/* Of a node on another machine only one with the same key is in the way. */
static const Node *registry_find_static_obstacle(const Registry *registry, const Event *event) {
        if (event->is_elsewhere)
                return registry_find_key(registry, event->info.name, event->info.n_name, &event->scope);
        return registry_find_obstacle(registry, event, &event->scope);
}

/* Neither a reservation nor a limit stands in the way of what an operator has ordered; there are other bounds for
 * that. A node that holds the name does, unless it is going without doubt: nobody who lives loses his name. */
static int registry_decide_static(Registry *registry, const Event *event, Change *ret_change, Reply *ret_reply) {
        Node *holder = NULL;
        int r;

        *ret_reply = (Reply){ .holder = registry_find_static_obstacle(registry, event) };
        if (ret_reply->holder) {
                ret_reply->refusal = REFUSAL_NAME_TAKEN;
                return 0;
        }
        if (!event->is_elsewhere)
                holder = registry_find_conflict(registry, event->info.name, event->info.n_name, &event->scope, NULL);
        if (holder) {
                *ret_change = change_replaced(holder, event);
                return REGISTRY_E_AGAIN;
        }
        r = registry_decide_new(registry, event, ret_change);
        if (r < 0)
                return r;
        r = make_static(ret_change->node, event);
        if (r < 0) {
                change_done(ret_change);
                return r;
        }
        ret_reply->node = ret_change->node;
        return 0;
}

/* The node with other facts. */
static Change change_facts(const Event *event) {
        return (Change){
                .kind = CHANGE_FACTS,
                .node = event->node,
                .now_usec = event->now_usec,
                .facts = event->node->facts,
                .unit_pid = event->node->unit_pid,
                .unit_invocation = event->node->unit_invocation,
                .pinned_port = event->node->pinned_port,
        };
}

static Change decide_listener_gone(const Event *event) {
        Change change = { .kind = CHANGE_NONE };

        if (event->node->facts.is_awaited || node_is_static(event->node))
                return change_end(event, NODE_END_LISTENER_GONE);
        if (event->node->facts.is_listener_gone)
                return change;
        /* The match of listener and connection may have been wrong: the entry stays. */
        change = change_facts(event);
        change.facts.is_listener_gone = true;
        return change;
}

/* Twins: two nodes of one name and one owner that listen on one port at two addresses. Which connection is whose
 * cannot be told when they register; it shows when one of them ends. */
static Change decide_connection_lost(const Event *event) {
        Change change = change_facts(event);

        change.facts.is_awaited = true;
        change.await_until_usec = event->await_until_usec;
        return change;
}

static int registry_decide_found(Registry *registry, const Event *event, Change *ret) {
        Event found = {
                .now_usec = event->now_usec,
                .peer = event->node->peer,
                .connection = event->twin->connection,
                .connection_fd = event->twin->connection_fd,
        };
        int r = registry_decide_return(registry, &found, event->node, ret);

        if (r < 0)
                return r;
        /* What was announced was said by the one behind the connection. */
        ret->twin = event->twin;
        ret->facts.announced = event->twin->facts.announced;
        return 0;
}

/* The first start of its unit that is heard of is taken for the node's; but a word of an end may have been on its way
 * for long, and be of the start before. */
static Change decide_unit(const Event *event) {
        const Node *node = event->node;
        Change change = change_facts(event);

        change.facts.unit_phase = event->unit_phase;
        change.unit_pid = event->unit_pid;
        if (node->unit_invocation == 0 && !event->is_unit_over)
                change.unit_invocation = event->unit_invocation;
        change.facts.is_left_over = event->is_unit_over ||
                                    (event->unit_invocation != 0 && change.unit_invocation != 0 &&
                                     event->unit_invocation != change.unit_invocation);
        if (event->unit_phase == node->facts.unit_phase && event->unit_pid == node->unit_pid &&
            change.unit_invocation == node->unit_invocation &&
            change.facts.is_left_over == node->facts.is_left_over)
                change.kind = CHANGE_NONE;
        return change;
}

/* What was announced before and is not said again stays; a key that is, gets the new value. */
static int merge_profile(const NodeProfile *old, const NodeProfile *said, NodeProfile *ret) {
        NodeProfile profile;
        const char *key, *value;
        size_t offset = 0;
        int r = node_profile_copy(old, &profile);

        if (r < 0)
                return r;
        while (r >= 0 && node_profile_next(said, &offset, &key, &value))
                r = node_profile_set(&profile, key, strlen(key), value, strlen(value));
        if (r >= 0 && said->host) {
                free(profile.host);
                profile.is_host_static = said->is_host_static;
                profile.host = strdup(said->host);
                if (!profile.host)
                        r = -ENOMEM;
        }
        if (r < 0)
                node_profile_done(&profile);
        else
                *ret = profile;
        return r;
}

static int decide_announced(const Event *event, Change *ret) {
        Change change = change_facts(event);
        int r;

        if (event->announced != NODE_ANNOUNCED_NOTHING)
                change.facts.announced = event->announced;
        if (event->profile) {
                r = merge_profile(&event->node->profile, event->profile, &change.profile);
                if (r < 0)
                        return r;
                change.has_profile = !node_profile_equal(&change.profile, &event->node->profile);
                if (!change.has_profile)
                        node_profile_done(&change.profile);
        }
        if (!change.has_profile && change.facts.announced == event->node->facts.announced)
                change.kind = CHANGE_NONE;
        *ret = change;
        return 0;
}

int registry_decide(Registry *registry, const Event *event, Change *ret_change, Reply *ret_reply) {
        *ret_change = (Change){ .kind = CHANGE_NONE };

        switch (event->kind) {
        case EVENT_REGISTER:
                return registry_decide_register(registry, event, ret_change, ret_reply);
        case EVENT_CONNECTION_ENDED:
                *ret_change = change_end(event, NODE_END_LEFT);
                break;
        case EVENT_CONNECTION_LOST:
                *ret_change = decide_connection_lost(event);
                break;
        case EVENT_CONNECTION_FOUND:
                return registry_decide_found(registry, event, ret_change);
        case EVENT_LISTENER_GONE:
                *ret_change = decide_listener_gone(event);
                break;
        case EVENT_AWAIT_EXPIRED:
                if (event->node->facts.is_awaited)
                        *ret_change = change_end(event, NODE_END_DID_NOT_RETURN);
                break;
        case EVENT_STOP:
                *ret_change = change_end(event, NODE_END_STOPPED);
                break;
        case EVENT_RELEASE:
                *ret_change = change_end(event, NODE_END_RELEASED);
                ret_change->by = event->by;
                break;
        case EVENT_UNIT:
                *ret_change = decide_unit(event);
                break;
        case EVENT_STATIC:
                return registry_decide_static(registry, event, ret_change, ret_reply);
        case EVENT_ENTRY_REMOVED:
                *ret_change = change_end(event, NODE_END_REMOVED);
                ret_change->by = event->by;
                break;
        case EVENT_PINNED:
                *ret_change = change_facts(event);
                ret_change->pinned_port = event->pinned_port;
                if (event->pinned_port == event->node->pinned_port)
                        ret_change->kind = CHANGE_NONE;
                break;
        case EVENT_ANNOUNCED:
                return decide_announced(event, ret_change);
        }
        return 0;
}

void change_done(Change *change) {
        if (change->kind == CHANGE_REGISTER)
                node_free(change->node);
        node_profile_done(&change->profile);
        *change = (Change){ .kind = CHANGE_NONE };
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
}

static void registry_forget_former(Registry *registry, Node *former) {
        index_remove(&registry->formers_by_name,
                     index_seek_name(&registry->formers_by_name, former->info.name,
                                     former->info.n_name, &former->scope));
        node_list_remove(&registry->formers, former);
        node_free(former);
}

/* The node takes their place. P5: where it has no creation of its own, it keeps theirs in mind. */
static void registry_forget_formers_of(Registry *registry, Node *node) {
        const NodeInfo *info = &node->info;
        Node *former;

        while ((former = index_first_of_name(&registry->formers_by_name, info->name, info->n_name))) {
                if (node_last_creation(node) == 0)
                        node->creation_before = node_last_creation(former);
                registry_forget_former(registry, former);
        }
}

/* The oldest goes first, but those that were given 1..3 last: they are what P5 needs to know. */
static void registry_shed_formers(Registry *registry) {
        Node *former = registry->formers.oldest;

        if (registry->formers.n_nodes <= REGISTRY_FORMERS_MAX)
                return;
        while (former->newer && node_last_creation(former) > 0 && node_last_creation(former) <= CREATION_SMALL_MAX)
                former = former->newer;
        /* All others are small ones: the newest, which has just come, is not the one to go. */
        if (!former->newer)
                former = registry->formers.oldest;
        registry_forget_former(registry, former);
}

static void registry_add_former(Registry *registry, Node *node) {
        registry_forget_formers_of(registry, node);
        index_insert(&registry->formers_by_name,
                     index_seek_name(&registry->formers_by_name, node->info.name,
                                     node->info.n_name, &node->scope),
                     node);
        node_list_push_newest(&registry->formers, node);
        registry_shed_formers(registry);
}

static void registry_apply_register(Registry *registry, Node *node) {
        if (!node_is_elsewhere(node))
                registry_forget_formers_of(registry, node);
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
                registry_add_former(registry, node);
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
        registry_forget_formers_of(registry, restored);
        registry_insert(registry, TAKE_PTR(*node));
        registry->next_serial = max_u64(registry->next_serial, restored->serial + 1);
        registry->revision++;
        return 0;
}

int registry_restore_former(Registry *registry, Node **node) {
        const NodeInfo *info = &(*node)->info;
        const Node *former = index_first_of_name(&registry->formers_by_name, info->name, info->n_name);

        if (index_first_of_name(&registry->by_name, info->name, info->n_name) ||
            (former && former->until_usec >= (*node)->until_usec))
                return -EEXIST;
        registry_add_former(registry, TAKE_PTR(*node));
        return 0;
}

/* --- reading ---------------------------------------------------------------------------------- */

Node *registry_find(const Registry *registry, const char *name, size_t n_name,
                          const Address *local) {
        const Index *index = &registry->by_name;
        Node *found = NULL;

        for (size_t position = index_seek_name(index, name, n_name, &ADDRESS_ANY);
             position < index->n_nodes; position++) {
                Node *node = index->nodes[position];

                if (!node_info_has_name(&node->info, name, n_name))
                        break;
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
        const Index *index = &registry->by_name;
        Node *found = NULL;

        *ret_is_sole = true;
        for (size_t position = index_seek_name(index, name, n_name, &ADDRESS_ANY);
             *ret_is_sole && position < index->n_nodes; position++) {
                Node *node = index->nodes[position];

                if (!node_info_has_name(&node->info, name, n_name))
                        break;
                if (node_is_elsewhere(node))
                        continue;
                *ret_is_sole = !found;
                found = node;
        }
        return *ret_is_sole ? found : NULL;
}

Node *registry_find_by_cookie(const Registry *registry, uint64_t cookie) {
        const Index *index = &registry->by_cookie;
        size_t position = index_seek_cookie(index, cookie, 0);

        if (position == index->n_nodes || index->nodes[position]->listener.cookie != cookie)
                return NULL;
        return index->nodes[position];
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
        const Index *index = &registry->by_name;
        size_t position = index_seek_name(index, name, n_name, scope);
        Node *node = position < index->n_nodes ? index->nodes[position] : NULL;

        return node && node_info_has_name(&node->info, name, n_name) && address_equal(&node->scope, scope) ? node : NULL;
}

Node *registry_find_name(const Registry *registry, const char *name, size_t n_name, const Node *after) {
        const Index *index = &registry->by_name;
        size_t position;

        if (!after)
                return index_first_of_name(index, name, n_name);
        position = index_seek_name(index, name, n_name, &after->scope) + 1;
        if (position == index->n_nodes || !node_info_has_name(&index->nodes[position]->info, name, n_name))
                return NULL;
        return index->nodes[position];
}

const Node *registry_find_former(const Registry *registry, const char *name, size_t n_name) {
        return index_first_of_name(&registry->formers_by_name, name, n_name);
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
        return registry->formers.oldest;
}

const char *refusal_to_string(Refusal refusal) {
        static const char *const words[_REFUSAL_N] = {
                [REFUSAL_NONE] = "none",
                [REFUSAL_NAME_EMPTY] = "name-empty",
                [REFUSAL_NAME_TOO_LONG] = "name-too-long",
                [REFUSAL_NAME_NOT_UTF8] = "name-not-utf8",
                [REFUSAL_NAME_CONTROL_CHARACTER] = "name-control-character",
                [REFUSAL_EXTRA_TOO_LONG] = "extra-too-long",
                [REFUSAL_NAME_TAKEN] = "name-taken",
                [REFUSAL_NAME_RESERVED] = "name-reserved",
                [REFUSAL_UID_LIMIT] = "uid-limit",
                [REFUSAL_NODES_LIMIT] = "nodes-limit",
        };

        return words[refusal];
}
