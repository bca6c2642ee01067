/* SPDX-License-Identifier: Apache-2.0 */
/* Twins: nodes of one name and one owner that listen on one port at different addresses. */
#pragma once

#include "core/registry.h"

/* A twin's connection and its listener cannot be told apart from the other's when it registers: both come from the
 * loopback address, from the same user and the same cgroup, for the same port. So they may have been matched
 * crosswise, which shows only when one of the two ends: the connection of the one and the listener of the other. */

/* A twin of `node` that has a connection, or NULL. */
Node *twins_find_connected(const Registry *registry, const Node *node);
/* A twin of `node` that has lost its connection and is awaited, or NULL. */
Node *twins_find_awaited(const Registry *registry, const Node *node);
