/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon as a whole: builds its parts, runs the loop, takes it all down again. */
#pragma once

#include "config/config.h"

typedef struct Server Server;

/* Takes or opens the sockets, reads the registry, reconciles it; then every answer is right. 0; negative
 * errno after a line in the log that says what to do. `config` outlives the server, which puts into it what the files
 * say. */
int server_new(Server **ret, Config *config);
Server *server_free(Server *server);
DEFINE_CLEANUP(Server *, server_free)

/* Says READY=1 and serves until SIGTERM, SIGINT or a granted KILL. 0 or negative errno. */
int server_run(Server *server);
