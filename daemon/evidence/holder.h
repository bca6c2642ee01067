/* SPDX-License-Identifier: Apache-2.0 */
/* Who holds a TCP port, in words for a person: program, pid, unit, uid. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/address.h"

typedef struct PortHolder {
        char program[64]; /* /proc/PID/comm; "" where no process could be found (another user's) */
        pid_t pid;        /* 0: unknown */
        uid_t uid;
        char unit[256];        /* systemd unit of the process; "" unknown */
        char socket_unit[256]; /* where systemd itself listens for it: "epmd.socket"; else "" */
} PortHolder;

/* The owner of the listening socket that keeps `address`:`port` (host order) from being bound. 0;
 * -ENOENT: nobody found (it may have gone); other negative errno. Opens what it needs by itself,
 * reads /proc and asks systemd: for start-up and for error messages, never for the loop. */
int holder_find(const Address *address, uint16_t port, PortHolder *ret);

/* "epmd (pid 812, unit epmd.service)", "systemd (pid 1, socket unit epmd.socket)", "a process of
 * uid 1000 (unit rabbitmq-server.service)". Returns `text`. */
const char *holder_format(const PortHolder *holder, char *text, size_t n_text);
