/* SPDX-License-Identifier: Apache-2.0 */
/* The usage of `epmd`. Stock epmd's has 57 lines on stderr, with "usage: epmd" first and a block
 * for each kind of option. Ours keeps that shape, for whoever has a look at it by script. */

#include "epmd_usage.h"

#include <stdio.h>
#include <stdlib.h>

static const char text[] =
        "usage: epmd [-port No] [-address List] [-daemon | -systemd]\n"
        "            [-relaxed_command_check] [-d] [Test...] [-- Options]\n"
        "       epmd [-port No] -names | -kill | -stop Name\n"
        "\n"
        "This is Rollcall's epmd. See epmd(1).\n"
        "\n"
        "Server\n"
        "    -port No\n"
        "        Listen on this port instead of 4369.\n"
        "    -address List\n"
        "        Listen on these IP addresses, separated by commas,\n"
        "        and on the loopback addresses, instead of on all.\n"
        "    -daemon\n"
        "        Detach from the terminal. The command returns as\n"
        "        soon as requests are answered.\n"
        "    -systemd\n"
        "        Take the listening sockets from systemd, as a\n"
        "        service beside a .socket unit does.\n"
        "    -relaxed_command_check\n"
        "        Let epmd -kill end this epmd even while nodes are\n"
        "        registered, and let epmd -stop end a registration.\n"
        "    -d\n"
        "    -debug\n"
        "        Log each request and each answer on the standard\n"
        "        error stream; given twice, their bytes as well.\n"
        "    -- Options\n"
        "        Hand what follows to rollcalld(8) as it is, such as\n"
        "            --list-from local\n"
        "\n"
        "Test\n"
        "    -packet_timeout Seconds\n"
        "        Close a connection whose request is not complete\n"
        "        and that has sent nothing for so long (60).\n"
        "\n"
        "    -delay_accept Seconds\n"
        "        Play a busy server: wait so long before\n"
        "        each connection is accepted.\n"
        "\n"
        "    -delay_write Seconds\n"
        "        Play a busy server: wait so long before\n"
        "        each answer is sent.\n"
        "\n"
        "Client (must be the last on the command line)\n"
        "    -names\n"
        "        List the names that are registered, and their ports.\n"
        "    -kill\n"
        "        End the epmd that is running. It agrees if no node\n"
        "        is registered, or if it was started with\n"
        "        -relaxed_command_check.\n"
        "    -stop Name\n"
        "        End the registration of a node by force. It agrees\n"
        "        if it was started with -relaxed_command_check.\n"
        "\n"
        "Environment\n"
        "    ERL_EPMD_PORT, ERL_EPMD_ADDRESS,\n"
        "    ERL_EPMD_RELAXED_COMMAND_CHECK (set, whatever it says)\n"
        "        The same as the options; -port and -address go first.\n";

int epmd_usage(void) {
        fputs(text, stderr);
        return EXIT_FAILURE;
}
