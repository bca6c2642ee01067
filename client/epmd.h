/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the `epmd` command tell each other. Plain data. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define EPMD_PORT_DEFAULT 4369

typedef enum EpmdCall {
        EPMD_CALL_SERVE,
        EPMD_CALL_NAMES,
        EPMD_CALL_STARTED,
        EPMD_CALL_DUMP,
        EPMD_CALL_KILL,
        EPMD_CALL_STOP,
} EpmdCall;

/* What the command line and the environment ask for. Strings are theirs. */
typedef struct EpmdOptions {
        EpmdCall call;
        const char *stop_name; /* EPMD_CALL_STOP */
        uint32_t port;         /* 1..65535 once all is parsed */
        unsigned n_debug;      /* how often -d was given */
        bool is_daemon;
        bool is_relaxed;
        bool is_systemd;
        const char *address;          /* the list, or NULL */
        uint32_t packet_timeout_sec;  /* these three: 0 is "not given" */
        uint32_t delay_accept_sec;
        uint32_t delay_write_sec;
        char **rest; /* what follows "--", for rollcalld as it is; ends with NULL */
} EpmdOptions;
