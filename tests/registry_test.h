/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of the registry: newcomers, entries and rows as they are most of the time, and the way from an event to what
 * follows. */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "check_main.h"
#include "core/registry.h"

#define UID_A ((uid_t)1000)
#define UID_B ((uid_t)1001)

enum { HOLDER_COOKIE = 10, OTHER_COOKIE = 11 };

/* Where so many are made that ck_assert(), which notes each of them in a file, would take most of the time. */
#define must(condition)                                  \
        do {                                             \
                if (!(condition))                        \
                        ck_abort_msg("%s", #condition);  \
        } while (0)

/* Something that a connection can be; never looked into. */
static int connections[4];

static inline Registry *make_registry(size_t n_nodes_max, size_t n_nodes_per_uid_max) {
        Registry *registry = NULL;

        must(registry_new(&registry, &(RegistryLimits){ n_nodes_max, n_nodes_per_uid_max }, 1) == 0);
        return registry;
}

static inline Address make_address(const char *text) {
        Address address;

        must(address_parse(text, &address) == 0);
        return address;
}

/* A newcomer as it is most of the time; tests change what they are about. */
static inline Event newcomer(const char *name) {
        return (Event){
                .kind = EVENT_REGISTER,
                .now_usec = 1000,
                .info = { .name = name,
                          .n_name = strlen(name),
                          .extra = (const uint8_t *)"",
                          .port = 40000,
                          .highest_version = 6,
                          .lowest_version = 5,
                          .type = 'M' },
                .peer = { .uid = NODE_UID_UNKNOWN },
                .connection = connections,
                .connection_fd = 7,
        };
}

static inline Event newcomer_at(const char *name, const char *scope, uint64_t cookie) {
        Event event = newcomer(name);

        event.listener = (NodeListener){ .cookie = cookie, .address = make_address(scope) };
        return event;
}

/* What the ledger does: decide and apply until nothing more follows. Returns how many changes that took. */
static inline unsigned carry(Registry *registry, const Event *event, Reply *ret_reply) {
        unsigned n_changes = 0;
        Change change;
        int r;

        do {
                uint64_t revision = registry_revision(registry);

                r = registry_decide(registry, event, &change, ret_reply);
                must(r >= 0);
                must(registry_revision(registry) == revision);
                if (change.kind != CHANGE_NONE) {
                        registry_apply(registry, &change);
                        must(registry_revision(registry) == revision + 1);
                        n_changes++;
                }
        } while (r == REGISTRY_E_AGAIN);
        return n_changes;
}

static inline Node *must_register(Registry *registry, const Event *event) {
        Reply reply;

        carry(registry, event, &reply);
        must(reply.refusal == REFUSAL_NONE);
        must(reply.node);
        return reply.node;
}

static inline Refusal try_register(Registry *registry, const Event *event) {
        Reply reply;

        carry(registry, event, &reply);
        return reply.refusal;
}

static inline void tell(Registry *registry, EventKind kind, Node *node) {
        carry(registry, &(Event){ .kind = kind, .node = node, .now_usec = 2000 }, NULL);
}

static inline Node *find(const Registry *registry, const char *name, const char *local) {
        Address address = make_address(local);

        return registry_find(registry, name, strlen(name), &address);
}

/* A node of an earlier run, as the store would bring it. */
static inline Node *former_node(const char *name, uint32_t creation, uint64_t serial) {
        Event event = newcomer(name);
        Node *node = node_new(&event.info);

        ck_assert_ptr_nonnull(node);
        node->creation = creation;
        node->serial = serial;
        node->since_usec = 500;
        return node;
}

static inline void set_awaited(Node *node) {
        NodeFacts facts = node->facts;

        facts.is_awaited = true;
        facts.is_listener_gone = false;
        node_set_facts(node, &facts, 500);
}

/* Awaited, as a row without a connection is. */
static inline void restore(Registry *registry, Node *node) {
        set_awaited(node);
        ck_assert_int_eq(registry_restore(registry, &node), 0);
        ck_assert_ptr_null(node);
}

static inline void restore_former(Registry *registry, const char *name, uint32_t creation) {
        Node *node = former_node(name, creation, 1);

        ck_assert_int_eq(registry_restore_former(registry, &node), 0);
        ck_assert_ptr_null(node);
}

/* An entry's node, whose listener was found. */
static inline Event static_event(const char *name, const char *scope, uint64_t cookie) {
        Event event = newcomer(name);

        event.kind = EVENT_STATIC;
        event.scope = make_address(scope);
        event.listener = (NodeListener){ .cookie = cookie, .address = make_address("*") };
        event.connection = NULL;
        event.connection_fd = -1;
        return event;
}

static inline Event elsewhere_event(const char *name, const char *scope) {
        Event event = static_event(name, scope, 0);

        event.is_elsewhere = true;
        return event;
}

/* Lets a name be registered and end; returns its creation. */
static inline uint32_t come_and_go(Registry *registry, const char *name, uint16_t highest_version) {
        Event event = newcomer(name);
        Node *node;
        uint32_t creation;

        event.info.highest_version = highest_version;
        node = must_register(registry, &event);
        creation = node->creation;
        tell(registry, EVENT_CONNECTION_ENDED, node);
        return creation;
}

/* One that has the name "a". */
static inline Node *make_holder(Registry *registry, NodeState state, uint64_t cookie, bool without_limit) {
        Event event = newcomer_at("a", "*", cookie);
        Node *node;

        event.peer.uid = UID_A;
        if (state != NODE_AWAITED) {
                node = must_register(registry, &event);
                if (state == NODE_STOPPING)
                        tell(registry, EVENT_LISTENER_GONE, node);
        } else {
                node = node_new(&event.info);
                ck_assert_ptr_nonnull(node);
                node->listener = event.listener;
                node->peer = event.peer;
                node->creation = 1234;
                node->since_usec = 500;
                node->serial = 50;
                node->await_until_usec = without_limit ? USEC_INFINITE : 99;
                restore(registry, node);
                node = find(registry, "a", "*");
        }
        ck_assert_int_eq(node->state, state);
        return node;
}
