/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes, ended registrations and refusals as records of the control protocol. */
#pragma once

#include "core/control.h"
#include "core/refusals.h"
#include "core/registry.h"
#include "serve/statics.h"

/* Who may read the record: what others than this machine are not told is left out (P7). */
typedef enum RecordsForm {
        RECORDS_FULL,
        RECORDS_PUBLIC,
        _RECORDS_FORM_N,
} RecordsForm;

/* One CONTROL_NODE_RECORD with all that is known. */
void records_put_node(ControlBuffer *buffer, const Node *node);
/* The fields of a node between _begin and _end of whatever record: those that all may read, and those that only this
 * machine is told. With the latter last, a record can be made public by its length. */
void records_put_public_fields(ControlBuffer *buffer, const Node *node);
void records_put_private_fields(ControlBuffer *buffer, const Node *node);
/* Both. */
void records_put_node_fields(ControlBuffer *buffer, const Node *node);

/* A registration that has ended, as a record of `kind` (CONTROL_TENURE_RECORD, CONTROL_GONE_RECORD). `by` may be
 * NULL. */
void records_put_tenure(ControlBuffer *buffer, ControlKind kind, const Node *node, const char *how, const char *by);
/* Those of its fields that all may read, between _begin and _end of whatever record; its private ones are the node's. */
void records_put_public_tenure_fields(ControlBuffer *buffer, const Node *node, const char *how, const char *by);
/* A CONTROL_ENTRY_RECORD; `userdata` is a ControlBuffer. A StaticsTell. */
void records_put_entry(void *userdata, const Entry *entry, StaticsState state, const char *reason);
void records_put_refused(ControlBuffer *buffer, const Refused *refused);

/* A whole answer: head, a CONTROL_NODE_RECORD for each node (newest first), CONTROL_END. Errors stick to the
 * buffer. */
void records_put(ControlBuffer *buffer, const Registry *registry);
