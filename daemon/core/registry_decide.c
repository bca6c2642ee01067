/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows by which rules a name is given, refused, taken back and given up (P3, P4, P5, P6). Does not know how nodes are
 * kept, nor connections, clocks, files or bytes: evidence and times come in with the event, and what must be done
 * about a decision is said in a Change.
 *
 * The trap: what is decided can still be dropped. So nothing of the registry is changed here but its spare room, and
 * whatever a change will need is made before it is handed out.
 */

#include "core/registry.h"

#include <stdlib.h>
#include <string.h>

#include "core/creation.h"
#include "core/registry_private.h"

/* --- who is in the way --------------------------------------------------------------------------- */

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
        Node *node = registry_find_name(registry, name, n_name, after);

        while (node && !node_is_in_the_way(node, scope))
                node = registry_find_name(registry, name, n_name, node);
        return node;
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

/* --- a newcomer ---------------------------------------------------------------------------------- */

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
        const RegistryLimits *limits = registry_limits(registry);
        size_t n_of_uid = registry_n_of_uid(registry, event->peer.uid);
        size_t n_nodes = registry_n_registered(registry);
        const Node *yielding = NULL;

        while ((yielding = registry_find_conflict(registry, event->info.name, event->info.n_name,
                                                  scope, yielding))) {
                if (node_is_static(yielding))
                        continue;
                n_nodes--;
                if (yielding->peer.uid == event->peer.uid)
                        n_of_uid--;
        }
        if (n_nodes >= limits->n_nodes_max)
                return REFUSAL_NODES_LIMIT;
        if (n_of_uid >= limits->n_nodes_per_uid_max)
                return REFUSAL_UID_LIMIT;
        return REFUSAL_NONE;
}

/* What the newcomer is given: the next number, or for an old asker 1..3, not what the name had last (P5). */
static uint32_t choose_creation(const Registry *registry, const NodeInfo *info) {
        uint32_t next = registry_next_creation(registry);

        if (info->highest_version >= NODE_VERSION_CREATION_32)
                return next;
        return creation_small(next, registry_last_creation(registry, info->name, info->n_name));
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
        node->creation = choose_creation(registry, &event->info);
        node->since_usec = event->now_usec;
        node->connection = event->connection;
        node->connection_fd = event->connection_fd;
        node->serial = registry_next_serial(registry);
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
        const Rules *rules = registry_rules(registry);

        *ret = (Reply){ .refusal = refusal_of_info(&event->info) };
        if (ret->refusal != REFUSAL_NONE)
                return;
        if (rules && !rules_allow(rules, event->info.name, event->info.n_name, &event->peer, event->unit,
                                  &ret->reservation)) {
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

/* --- a node that does not register --------------------------------------------------------------- */

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

/* --- what becomes of a node ---------------------------------------------------------------------- */

static Change change_end(const Event *event, NodeEnd end) {
        return (Change){ .kind = CHANGE_END, .node = event->node, .end = end, .now_usec = event->now_usec };
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

/* --- all of it ----------------------------------------------------------------------------------- */

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
