/* SPDX-License-Identifier: Apache-2.0 */
/* What the rules (registry_decide.c) are told by the memory (registry.c), beside what it tells everyone. Room is all
 * that they may ask it to change. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/registry.h"

const RegistryLimits *registry_limits(const Registry *registry);
const Rules *registry_rules(const Registry *registry); /* or NULL */
bool registry_is_helper(const Registry *registry, const NodeInfo *info);

/* Nodes that have registered, those that did not being bounded otherwise: all, and one user's (P6). */
size_t registry_n_registered(const Registry *registry);
size_t registry_n_of_uid(const Registry *registry, uid_t uid);

/* What was given last to a name that is not registered, of either kind; 0: not known. */
uint32_t registry_last_creation(const Registry *registry, const char *name, size_t n_name);
uint64_t registry_next_serial(const Registry *registry);

/* Room for one more node, or for one more user: so that registry_apply() need not allocate. 0 or -ENOMEM. */
int registry_reserve(Registry *registry);
int registry_reserve_uid(Registry *registry);
