/* SPDX-License-Identifier: Apache-2.0 */
/* The registry: which nodes there are, and the rules by which that changes. Pure: no fd, no clock, no SQL. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/node.h"
#include "core/rules.h"
#include "util.h"

/* Formers: nodes that are not registered any more and whose names have not come back. They are what
 * DUMP lists as old, and what remembers the last 16-bit creation of a name (P5). */
#define REGISTRY_FORMERS_MAX 1000

typedef struct RegistryLimits {
        size_t n_nodes_max;         /* in all */
        size_t n_nodes_per_uid_max; /* of one uid; all of unknown uid count as one */
} RegistryLimits;

typedef struct Registry Registry;

/* `seed`: what nobody outside knows, so that nobody can choose names that are dear to find. 0 or -ENOMEM. */
int registry_new(Registry **ret, const RegistryLimits *limits, uint64_t seed);
Registry *registry_free(Registry *registry);
DEFINE_CLEANUP(Registry *, registry_free)

/* --- what happens ---------------------------------------------------------------------------- */

typedef enum EventKind {
        EVENT_REGISTER,         /* ALIVE2_REQ */
        EVENT_CONNECTION_ENDED, /* of a registered node: EOF, RST, or a byte */
        EVENT_CONNECTION_LOST,  /* the same, but it may have been its twin's: awaited for a moment */
        EVENT_CONNECTION_FOUND, /* `node`, which is awaited, turns out to be the one behind its twin's connection */
        EVENT_LISTENER_GONE,    /* of `node`, by the kernel's word */
        EVENT_AWAIT_EXPIRED,    /* `node` was awaited and its grace is over */
        EVENT_STOP,             /* STOP_REQ for `node` */
        EVENT_UNIT,             /* systemd's word on the unit of `node` */
        EVENT_ANNOUNCED,        /* `node` has told of itself */
        EVENT_RELEASE,          /* an operator takes the name from `node` */
        EVENT_STATIC,           /* a static entry's node: its listener was found, or it is on another machine */
        EVENT_ENTRY_REMOVED,    /* the static entry of `node` does not hold any more */
        EVENT_PINNED,           /* the name of `node` was given a port for good, or has none any more */
} EventKind;

typedef struct Event {
        EventKind kind;
        uint64_t now_usec; /* CLOCK_REALTIME */
        Node *node;        /* whom it concerns; for EVENT_REGISTER and EVENT_STATIC NULL */

        /* EVENT_STATIC: the address of the entry, which is the scope; and whether that is on another machine */
        Address scope;
        bool is_elsewhere;

        /* EVENT_REGISTER; EVENT_STATIC without the connection */
        NodeInfo info;
        NodePeer peer;
        NodeListener listener;
        const char *unit; /* or NULL; copied */
        bool is_unit_own;
        bool is_unit_late; /* `unit` is NULL because there was no time to look for it: it can be asked for again */
        void *connection;
        int connection_fd;

        /* EVENT_CONNECTION_LOST */
        uint64_t await_until_usec; /* CLOCK_MONOTONIC */
        /* EVENT_CONNECTION_FOUND: whose listener has closed; it is left without a connection */
        Node *twin;

        /* EVENT_REGISTER, EVENT_STATIC, EVENT_PINNED; 0: none */
        uint16_t pinned_port;

        /* EVENT_REGISTER, EVENT_STATIC, EVENT_UNIT */
        UnitPhase unit_phase;
        pid_t unit_pid;
        uint64_t unit_invocation; /* 0: unknown */
        bool is_unit_over;        /* EVENT_UNIT: see unit_is_over() */

        const char *by; /* EVENT_RELEASE, EVENT_ENTRY_REMOVED: who does it, in words: "uid 0"; borrowed; or NULL */

        /* EVENT_ANNOUNCED; what is NOTHING or NULL stays as it is. Copied. */
        NodeAnnounced announced;
        const NodeProfile *profile; /* EVENT_STATIC, too: the host part, where the entry has one */
} Event;

/* --- what follows ---------------------------------------------------------------------------- */

typedef enum ChangeKind {
        CHANGE_NONE,
        CHANGE_REGISTER, /* `node` enters */
        CHANGE_RETURN,   /* `node`, which was awaited, is connected again */
        CHANGE_FACTS,    /* more or something else is known of `node`; its state follows */
        CHANGE_END,      /* `node` leaves */
} ChangeKind;

typedef struct Change {
        ChangeKind kind;
        Node *node;      /* CHANGE_REGISTER: owned by the change until it is applied. CHANGE_END: after
                          * registry_apply() it is a former, good until the next one */
        NodeEnd end;     /* CHANGE_END: why */
        const char *by;  /* CHANGE_END: by whom, or NULL; the event's */
        uint64_t now_usec;

        /* CHANGE_RETURN, CHANGE_FACTS */
        NodeFacts facts;
        pid_t unit_pid;
        uint64_t unit_invocation;
        uint16_t pinned_port;
        NodeProfile profile; /* CHANGE_FACTS with has_profile: in place of the node's; owned until applied */
        bool has_profile;

        /* CHANGE_RETURN; CHANGE_FACTS of one that is awaited from now on */
        NodePeer peer;
        void *connection;
        int connection_fd;
        uint64_t await_until_usec;
        Node *twin; /* CHANGE_RETURN: loses its connection */
} Change;

/* What the client is told, where the event was a request. */
typedef enum Refusal {
        REFUSAL_NONE,
        REFUSAL_NAME_EMPTY,
        REFUSAL_NAME_TOO_LONG,
        REFUSAL_NAME_NOT_UTF8,
        REFUSAL_NAME_CONTROL_CHARACTER,
        REFUSAL_EXTRA_TOO_LONG,
        REFUSAL_NAME_TAKEN,  /* P4: its holder is alive; `Reply.holder` */
        REFUSAL_NAME_RESERVED, /* by the operator, for others; `Reply.reservation` */
        REFUSAL_UID_LIMIT,   /* P6 */
        REFUSAL_NODES_LIMIT, /* P6 */
        _REFUSAL_N,
} Refusal;

typedef struct Reply {
        Refusal refusal;
        uint32_t creation;  /* REFUSAL_NONE: as the asker's version wants it */
        Node *node;         /* REFUSAL_NONE: who is registered once the change is applied */
        const Node *holder; /* REFUSAL_NAME_TAKEN: good until the next registry_apply() */
        bool is_holder_going; /* REFUSAL_NAME_TAKEN: no holder that is in the way will stay: wait instead (P4) */
        const Reservation *reservation; /* REFUSAL_NAME_RESERVED: good until the rules change */
} Reply;

const char *refusal_to_string(Refusal refusal); /* "name-taken", "uid-limit", ...: stable words */

/* registry_decide(): the change makes room for the newcomer (its holder was going). Apply it, then decide
 * the same event again. */
#define REGISTRY_E_AGAIN 1

/* Says what follows from `event` and changes nothing but the registry's spare room (so that
 * registry_apply() need not allocate). 0; REGISTRY_E_AGAIN; or -ENOMEM: nothing follows, the event can be
 * tried again. `ret_reply` is written for EVENT_REGISTER and EVENT_STATIC only. */
int registry_decide(Registry *registry, const Event *event, Change *ret_change, Reply *ret_reply);
/* Frees what a change owns that was not applied. */
void change_done(Change *change);
/* Carries a change out. Cannot fail, does not allocate. The change must be of the last registry_decide();
 * what it owned is the registry's afterwards. */
void registry_apply(Registry *registry, Change *change);

/* From now on these rules and limits hold for newcomers, and the patterns of helpers' names for all. That is no change
 * of the registry: whoever keeps listings forgets them. `rules` (NULL: none) is borrowed. */
void registry_set_rules(Registry *registry, const Rules *rules, const RegistryLimits *limits);

/* The nodes that stand in the way of `name` at `scope`, one after the other: of that name, and `*` on
 * either side or the same scope (as with bind()); of nodes on other machines those with the same scope only. `after`
 * NULL: the first. NULL: no (further) one. The mapper settles each (is it still alive?) before it decides. */
Node *registry_find_conflict(const Registry *registry, const char *name, size_t n_name,
                             const Address *scope, const Node *after);
/* The scope that a node with this listener would have. */
Address registry_scope_of(const NodeListener *listener);

/* --- start ------------------------------------------------------------------------------------ */

/* Takes over a node that a former process of this daemon registered: awaited, or with its connection, as its
 * facts say. 0; -EEXIST: the name is taken by one that is there already, which wins; -ENOMEM. Takes `*node` on
 * success only. */
int registry_restore(Registry *registry, Node **node);
/* Takes over a node of the past. Oldest first; beyond REGISTRY_FORMERS_MAX the oldest is freed. 0; -EEXIST:
 * the name is registered, or known of one that ended no earlier; -ENOMEM. Takes `*node` on success only. */
int registry_restore_former(Registry *registry, Node **node);
/* Lets creations begin at `first` (raised to CREATION_MIN) if they are not beyond it. */
void registry_advance_creation(Registry *registry, uint32_t first);

/* Lets serials begin after `last`, the highest that was ever given. */
void registry_advance_serial(Registry *registry, uint64_t last);

/* --- creations (P5) --------------------------------------------------------------------------- */

/* The next 32-bit creation to be given. */
uint32_t registry_next_creation(const Registry *registry);
/* The first that has not been reserved. */
uint32_t registry_reserved_creation(const Registry *registry);
/* True if less than half a block is left below what is reserved. */
bool registry_wants_creations(const Registry *registry);
/* Notes that a reservation up to (not including) the returned value has been submitted. */
uint32_t registry_reserve_creations(Registry *registry);

/* --- reading ---------------------------------------------------------------------------------- */

/* The node a lookup of `name` that arrived on `local` means: the exact scope, else `*`, else the one that
 * has held the name longest. None on another machine. NULL: none. */
Node *registry_find(const Registry *registry, const char *name, size_t n_name,
                          const Address *local);
/* The same where one node has the name, or none, on whatever address it was asked: then `*ret_is_sole` is true. */
Node *registry_find_sole(const Registry *registry, const char *name, size_t n_name, bool *ret_is_sole);
/* The oldest node whose listener has `cookie` (not 0), or NULL. One listener can stand behind several
 * names; registry_next_by_cookie() steps on. */
Node *registry_find_by_cookie(const Registry *registry, uint64_t cookie);
/* The first of the listener with the next greater cookie; NULL: there is none. */
Node *registry_find_after_cookie(const Registry *registry, uint64_t cookie);
Node *registry_next_by_cookie(const Registry *registry, const Node *node);

/* On this machine. */
size_t registry_n_nodes(const Registry *registry);
/* On other machines, by static entries. */
size_t registry_n_elsewhere(const Registry *registry);
size_t registry_n_in_state(const Registry *registry, NodeState state);
size_t registry_n_awaited(const Registry *registry);
/* Grows with every applied change. */
uint64_t registry_revision(const Registry *registry);

/* The node with exactly that scope, or NULL. */
Node *registry_find_key(const Registry *registry, const char *name, size_t n_name, const Address *scope);
/* The first node of `name` (at whatever scope) in the order of scopes, and the next; NULL: no (further) one. `after` is in
 * the registry: one that has left cannot be stepped on from. */
Node *registry_find_name(const Registry *registry, const char *name, size_t n_name, const Node *after);
/* The last holder of a name that is not registered, or NULL: none is remembered. */
const Node *registry_find_former(const Registry *registry, const char *name, size_t n_name);

/* In the order of names, then of scopes: the position of the first node whose name is not before `name`, and the node
 * at a position (NULL: the end). Positions are good until the next change. */
size_t registry_seek(const Registry *registry, const char *name, size_t n_name);
Node *registry_at(const Registry *registry, size_t position);

/* Newest registration first, those on other machines among them: node = registry_newest(r); node; node = node->older. */
Node *registry_newest(const Registry *registry);
/* Oldest former first: node = registry_oldest_former(r); node; node = node->newer. */
Node *registry_oldest_former(const Registry *registry);
