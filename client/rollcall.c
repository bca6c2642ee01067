/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall`: the operator's command. Knows its subcommands and which options each takes; each is a module. */

#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "announce.h"
#include "checkup.h"
#include "complaint.h"
#include "entries.h"
#include "find.h"
#include "history.h"
#include "names.h"
#include "options.h"
#include "output.h"
#include "pins.h"
#include "release.h"
#include "status.h"
#include "util.h"
#include "wait.h"
#include "watch.h"
#include "why.h"

typedef struct Command {
        const char *name;
        RollcallExit (*run)(const Options *options);
        size_t n_words_min, n_words_max; /* behind the command */
        const char *missing;             /* what to say where there are too few */
        unsigned options;
} Command;

static const Command commands[] = {
        { "status", status_run, 0, 0, NULL, 0 },
        { "names", names_run, 0, 0, NULL, OPTION_ALL },
        { "find", find_run, 0, SIZE_MAX, NULL,
          OPTION_AT | OPTION_EXCLUDE | OPTION_STATE | OPTION_HIDDEN | OPTION_TIMEOUT | OPTION_PORT },
        { "why", why_run, 1, 1, "why whom? rollcall why NAME", 0 },
        { "history", history_run, 0, 1, NULL, OPTION_ALL | OPTION_SINCE | OPTION_UNTIL | OPTION_LIMIT | OPTION_UTC },
        { "at", history_run_at, 1, 1, "at which time? rollcall at TIME", OPTION_ALL | OPTION_UTC },
        { "wait", wait_run, 1, SIZE_MAX, "wait for whom? rollcall wait [--free] NAME",
          OPTION_FREE | OPTION_STATE | OPTION_TIMEOUT | OPTION_QUIET | OPTION_COUNT | OPTION_AT | OPTION_EXCLUDE |
                  OPTION_HIDDEN | OPTION_PORT },
        { "watch", watch_run, 0, SIZE_MAX, NULL,
          OPTION_PREFIX | OPTION_AT | OPTION_EXCLUDE | OPTION_STATE | OPTION_HIDDEN | OPTION_PORT },
        { "check", checkup_run, 1, 1, "check which node? rollcall check NODE[@HOST]",
          OPTION_TIMEOUT | OPTION_PORT | OPTION_QUIET },
        { "ready", announce_run_ready, 1, SIZE_MAX, "who is ready? rollcall ready NAME [KEY=VALUE...]",
          OPTION_PORT | OPTION_WAIT | OPTION_QUIET },
        { "not-ready", announce_run_not_ready, 1, SIZE_MAX,
          "who is not ready? rollcall not-ready NAME [KEY=VALUE...]", OPTION_PORT | OPTION_WAIT | OPTION_QUIET },
        { "release", release_run, 1, 1, "release which name? rollcall release NAME", OPTION_QUIET },
        { "add", entries_run_add, 1, 1, "add which name? rollcall add NAME --port PORT",
          OPTION_PORT | OPTION_ADDRESS | OPTION_HOST_PART | OPTION_QUIET },
        { "remove", entries_run_remove, 1, 1, "remove which entry? rollcall remove NAME", OPTION_QUIET },
        { "entries", entries_run, 0, 0, NULL, 0 },
        { "pin", pins_run_pin, 2, 2, "pin which name to which port? rollcall pin NAME PORT", OPTION_QUIET },
        { "unpin", pins_run_unpin, 1, 1, "unpin which name? rollcall unpin NAME", OPTION_QUIET },
        { "pins", pins_run, 0, 0, NULL, OPTION_NFT },
};

static const char help[] =
        "rollcall [--control PATH] COMMAND [--json]\n"
        "\n"
        "Asks the Erlang port mapper rollcalld on this machine, and on others.\n"
        "\n"
        "Commands\n"
        "  status                       how it fares: sockets, registry, nodes, evidence, counters\n"
        "  names [--all]                which nodes are registered; --all: helpers of tools, too\n"
        "  find [PATTERN...]            nodes, here or elsewhere: [--at MACHINE]... [--exclude PATTERN]...\n"
        "                               [--state STATE,...] [--hidden] [--timeout T] [--port PORT]\n"
        "  why NAME                     who holds a name, by which evidence, and who was refused it\n"
        "  history [NAME]               who was registered when: [--since TIME] [--until TIME]\n"
        "                               [--limit N] [--utc] [--all]\n"
        "  at TIME [--utc] [--all]      who was registered then\n"
        "  wait NAME                    until it is registered: [--state STATE,...] [--timeout T]\n"
        "  wait --free NAME             until it is not: [--timeout T]\n"
        "  wait --count N PATTERN...    until so many are there, here or elsewhere: options of find\n"
        "  watch [PATTERN... | --prefix P]\n"
        "                               who is registered, and then every change: options of find\n"
        "  check NODE[@HOST]            why can I not connect to it? [--timeout T] [--port PORT]\n"
        "  ready NAME [KEY=VALUE...]    for a node's unit: tells that the node is ready\n"
        "  not-ready NAME               ... that it is about to leave: [--wait T] [--port PORT]\n"
        "  release NAME                 takes a name from its holder\n"
        "  add NAME --port PORT         enters a node that does not register: [--address A]\n"
        "                               [--host-part H]\n"
        "  remove NAME[@ADDRESS]        takes its entry away\n"
        "  entries                      all of them, and whether their nodes are there\n"
        "  pin NAME PORT, unpin NAME    gives a name a port for good\n"
        "  pins [--nft]                 all of them; --nft: for the firewall\n"
        "\n"
        "  NAME may be NAME@ADDRESS, or a node's full name. PATTERN: 'web_*', 'web_?@db*', 'mynode@*'.\n"
        "  MACHINE: local, HOST, HOST:PORT, [ADDRESS]:PORT. TIME: 13:30, '2026-11-21 13:30', -2h,\n"
        "  yesterday, @1795266600. T: seconds, 500ms, 2min.\n"
        "\n"
        "Options\n"
        "  --control PATH  its control socket (else $ROLLCALL_CONTROL, else the first that\n"
        "                  exists of $RUNTIME_DIRECTORY/control, /run/rollcall/control and\n"
        "                  $XDG_RUNTIME_DIR/rollcall/control)\n"
        "  --json          for programs; rollcall(1) describes the form\n"
        "  --help          this text\n"
        "  --version       the version\n"
        "\n"
        "Exit status: 0 done, 1 no (degraded, not registered, refused), 2 wrong usage, 3 rollcalld\n"
        "cannot be reached, 4 the time is over, or the output could not be written, 5 some machines\n"
        "could not be asked.\n";

static RollcallExit complain_command(const char *word) {
        char names[512] = "";
        size_t n = 0;

        for (size_t i = 0; i < ELEMENTS(commands) && n < sizeof(names); i++)
                n += (size_t)snprintf(names + n, sizeof(names) - n, "%s%s", i == 0 ? "" : ", ", commands[i].name);
        complaint_print("there is no command '%s', only %s", word, names);
        return ROLLCALL_EXIT_USAGE;
}

static RollcallExit run(const Command *command, const Options *options) {
        size_t n_words = options->n_words - 1;
        unsigned too_many = options->given & ~command->options;

        if (too_many) {
                complaint_print("'%s' takes no --%s (see rollcall --help)", command->name,
                                options_name(too_many));
                return ROLLCALL_EXIT_USAGE;
        }
        if (n_words < command->n_words_min) {
                complaint_print("%s", command->missing);
                return ROLLCALL_EXIT_USAGE;
        }
        if (n_words > command->n_words_max) {
                complaint_print("'%s' is one word too many (see rollcall --help)",
                                options->words[1 + command->n_words_max]);
                return ROLLCALL_EXIT_USAGE;
        }
        return command->run(options);
}

static int execute(const Options *options) {
        if (options->wants_help) {
                fputs(help, stdout);
                return output_finish();
        }
        if (options->wants_version) {
                puts("rollcall " PACKAGE_VERSION);
                return output_finish();
        }
        if (options->n_words == 0) {
                complaint_print("which command? status, names, why, ... (see rollcall --help)");
                return ROLLCALL_EXIT_USAGE;
        }
        for (size_t i = 0; i < ELEMENTS(commands); i++)
                if (strcmp(options->words[0], commands[i].name) == 0)
                        return (int)run(&commands[i], options);
        return complain_command(options->words[0]);
}

int main(int argc, char *argv[]) {
        _cleanup_(options_done) Options options;
        RollcallExit status = options_parse(argc, argv, &options);

        setlocale(LC_ALL, ""); /* the width of names in a table */
        return status != ROLLCALL_EXIT_OK ? (int)status : execute(&options);
}
