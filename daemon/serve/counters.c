/* SPDX-License-Identifier: Apache-2.0 */
/* Knows the counters' names. */

#include "serve/counters.h"

#include <stdio.h>

#define COUNTER(word, field) { word, offsetof(Counters, field) }

static const struct {
        const char *name;
        size_t offset;
} names[] = {
        COUNTER("connections.accepted", n_accepted),
        COUNTER("connections.timed-out", n_timed_out),
        COUNTER("connections.shed", n_shed),
        COUNTER("requests.alive2", n_alive2),
        COUNTER("requests.port2", n_port2),
        COUNTER("requests.names", n_names),
        COUNTER("requests.dump", n_dump),
        COUNTER("requests.kill", n_kill),
        COUNTER("requests.stop", n_stop),
        COUNTER("requests.control", n_control),
        COUNTER("requests.denied", n_denied),
        COUNTER("requests.malformed", n_malformed),
        COUNTER("requests.unknown", n_unknown),
        COUNTER("lookups.missed", n_lookups_missed),
        COUNTER("nodes.registered", n_registered),
        COUNTER("nodes.returned", n_returned),
        COUNTER("nodes.ended", n_ended),
        COUNTER("nodes.held", n_held),
        COUNTER("nodes.answered-unwritten", n_unwritten),
        COUNTER("evidence.lost", n_evidence_lost),
};

void counters_each(const Counters *counters,
                   void (*put)(void *userdata, const char *name, uint64_t value), void *userdata) {
        char name[64];

        for (size_t i = 0; i < ELEMENTS(names); i++)
                put(userdata, names[i].name,
                    *(const uint64_t *)((const char *)counters + names[i].offset));
        for (Refusal refusal = REFUSAL_NONE + 1; refusal < _REFUSAL_N; refusal++) {
                snprintf(name, sizeof name, "refused.%s", refusal_to_string(refusal));
                put(userdata, name, counters->n_refused[refusal]);
        }
}
