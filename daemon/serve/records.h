/* SPDX-License-Identifier: Apache-2.0 */
/* The nodes as records of the control protocol. */
#pragma once

#include "core/control.h"
#include "core/registry.h"

/* A whole answer: head, a CONTROL_NODE_RECORD for each node (newest first), CONTROL_END. Errors stick to the
 * buffer. */
void records_put(ControlBuffer *buffer, const Registry *registry);
