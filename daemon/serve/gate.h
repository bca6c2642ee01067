/* SPDX-License-Identifier: Apache-2.0 */
/* Who asks, and who may ask what over TCP (P7); what is said in the log of those who may not. */
#pragma once

#include <stdbool.h>

#include "core/access.h"
#include "core/party.h"
#include "serve/conn.h"
#include "serve/counters.h"
#include "serve/vigil.h"

typedef struct Gate Gate;

/* Borrows both. 0 or -ENOMEM. */
int gate_new(Gate **ret, Vigil *vigil, Counters *counters);
Gate *gate_free(Gate *gate);
DEFINE_CLEANUP(Gate *, gate_free)

/* Whose `conn` is, by the kernel's word. Costs system calls. */
Party gate_find_party(Gate *gate, Conn *conn);
/* True if the peer of `conn`, a TCP connection, is on this machine or on `list` (NULL: on this machine only). */
bool gate_is_open(Gate *gate, Conn *conn, const AccessList *list);
/* It may not ask for `what` ("NAMES_REQ"): counted, and each address is named in the log once. */
void gate_note_denied(Gate *gate, const Conn *conn, const char *what);
