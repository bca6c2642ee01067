/* SPDX-License-Identifier: Apache-2.0 */
/* A TCP connection to a machine, made without waiting. Says nothing to anybody. */
#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/address.h"
#include "resolve.h"

#define DIAL_FDS_MAX (RESOLVE_ADDRESSES_MAX + 1)

typedef struct Dial {
        Resolution *resolution; /* NULL: it is done, or was not needed; owned */
        uint16_t port;
        SocketAddress addresses[RESOLVE_ADDRESSES_MAX];
        int fds[RESOLVE_ADDRESSES_MAX]; /* of those that were tried, -1: failed */
        size_t n_addresses, n_tried;
        uint64_t next_usec;    /* CLOCK_MONOTONIC: when the next address is tried beside those that do not answer */
        size_t winner;         /* once it is connected */
        int error;             /* negative errno: why the first that failed did */
        int resolution_error;  /* an EAI_ number */
} Dial;

/* 0 or -ENOMEM. `host` NULL: loopback. Release with dial_done(), also then. */
int dial_begin(Dial *dial, const char *host, uint16_t port);
/* Once more to the address that was connected to. */
void dial_again(Dial *dial);
void dial_done(Dial *dial);

/* What is to be waited for: the number of `items`, and the time after which it is to be looked at in any case
 * (lowered, not set). */
size_t dial_poll(const Dial *dial, struct pollfd items[static DIAL_FDS_MAX], uint64_t *wake_usec);
/* Does what can be done now: 1: connected, and `*ret_fd` is the caller's; 0: not yet; -EHOSTUNREACH and the like:
 * no address can be connected to; -ENXIO: the host has none (`resolution_error`). */
int dial_step(Dial *dial, int *ret_fd);
