/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows what follows for a node's state from what is known of it. Does not gather the facts.
 *
 * The trap: a unit that is "active" says nothing unless it is Type=notify, and what is said of a unit holds
 * for all processes in it, also for those that its main process knows nothing of.
 */

#include "core/node_state.h"

#include <errno.h>
#include <string.h>

#include "util.h"

static NodeState decide(NodeState state, NodeSource source, NodeSource *ret_source) {
        *ret_source = source;
        return state;
}

/* In order: what takes a node away counts more than what speaks for it, the application's own word more than its
 * unit's. */
NodeState node_state_decide(const NodeFacts *facts, NodeSource *ret_source) {
        if (facts->is_listener_gone)
                return decide(NODE_STOPPING, NODE_SOURCE_LISTENER, ret_source);
        if (facts->unit_phase == UNIT_PHASE_STOPPING)
                return decide(NODE_STOPPING, NODE_SOURCE_UNIT, ret_source);
        if (facts->announced == NODE_ANNOUNCED_DRAINING)
                return decide(NODE_STOPPING, NODE_SOURCE_ANNOUNCEMENT, ret_source);
        if (facts->is_awaited)
                return decide(NODE_AWAITED, NODE_SOURCE_CONNECTION, ret_source);
        if (facts->announced == NODE_ANNOUNCED_READY)
                return decide(NODE_READY, NODE_SOURCE_ANNOUNCEMENT, ret_source);
        if (facts->unit_phase == UNIT_PHASE_STARTING)
                return decide(NODE_STARTING, NODE_SOURCE_UNIT, ret_source);
        if (facts->unit_phase == UNIT_PHASE_READY)
                return decide(NODE_READY, NODE_SOURCE_UNIT, ret_source);
        switch (facts->origin) {
        case NODE_ORIGIN_REGISTERED:
                break;
        case NODE_ORIGIN_STATIC:
                return decide(NODE_UP, NODE_SOURCE_LISTENER, ret_source);
        case NODE_ORIGIN_ELSEWHERE:
                return decide(NODE_UP, NODE_SOURCE_ENTRY, ret_source);
        }
        return decide(NODE_UP, NODE_SOURCE_CONNECTION, ret_source);
}

bool node_is_going(const NodeFacts *facts) {
        return facts->is_listener_gone || facts->is_left_over || facts->unit_phase == UNIT_PHASE_STOPPING;
}

static bool is_notify(const char *type) {
        return strcmp(type, "notify") == 0 || strcmp(type, "notify-reload") == 0;
}

/* ExecStartPre= runs before the node, ExecStartPost= after READY=1; "auto-restart" is the pause before a start.
 * What is there in either of the first and the last was left over from before. */
UnitPhase unit_phase_from_words(const char *type, const char *active, const char *sub, bool is_own) {
        if (!*active)
                return UNIT_PHASE_UNKNOWN;
        if (strcmp(active, "deactivating") == 0)
                return UNIT_PHASE_STOPPING;
        if (!is_own || !is_notify(type))
                return UNIT_PHASE_PLAIN;
        if (strcmp(active, "activating") == 0) {
                if (strcmp(sub, "start") == 0)
                        return UNIT_PHASE_STARTING;
                return strcmp(sub, "start-post") == 0 ? UNIT_PHASE_READY : UNIT_PHASE_PLAIN;
        }
        if (strcmp(active, "reloading") == 0)
                return UNIT_PHASE_READY;
        return strcmp(active, "active") == 0 && strcmp(sub, "exited") != 0 ? UNIT_PHASE_READY
                                                                            : UNIT_PHASE_PLAIN;
}

/* Newer ones also say "auto-restart-queued". */
bool unit_is_over(const char *active, const char *sub) {
        return strcmp(active, "inactive") == 0 || strcmp(active, "failed") == 0 ||
               (strcmp(active, "activating") == 0 && strncmp(sub, "auto-restart", strlen("auto-restart")) == 0);
}

static const char *const state_words[_NODE_STATE_N] = {
        [NODE_UP] = "up",
        [NODE_AWAITED] = "awaited",
        [NODE_STOPPING] = "stopping",
        [NODE_STARTING] = "starting",
        [NODE_READY] = "ready",
};

const char *node_state_to_string(NodeState state) {
        return state_words[state];
}

const char *node_source_to_string(NodeSource source) {
        static const char *const words[_NODE_SOURCE_N] = {
                [NODE_SOURCE_CONNECTION] = "connection",
                [NODE_SOURCE_LISTENER] = "listener",
                [NODE_SOURCE_UNIT] = "unit",
                [NODE_SOURCE_ANNOUNCEMENT] = "announcement",
                [NODE_SOURCE_ENTRY] = "entry",
        };

        return words[source];
}

const char *node_origin_to_string(NodeOrigin origin) {
        return origin == NODE_ORIGIN_REGISTERED ? NULL : "static";
}

const char *node_announced_to_string(NodeAnnounced announced) {
        switch (announced) {
        case NODE_ANNOUNCED_NOTHING:
                return NULL;
        case NODE_ANNOUNCED_READY:
                return "ready";
        case NODE_ANNOUNCED_DRAINING:
                return "draining";
        }
        return NULL;
}

int node_state_from_string(const char *word, NodeState *ret) {
        for (NodeState state = 0; state < _NODE_STATE_N; state++)
                if (strcmp(state_words[state], word) == 0) {
                        *ret = state;
                        return 0;
                }
        return -EINVAL;
}

int node_announced_from_string(const char *word, NodeAnnounced *ret) {
        if (strcmp(word, "ready") == 0)
                *ret = NODE_ANNOUNCED_READY;
        else if (strcmp(word, "draining") == 0)
                *ret = NODE_ANNOUNCED_DRAINING;
        else
                return -EINVAL;
        return 0;
}
