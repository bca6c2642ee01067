/* SPDX-License-Identifier: Apache-2.0 */
/* A network of a test's own, in which nobody else listens. */
#pragma once

#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* A network namespace with nothing but loopback. False where that takes a privilege that we do not have: the network of
 * the machine is used then. */
static inline bool enter_own_network(void) {
        struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
        bool is_up;
        int fd;

        if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0)
                return false;
        fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        is_up = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &lo) == 0;
        if (fd >= 0)
                close(fd);
        return is_up;
}
