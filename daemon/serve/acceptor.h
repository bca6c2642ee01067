/* SPDX-License-Identifier: Apache-2.0 */
/* Accepts connections on the listening sockets and hands them to conn; rests where the machine has no room. */
#pragma once

#include <systemd/sd-event.h>

#include "serve/conn.h"

typedef struct Acceptors Acceptors;

/* `delay_sec`: rests so long after each accepted connection (stock epmd's -delay_accept). Borrows `event` and
 * `conns`. 0 or -ENOMEM. */
int acceptors_new(Acceptors **ret, sd_event *event, Conns *conns, unsigned delay_sec);
Acceptors *acceptors_free(Acceptors *acceptors);
DEFINE_CLEANUP(Acceptors *, acceptors_free)

/* Takes `*fd`, a listening non-blocking socket, on success. `port` (host order) is what clients of it are told
 * is EPMD's port. 0 or negative errno. */
int acceptors_add(Acceptors *acceptors, int *fd, ConnKind kind, uint16_t port);
/* Closes the listening sockets, for the way out; also from within a connection's handler. */
void acceptors_close(Acceptors *acceptors);
