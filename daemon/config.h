/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's settings: from the command line and the environment. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "log.h"
#include "serve/sockets.h"
#include "settings.h"

typedef enum StateMode {
        STATE_DEFAULT,  /* where the environment says; memory only if it is in use or nowhere */
        STATE_EXPLICIT, /* --state: another daemon's file is an error */
        STATE_IF_FREE,  /* --state-if-free: memory only if it is in use */
        STATE_NONE,     /* --no-state */
} StateMode;

typedef struct Config {
        bool help, version;

        ListenAddress *listen; /* owned; empty: every address */
        size_t n_listen;
        bool has_listen, has_port; /* asked for, by option or variable: without effect on passed sockets */
        uint16_t port;
        const char *epmd_addresses; /* ERL_EPMD_ADDRESS or --epmd-address, for the log; NULL: none */
        char *control_path;         /* owned; NULL: none could be thought of, or "none" */
        bool control_is_explicit;

        StateMode state_mode;
        char *state_path; /* owned; NULL: nowhere */
        char *boot_id;    /* owned; NULL: unknown */
        size_t n_fdstore_max; /* connections that systemd keeps for us; 0: none */

        Settings settings; /* what may change while the daemon runs */

        bool relaxed_command_check;
        unsigned delay_accept_sec, delay_write_sec;

        LogFormat log_format;
        int debug;
        int ready_fd; /* -1: none */
} Config;

/* 0, or -EINVAL after one line on stderr that says what is wrong. `config` is to be given to config_done()
 * either way. */
int config_parse(Config *config, int argc, char **argv);
void config_done(Config *config);

/* What --help prints. */
extern const char config_help[];
