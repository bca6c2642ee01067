/* SPDX-License-Identifier: Apache-2.0 */
/* One TCP connection after the other, each with its time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/address.h"

/* 0 and a descriptor that does not block; -ETIMEDOUT: not until `deadline_usec` (CLOCK_MONOTONIC); negative errno. */
int probe_connect(const SocketAddress *address, uint64_t deadline_usec, int *ret_fd);
/* What fits into a new connection's buffer. 0 or negative errno; 0 also where the other side has closed already. */
int probe_send(int fd, const uint8_t *data, size_t n_data);
/* What has come: the number of bytes, 0 at the end (a reset is one, too); -ETIMEDOUT; negative errno. */
int probe_read(int fd, uint8_t *data, size_t n_room, uint64_t deadline_usec);
/* Everything up to the end, as far as there is room: the same, but 0 where there was nothing at all. */
int probe_read_all(int fd, uint8_t *data, size_t n_room, uint64_t deadline_usec);
/* True if the address is one of this machine. */
bool probe_is_own(const SocketAddress *address);
