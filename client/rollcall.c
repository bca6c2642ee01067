/* SPDX-License-Identifier: Apache-2.0 */
/* `rollcall`: the operator's command. Knows its options and subcommands; each subcommand is a
 * module. */

#include <getopt.h>
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "connection.h"
#include "names.h"
#include "status.h"
#include "util.h"

static const struct {
        const char *name;
        RollcallExit (*run)(const char *control_path, bool is_json);
} commands[] = {
        { "status", status_run },
        { "names", names_run },
};

static const char help[] =
        "rollcall [--control PATH] COMMAND [--json]\n"
        "\n"
        "Asks the Erlang port mapper rollcalld on this machine.\n"
        "\n"
        "Commands\n"
        "  status          how it fares: sockets, registry, nodes, evidence, counters\n"
        "  names           which nodes are registered\n"
        "\n"
        "Options\n"
        "  --control PATH  its control socket (else $ROLLCALL_CONTROL, else the first that\n"
        "                  exists of $RUNTIME_DIRECTORY/control, /run/rollcall/control and\n"
        "                  $XDG_RUNTIME_DIR/rollcall/control)\n"
        "  --json          for programs; rollcall(1) describes the form\n"
        "  --help          this text\n"
        "  --version       the version\n"
        "\n"
        "Exit status: 0 healthy, 1 degraded, 2 wrong usage, 3 rollcalld cannot be reached,\n"
        "4 the output could not be written.\n";

static RollcallExit run_command(char **words, const char *control_path, bool is_json) {
        if (!words[0]) {
                fputs("rollcall: which command? status or names (see rollcall --help)\n", stderr);
                return ROLLCALL_EXIT_USAGE;
        }
        if (words[1]) {
                fprintf(stderr, "rollcall: '%s' is one word too many (see rollcall --help)\n",
                        words[1]);
                return ROLLCALL_EXIT_USAGE;
        }
        for (size_t i = 0; i < ELEMENTS(commands); i++)
                if (strcmp(words[0], commands[i].name) == 0)
                        return commands[i].run(control_path, is_json);
        fprintf(stderr, "rollcall: there is no command '%s', only status and names\n", words[0]);
        return ROLLCALL_EXIT_USAGE;
}

int main(int argc, char *argv[]) {
        static const struct option options[] = {
                { "control", required_argument, NULL, 'c' }, { "json", no_argument, NULL, 'j' },
                { "help", no_argument, NULL, 'h' },          { "version", no_argument, NULL, 'V' },
                { NULL, 0, NULL, 0 },
        };
        const char *control_path = NULL;
        bool is_json = false;
        int option;

        setlocale(LC_ALL, ""); /* the width of names in a table */
        while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1)
                switch (option) {
                case 'c':
                        control_path = optarg;
                        break;
                case 'j':
                        is_json = true;
                        break;
                case 'h':
                        fputs(help, stdout);
                        return ROLLCALL_EXIT_OK;
                case 'V':
                        puts("rollcall " PACKAGE_VERSION);
                        return ROLLCALL_EXIT_OK;
                default: /* getopt has said what is wrong, in one line */
                        return ROLLCALL_EXIT_USAGE;
                }
        return run_command(argv + optind, control_path, is_json);
}
