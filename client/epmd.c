/* SPDX-License-Identifier: Apache-2.0 */
/* `epmd`: takes stock epmd's command line and environment apart, and hands the rest to a client's
 * request (epmd_client) or to a server's start (epmd_server).
 *
 * Knows the flags and their order; the trap is that order: -names, -dump, -started, -kill and -stop
 * NAME must come last, and what stands before them counts. */

#include "epmd.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "epmd_client.h"
#include "epmd_server.h"
#include "epmd_usage.h"
#include "util.h"

#define PORT_MAX 65535
#define SECONDS_MAX (24 * 60 * 60)

static const struct {
        const char *flag;
        EpmdCall call;
        int n_more; /* arguments that must follow, and be the last */
} calls[] = {
        { "-names", EPMD_CALL_NAMES, 0 }, { "-started", EPMD_CALL_STARTED, 0 },
        { "-dump", EPMD_CALL_DUMP, 0 },   { "-kill", EPMD_CALL_KILL, 0 },
        { "-stop", EPMD_CALL_STOP, 1 },
};

static const struct {
        const char *flag;
        size_t offset;
} switches[] = {
        { "-daemon", offsetof(EpmdOptions, is_daemon) },
        { "-relaxed_command_check", offsetof(EpmdOptions, is_relaxed) },
        { "-systemd", offsetof(EpmdOptions, is_systemd) },
};

static const struct {
        const char *flag;
        size_t offset;
        uint32_t max;
} numbers[] = {
        { "-port", offsetof(EpmdOptions, port), PORT_MAX },
        { "-packet_timeout", offsetof(EpmdOptions, packet_timeout_sec), SECONDS_MAX },
        { "-delay_accept", offsetof(EpmdOptions, delay_accept_sec), SECONDS_MAX },
        { "-delay_write", offsetof(EpmdOptions, delay_write_sec), SECONDS_MAX },
};

/* 1..max, in decimal digits and nothing else. */
static bool parse_number(const char *text, uint32_t max, uint32_t *ret) {
        unsigned long value;

        if (text[0] == '\0' || text[strspn(text, "0123456789")] != '\0')
                return false;
        errno = 0;
        value = strtoul(text, NULL, 10);
        if (errno != 0 || value == 0 || value > max)
                return false;
        *ret = (uint32_t)value;
        return true;
}

/* What stock epmd takes for another number than was meant: 70000 for 4464, 5x for 5. */
static int complain_number(const char *flag, const char *text, uint32_t max) {
        fprintf(stderr, "epmd: %s %s: not a whole number from 1 to %u\n", flag, text,
                (unsigned)max);
        return EXIT_FAILURE;
}

static bool *switch_at(EpmdOptions *options, size_t offset) {
        return (bool *)((char *)options + offset);
}

/* Each take_ function returns how many arguments it took; 0: the first is none of its own; -1: the
 * exit status is in `*ret_status`. */

static int take_switch(char **args, EpmdOptions *options) {
        if (strcmp(args[0], "-d") == 0 || strcmp(args[0], "-debug") == 0) {
                options->n_debug++;
                return 1;
        }
        for (size_t i = 0; i < ELEMENTS(switches); i++)
                if (strcmp(args[0], switches[i].flag) == 0) {
                        *switch_at(options, switches[i].offset) = true;
                        return 1;
                }
        return 0;
}

static int take_value(char **args, EpmdOptions *options, int *ret_status) {
        if (strcmp(args[0], "-address") == 0 && args[1]) {
                options->address = args[1];
                return 2;
        }
        for (size_t i = 0; i < ELEMENTS(numbers); i++) {
                void *place = (char *)options + numbers[i].offset;

                if (strcmp(args[0], numbers[i].flag) != 0)
                        continue;
                if (args[1] && parse_number(args[1], numbers[i].max, place))
                        return 2;
                *ret_status = args[1] && atoi(args[1]) != 0
                                      ? complain_number(args[0], args[1], numbers[i].max)
                                      : epmd_usage();
                return -1;
        }
        return 0;
}

static int take_call(char **args, EpmdOptions *options) {
        int n_args = 0;

        while (args[n_args])
                n_args++;
        for (size_t i = 0; i < ELEMENTS(calls); i++)
                if (strcmp(args[0], calls[i].flag) == 0 && n_args == 1 + calls[i].n_more) {
                        options->call = calls[i].call;
                        options->stop_name = args[1];
                        return n_args;
                }
        return 0;
}

/* 0 and all of `options`, or -1 and the exit status. */
static int parse_arguments(char **args, EpmdOptions *options, int *ret_status) {
        while (args[0]) {
                int n;

                if (strcmp(args[0], "--") == 0) {
                        options->rest = args + 1;
                        return 0;
                }
                n = take_switch(args, options);
                if (n == 0)
                        n = take_value(args, options, ret_status);
                if (n == 0)
                        n = take_call(args, options);
                if (n < 0)
                        return -1;
                if (n == 0) {
                        *ret_status = epmd_usage();
                        return -1;
                }
                args += n;
        }
        return 0;
}

/* What the flags left open. Stock epmd takes a garbage port for 0, hence for any free one. */
static int parse_environment(EpmdOptions *options, int *ret_status) {
        const char *port = getenv("ERL_EPMD_PORT");

        if (options->port == 0) {
                options->port = EPMD_PORT_DEFAULT;
                if (port && !parse_number(port, PORT_MAX, &options->port)) {
                        if (options->call != EPMD_CALL_STARTED) /* which is silent */
                                fprintf(stderr, "epmd: ERL_EPMD_PORT is '%s', which is no port\n",
                                        port);
                        *ret_status = EXIT_FAILURE;
                        return -1;
                }
        }
        if (!options->address)
                options->address = getenv("ERL_EPMD_ADDRESS");
        if (getenv("ERL_EPMD_RELAXED_COMMAND_CHECK")) /* whatever it says */
                options->is_relaxed = true;
        return 0;
}

int main(int argc, char *argv[]) {
        static char *no_rest[] = { NULL };
        EpmdOptions options = { .call = EPMD_CALL_SERVE, .rest = no_rest };
        int status = EXIT_FAILURE;

        if (argc > 0 && parse_arguments(argv + 1, &options, &status) < 0)
                return status;
        if (parse_environment(&options, &status) < 0)
                return status;
        switch (options.call) {
        case EPMD_CALL_SERVE:
                return epmd_server_run(&options);
        case EPMD_CALL_NAMES:
        case EPMD_CALL_STARTED:
        case EPMD_CALL_DUMP:
                return epmd_client_list(&options);
        case EPMD_CALL_KILL:
                return epmd_client_kill(&options);
        case EPMD_CALL_STOP:
                return epmd_client_stop(&options);
        }
        return EXIT_FAILURE;
}
