/* SPDX-License-Identifier: Apache-2.0 */
/* FIND: the nodes that somebody selects, as they are now. */
#pragma once

#include "core/control.h"
#include "core/registry.h"
#include "serve/conn.h"
#include "serve/pending.h"
#include "serve/watch.h"

/* P6: while so many answers wait for the disk, half of them of one user, further ones are refused. Orders and newcomers have the rest of the
 * connections that may be held. */
#define FIND_WAITING_MAX 256

/* All of these are borrowed. */
typedef struct FindParts {
        const Registry *registry;
        Pending *pending;
        Watch *watch; /* whose epoch is told, so that it can be gone on from there */
} FindParts;

/* Answers a CONTROL_FIND request once what there is to be told is on disk, or with an error. Over TCP records have their
 * public fields only (P7). */
void find_on_request(const FindParts *parts, Conn *conn, const ControlRequest *request);
