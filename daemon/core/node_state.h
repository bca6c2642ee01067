/* SPDX-License-Identifier: Apache-2.0 */
/* The state rule: what a node's state is, and by whose word. Pure. */
#pragma once

#include <stdbool.h>

typedef enum NodeState {
        NODE_UP,       /* registered, and nothing more is known */
        NODE_AWAITED,  /* the daemon was restarted; it lives by other evidence until it is back */
        NODE_STOPPING, /* it is going: its listener has closed, its unit is being stopped, or it said so */
        NODE_STARTING, /* its unit is Type=notify and has not said READY=1 */
        NODE_READY,    /* its unit has, or it said so itself */
        _NODE_STATE_N,
} NodeState;

/* How it came to be known. */
typedef enum NodeOrigin {
        NODE_ORIGIN_REGISTERED, /* ALIVE2_REQ */
        NODE_ORIGIN_STATIC,     /* an operator's entry; it lives by its listener */
        NODE_ORIGIN_ELSEWHERE,  /* an operator's entry for another machine; nobody knows whether it lives */
} NodeOrigin;

/* By whose word. */
typedef enum NodeSource {
        NODE_SOURCE_CONNECTION,   /* its registering connection, or that it is missing */
        NODE_SOURCE_LISTENER,     /* the kernel's word on its listening socket */
        NODE_SOURCE_UNIT,         /* systemd's word on its unit */
        NODE_SOURCE_ANNOUNCEMENT, /* its own, or that of a script of its unit */
        NODE_SOURCE_ENTRY,        /* an operator's: of a node on another machine */
        _NODE_SOURCE_N,
} NodeSource;

/* What systemd's word on a unit means for the nodes in it. */
typedef enum UnitPhase {
        UNIT_PHASE_UNKNOWN,  /* no unit, no bus, or not heard of yet */
        UNIT_PHASE_PLAIN,    /* nothing follows: it is not Type=notify, or not running (a process that was left over) */
        UNIT_PHASE_STARTING, /* Type=notify, and READY=1 has not come */
        UNIT_PHASE_READY,    /* Type=notify, and it has */
        UNIT_PHASE_STOPPING, /* being stopped, whatever its type */
} UnitPhase;

/* What a node has announced of itself. */
typedef enum NodeAnnounced {
        NODE_ANNOUNCED_NOTHING,
        NODE_ANNOUNCED_READY,
        NODE_ANNOUNCED_DRAINING,
} NodeAnnounced;

/* What the state follows from. */
typedef struct NodeFacts {
        NodeOrigin origin;
        bool is_awaited;       /* its connection was lost by our own restart */
        bool is_listener_gone; /* a listener was matched to it and has closed */
        bool is_left_over;     /* its unit has ended, or was started anew, without it (KillMode=process): it was told to
                                * stop, or nobody looks after it any more */
        UnitPhase unit_phase;
        NodeAnnounced announced;
} NodeFacts;

NodeState node_state_decide(const NodeFacts *facts, NodeSource *ret_source);

/* True if the node will be gone in a moment, as far as can be told: a newcomer of its name waits for that instead of
 * being refused (P4). An application that drains may do so for hours: that is no reason to wait. */
bool node_is_going(const NodeFacts *facts);

/* From systemd's words: Type= of a service ("" for any other kind of unit), ActiveState ("": nothing is known),
 * SubState. `is_own` is false where the process is not the unit's own but lives under another manager within it
 * (a user's manager, a container): then "ready" says nothing about it. */
UnitPhase unit_phase_from_words(const char *type, const char *active, const char *sub, bool is_own);

/* True if systemd's words say that a process which is still there was left over by its unit. */
bool unit_is_over(const char *active, const char *sub);

/* Stable words: "up", "awaited", "stopping", "starting", "ready". Never NULL for a valid value. */
const char *node_state_to_string(NodeState state);
/* "connection", "listener", "unit", "announcement", "entry". */
const char *node_source_to_string(NodeSource source);
/* "ready", "draining"; NULL for nothing. */
const char *node_announced_to_string(NodeAnnounced announced);
/* "static"; NULL for one that has registered. That it is on another machine is not in the word. */
const char *node_origin_to_string(NodeOrigin origin);
/* 0, or -EINVAL for a word that is none. */
int node_state_from_string(const char *word, NodeState *ret);
int node_announced_from_string(const char *word, NodeAnnounced *ret);
