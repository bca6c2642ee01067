/* SPDX-License-Identifier: Apache-2.0 */
/* Netlink messages, by libmnl. */
#pragma once

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stddef.h>

/* mnl_nlmsg_ok() takes a length of 2 GiB or more for a negative one, which fits everywhere. */
static inline bool netlink_is_whole(const struct nlmsghdr *message, size_t n_left) {
        return mnl_nlmsg_ok(message, (int)n_left) && message->nlmsg_len <= n_left;
}
