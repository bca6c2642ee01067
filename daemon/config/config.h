/* SPDX-License-Identifier: Apache-2.0 */
/* All that the daemon is told: by the command line, the environment and the configuration files. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config_load.h"
#include "core/entries.h"
#include "log.h"
#include "serve/sockets.h"
#include "config/settings.h"

typedef enum StateMode {
        STATE_DEFAULT,  /* where the environment says; memory only if it is in use or nowhere */
        STATE_EXPLICIT, /* --state: another daemon's file is an error */
        STATE_IF_FREE,  /* --state-if-free: memory only if it is in use */
        STATE_NONE,     /* --no-state */
} StateMode;

typedef struct Config {
        bool help, version, check_config, dump_config;

        /* A service (of systemd) with a bad option or variable serves without it, and says so; else it is told at
         * once and nothing is started. */
        bool is_service;
        Problems problems; /* what was bad in the options and the environment of a service */

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

        /* What may change while the daemon runs: at first as the options say, from config_adopt() on also as the
         * files say. */
        Settings settings;
        ConfigSource source;
        Entries nodes;     /* static entries that the files name; at most ENTRIES_STATICS_MAX */
        ConfigFiles files; /* that are in force */
        bool has_adopted;  /* the files were read once, if only to find none */
        char reason[512];  /* config_degraded_reason() */

        bool relaxed_command_check;
        unsigned delay_accept_sec, delay_write_sec;

        LogFormat log_format;
        int debug;
        int ready_fd; /* -1: none */
} Config;

/* 0, or -EINVAL after one line on stderr that says what is wrong. `config` is to be given to config_done()
 * either way. Reads no file. */
int config_parse(Config *config, int argc, char **argv);
void config_done(Config *config);

/* Puts what was read into force, as far as it was good; `load` gets what was before. What was bad is the reason
 * for which the daemon is degraded. */
void config_adopt(Config *config, ConfigLoad *load);
/* What was read is bad: all stays as it is, but for the reason for which the daemon is degraded. */
void config_decline(Config *config, const ConfigLoad *load);
/* What is wrong with the configuration, in words; NULL: nothing. Good until the next of the two above. */
const char *config_degraded_reason(const Config *config);

/* Acts for --check-config and --dump-config: reads the files as the service would, prints, returns the exit
 * status. */
int config_check(const Config *config);
int config_dump(const Config *config);

/* What --help prints. */
extern const char config_help[];
