/* SPDX-License-Identifier: Apache-2.0 */
/* Twins: nodes of one name and one owner that listen on one port at different addresses. */
#pragma once

#include "core/registry.h"

/* A twin's connection and its listener cannot be told apart from the other's when it registers: both come from the
 * loopback address, from the same user and the same cgroup, for the same port. So they may have been matched
 * crosswise, which shows only when one of the two ends: the connection of the one and the listener of the other. */

bool twins_are(const Node *a, const Node *b);
/* Steps through the twins of `node` that have a connection, or that have lost it and are awaited; `after` NULL: the
 * first. NULL: no (further) one. */
Node *twins_next(const Registry *registry, const Node *node, bool is_connected, const Node *after);
