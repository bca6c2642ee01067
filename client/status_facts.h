/* SPDX-License-Identifier: Apache-2.0 */
/* What an answer to CONTROL_STATUS says, taken out of its bytes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ask.h"

typedef struct StringList {
        char **texts; /* clean; owned */
        size_t n_texts;
} StringList;

typedef struct StatusSocket {
        char *address, *origin; /* owned; NULL: not told */
} StatusSocket;

typedef struct StatusCounter {
        char *name; /* owned */
        uint64_t value;
} StatusCounter;

/* Who has, or had, more connections than there was room for. */
typedef struct StatusCulprit {
        char *address, *unit; /* owned; NULL: not told */
        bool has_uid;         /* with neither that nor an address: a user whom the daemon does not know */
        uint64_t uid;
        uint64_t since_usec, last_usec;
        uint64_t n_shed, n_busy;
} StatusCulprit;

/* The numbers that a daemon may leave out: an older one does not know all. */
typedef enum StatusNumber {
        STATUS_PID,
        STATUS_STARTED_USEC,
        STATUS_REGISTRY_BYTES,
        STATUS_WAL_BYTES,
        STATUS_SCHEMA_VERSION,
        STATUS_N_NODES,
        STATUS_N_AWAITED,
        STATUS_N_STOPPING,
        STATUS_N_CONNECTIONS,
        STATUS_N_CONNECTIONS_MAX,
        STATUS_REVISION,
        STATUS_COMMITTED_REVISION,
        STATUS_NODES_PER_UID_MAX,
        STATUS_FD_STORE_MAX,
        STATUS_FD_STORE_N,
        STATUS_FD_STORE_WAITING,
        STATUS_N_WATCHERS,
        STATUS_N_HELD,
        _STATUS_NUMBER_N,
} StatusNumber;

typedef enum StatusText {
        STATUS_PROGRAM_VERSION,
        STATUS_REGISTRY_PATH,
        STATUS_REGISTRY_HEALTH,
        STATUS_REGISTRY_DETAIL,
        STATUS_BOOT_ID,
        STATUS_BLIND,
        STATUS_UNITS_UNSEEN,
        _STATUS_TEXT_N,
} StatusText;

typedef struct StatusFacts {
        bool has_number[_STATUS_NUMBER_N];
        uint64_t numbers[_STATUS_NUMBER_N];
        char *texts[_STATUS_TEXT_N]; /* owned; NULL: not told */
        StringList degraded, evidence, config_files;
        StatusSocket *sockets;
        size_t n_sockets;
        StatusCulprit *culprits;
        size_t n_culprits;
        StatusCounter *counters;
        size_t n_counters;
        StatusCounter *states; /* how many nodes are in each that occurs; an older daemon tells none */
        size_t n_states;
} StatusFacts;

/* The nodes in a state; false: not told. */
bool status_facts_n_in_state(const StatusFacts *facts, const char *state, uint64_t *ret);

void status_facts_done(StatusFacts *facts);
/* Texts are cleaned for JSON or for people (text.h). 0, -EBADMSG where there is no status in the
 * answer, -ENOMEM. Writes `*ret` on success only. */
int status_facts_read(const Answer *answer, bool for_json, StatusFacts *ret);
