/* SPDX-License-Identifier: Apache-2.0 */
/* A node as the registry knows it: what it announced, and what is known of it. Plain data. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/address.h"
#include "core/node_state.h"
#include "util.h"

#define NODE_NAME_CHARS_MAX 255   /* characters (code points) */
#define NODE_NAME_BYTES_MAX 1020  /* 255 characters of 4 bytes */
#define NODE_EXTRA_BYTES_MAX 1020

#define NODE_TYPE_NORMAL 77 /* 'M' */
#define NODE_TYPE_HIDDEN 72 /* 'H' */
/* C nodes (ei) announce 'h'. Other values are stored and told as they came. */

/* From this "highest version" on a node is given a 32-bit creation, below it a 16-bit one (1..3). */
#define NODE_VERSION_CREATION_32 6

/* What a node says of itself in ALIVE2_REQ. Where it borrows from a request's buffer, `name` and
 * `extra` are not NUL-terminated; inside a Node they are, and the Node owns them. */
typedef struct NodeInfo {
        const char *name;
        size_t n_name; /* bytes */
        const uint8_t *extra;
        size_t n_extra; /* bytes */
        uint16_t port;
        uint16_t highest_version;
        uint16_t lowest_version;
        uint8_t type;
        uint8_t protocol;
} NodeInfo;

/* The listening socket of a node, as the kernel identifies it (see evidence/listeners.h). */
typedef struct NodeListener {
        uint64_t cookie; /* unique while the kernel runs; 0: no listener is known */
        Address address; /* what it is bound to; "any" for a wildcard */
        bool ipv6;       /* its family, which decides in which table the kernel keeps it */
} NodeListener;

/* The process that registered, as far as the kernel told. */
typedef struct NodePeer {
        uid_t uid;          /* NODE_UID_UNKNOWN where it could not be had */
        uint64_t cgroup_id; /* inode of its cgroup v2 directory; 0: unknown */
} NodePeer;

#define NODE_UID_UNKNOWN ((uid_t)-1)

/* Why a node is not registered any more. */
typedef enum NodeEnd {
        NODE_END_LEFT,          /* its connection ended */
        NODE_END_REPLACED,      /* a newcomer took the name of a holder that was going */
        NODE_END_LISTENER_GONE, /* awaited, and the kernel announced that its listener closed */
        NODE_END_FOUND_DEAD,    /* at start its listener was gone */
        NODE_END_MACHINE_RESTARTED, /* at start: the row is of an earlier boot */
        NODE_END_DID_NOT_RETURN,    /* awaited without a known listener, and the grace is over */
        NODE_END_STOPPED,           /* by a STOP request */
        NODE_END_RELEASED,          /* by an operator */
        NODE_END_REMOVED, /* of a static node: its entry was removed or changed, or names another machine now */
        _NODE_END_N,
} NodeEnd;

/* What a node announced of itself beside its state. Strings are NUL-terminated; NULL: nothing. Owned by
 * whoever owns the struct. */
typedef struct NodeProfile {
        char *host;       /* the host part of its full name: "127.0.0.1", "mail.example.org", "mail" */
        bool is_host_static; /* an operator's entry says so, not the node */
        char *metadata;   /* key NUL value NUL key NUL ...: sorted by key, no key twice */
        size_t n_metadata; /* bytes */
} NodeProfile;

#define NODE_ENDED_BY_MAX 32 /* "uid 1000", with its NUL */
#define NODE_HOST_BYTES_MAX 255
#define NODE_METADATA_PAIRS_MAX 32
#define NODE_METADATA_KEY_MAX 64    /* bytes: letters, digits, '.', '_', '-' */
#define NODE_METADATA_VALUE_MAX 256 /* bytes of UTF-8 without control characters */

/* One registration. Owned by the registry; the store and the reconciliation work on copies. */
typedef struct Node {
        NodeInfo info; /* points into `data` */
        Address scope; /* the address its listener is bound to; "any" means the scope `*` */
        NodeListener listener;
        NodePeer peer;
        NodeFacts facts;
        NodeState state;           /* what follows from the facts: set by node_set_facts() only */
        NodeSource state_source;
        uint64_t state_since_usec; /* CLOCK_REALTIME */
        uint32_t creation;         /* 0: of one that has not registered, it is not known */
        uint32_t creation_before;  /* of such a one: what was given to its name last (P5); 0: not known */
        uint64_t since_usec;       /* CLOCK_REALTIME of the registration; a return does not change it */
        uint64_t await_until_usec; /* CLOCK_MONOTONIC; if awaited; USEC_INFINITE: until its
                                    * listener closes */
        void *connection;          /* if not awaited: the serve layer's; else NULL */
        int connection_fd;         /* for DUMP, as the last thing known; -1: none */
        uint64_t serial;           /* the order of registrations, also across restarts; never 0 */
        char *unit;                /* systemd unit, or NULL: unknown. Owned. */
        bool is_unit_own;          /* false: it lives under another manager within `unit` */
        bool is_helper;            /* of a tool, by the patterns of the settings: left out of listings */
        pid_t unit_pid;            /* the main process of its unit; 0: unknown */
        uint64_t unit_invocation;  /* which start of its unit it is of (half of the InvocationID); 0: unknown */
        uint16_t pinned_port;      /* that its name was given for good; 0: none */
        NodeProfile profile;
        uint64_t until_usec;        /* of a former: when it ended, CLOCK_REALTIME, why, and who did it */
        NodeEnd end;
        char ended_by[NODE_ENDED_BY_MAX];
        struct Node *newer, *older; /* the registry's lists, newest first */
        struct Node *next_in_names; /* the table's in which it is (core/names) */
        uint32_t name_hash;
        char data[];                /* name NUL extra NUL */
} Node;

typedef enum NodeNameVerdict {
        NODE_NAME_OK,
        NODE_NAME_EMPTY,
        NODE_NAME_TOO_LONG,
        NODE_NAME_NOT_UTF8,
        NODE_NAME_CONTROL_CHARACTER, /* U+0000-001F, U+007F-009F: a line feed would forge lines of NAMES */
} NodeNameVerdict;

/* Judges a name by the rules of PROTOCOL.md ("Names"); `name` need not be terminated. */
NodeNameVerdict node_name_check(const char *name, size_t n_name);

/* True for a node that is there by an operator's entry; on this machine or another. */
bool node_is_static(const Node *node);
bool node_is_elsewhere(const Node *node);

/* `name` need not be terminated. */
bool node_info_has_name(const NodeInfo *info, const char *name, size_t n_name);

/* A copy of `info` on the heap, all else zero or unknown (peer uid unknown, connection_fd -1).
 * NULL on ENOMEM. */
Node *node_new(const NodeInfo *info);
/* A copy for another owner: no connection, not in any list. NULL on ENOMEM. */
Node *node_copy(const Node *node);
/* Takes NULL; the node must not be in a list. Returns NULL. */
Node *node_free(Node *node);
DEFINE_CLEANUP(Node *, node_free)

/* The order of the registry's index: by name (bytes), then by scope. */
int node_compare_key(const char *name_a, size_t n_a, const Address *scope_a, const char *name_b,
                     size_t n_b, const Address *scope_b);

/* The facts, and what follows from them. */
void node_set_facts(Node *node, const NodeFacts *facts, uint64_t now_usec);

void node_profile_done(NodeProfile *profile);
/* A copy for another owner. 0 or -ENOMEM. */
int node_profile_copy(const NodeProfile *profile, NodeProfile *ret);
/* Whose word the host part is: "announced", "static"; NULL where it is not known. */
const char *node_profile_host_source(const NodeProfile *profile);
bool node_profile_equal(const NodeProfile *a, const NodeProfile *b);
/* Adds or replaces a pair. 0; -EINVAL: key or value is not as it must be; -E2BIG: too many; -ENOMEM. */
int node_profile_set(NodeProfile *profile, const char *key, size_t n_key, const char *value, size_t n_value);
/* Steps through the pairs: begins with `*offset` 0; false at the end. The strings borrow. */
bool node_profile_next(const NodeProfile *profile, size_t *offset, const char **ret_key, const char **ret_value);
/* True if `host` may stand after the @ of a full name: 1 to NODE_HOST_BYTES_MAX bytes of UTF-8 without control
 * characters, spaces or '@'. */
bool node_host_is_valid(const char *host, size_t n_host);

/* Words of the field and of the database, for people: "left", "replaced", ... Never NULL for a valid value. */
const char *node_end_to_string(NodeEnd end);
/* 0, or -EINVAL for a word that is none. */
int node_end_from_string(const char *word, NodeEnd *ret);
/* "normal", "hidden", "c-node"; NULL for any other value. */
const char *node_type_to_string(uint8_t type);
