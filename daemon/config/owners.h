/* SPDX-License-Identifier: Apache-2.0 */
/* For whom names are reserved, as an operator writes it: uid:1000, user:rabbitmq, unit:rabbitmq-*.service. */
#pragma once

#include "core/rules.h"

/* 0; -EINVAL: `word` is no owner, `*ret_why` (a constant) says why not. */
int owner_check(const char *word, const char **ret_why);
/* The owner that `word` means; it borrows from `word`. May ask the user database, which may take its time. 0 (a
 * user that does not exist is RULE_OWNER_NOBODY); negative errno: the database cannot be asked. */
int owner_resolve(const char *word, RuleOwner *ret);
