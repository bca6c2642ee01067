/* SPDX-License-Identifier: Apache-2.0 */
/* A node in one word: enough to know it again by where nothing else is left of it. */
#pragma once

#include "core/node.h"

/* With its NUL. Leaves room in what systemd takes for an FDNAME (255) for what stands before it. */
#define LABEL_MAX 208

/* "CREATION-PORT-TYPE-PROTOCOL-HIGHEST-LOWEST-NAME": numbers, and the name with every byte but letters, digits, '.',
 * '_' and '-' as %XX. Returns `label`, which is "" where that is too long or does not tell all (extra data). */
const char *label_format(const Node *node, char label[static LABEL_MAX]);
/* A node of that creation, and all that it said of itself; nothing else is known of it. 0; -EINVAL: it was not made by
 * label_format(); -ENOMEM. */
int label_parse(const char *label, Node **ret);
