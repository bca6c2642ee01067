/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the vigil share: vigil.c (who lives), vigil_examine.c (who asks), vigil_reconcile.c (who is left from
 * before the start). */
#pragma once

#include "serve/vigil.h"

struct Vigil {
        sd_event *event;
        Registry *registry;
        Ledger *ledger;
        Counters *counters;

        Listeners *listeners; /* NULL: could not be opened */
        Cgroups *cgroups;     /* NULL: no cgroup v2 */
        sd_event_source *announcements;
        sd_event_source *expiry; /* of awaited nodes */
        sd_event_source *sight;  /* looks again, where the kernel did not answer */
        uint64_t sight_retry_usec;
        sd_event_source *review; /* asks for every listener, some at a time */
        uint64_t review_usec;
        uint64_t review_cookie; /* those after it are still to be asked for */
        uint64_t grace_until_usec; /* of rows of which nothing could be known at the start */
        int listener_fd;
        const char *blind_reason; /* static; NULL: it sees */
};

/* --- vigil.c --- */

/* By the loop's clocks. */
uint64_t vigil_now(const Vigil *vigil, clockid_t clock);
/* Carries out what happened to a node that is no client's request. Memory can be short for nothing here: only a
 * registration allocates. */
void vigil_tell(Vigil *vigil, EventKind kind, Node *node);
/* The kernel has not answered: it will be asked again. */
void vigil_look_again_later(Vigil *vigil);
/* Sets the timer to the first node whose grace ends, if there is one. */
void vigil_arm_expiry(Vigil *vigil);
/* Before a newcomer is matched to a listener: what has happened to those of his name, which the loop may not have
 * come to yet, lest he is taken for one of them. */
void vigil_settle_name(Vigil *vigil, const NodeInfo *info);
