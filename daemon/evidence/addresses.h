/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's word on addresses: which are this machine's. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/address.h"
#include "util.h"

/* A netlink socket (rtnetlink) of the network namespace in which it was opened. */
typedef struct Addresses Addresses;

/* 0 or negative errno. */
int addresses_new(Addresses **ret);
Addresses *addresses_free(Addresses *addresses);
DEFINE_CLEANUP(Addresses *, addresses_free)

/* 1: what is sent there stays on this machine (also 127.1.2.3, and what a local route makes ours); 0: it does not, or
 * there is no way; negative errno: the kernel does not say. */
int addresses_is_own(Addresses *addresses, const Address *address);

/* What the kernel answers, by one message, aligned as nlmsghdr is: 1, 0 or negative errno as above; -EAGAIN: it does
 * not answer the request of that sequence. Pure. */
int addresses_parse_answer(const void *data, size_t n_data, uint32_t sequence);
