/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes, ended registrations and refusals as records of the control protocol. */
#pragma once

#include "core/control.h"
#include "core/culprits.h"
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
/* One for that reader, with the revision of the registry if it is not 0. */
void records_put_node_as(ControlBuffer *buffer, const Node *node, RecordsForm form, uint64_t revision);
/* The fields of a node between _begin and _end of whatever record: those that all may read, and those that only this
 * machine is told. With the latter last, a record can be made public by its length. */
void records_put_public_fields(ControlBuffer *buffer, const Node *node);
void records_put_private_fields(ControlBuffer *buffer, const Node *node);
/* Both. */
void records_put_node_fields(ControlBuffer *buffer, const Node *node);

/* A registration that has ended, as a record of `kind` (CONTROL_TENURE_RECORD, CONTROL_GONE_RECORD). `by` may be
 * NULL. */
void records_put_tenure(ControlBuffer *buffer, ControlKind kind, const Node *node, const char *how, const char *by);
/* Its fields between _begin and _end of whatever record, as of a node; who ended it is a user of this machine. */
void records_put_public_tenure_fields(ControlBuffer *buffer, const Node *node, const char *how);
void records_put_private_tenure_fields(ControlBuffer *buffer, const Node *node, const char *by);
/* A CONTROL_ENTRY_RECORD; `userdata` is a ControlBuffer. A StaticsTell. */
void records_put_entry(void *userdata, const Entry *entry, StaticsState state, const char *reason);
void records_put_refused(ControlBuffer *buffer, const Refused *refused);
void records_put_culprit(ControlBuffer *buffer, const Culprit *culprit);

/* A whole answer: head, a CONTROL_NODE_RECORD for each node (newest first), CONTROL_END. Errors stick to the
 * buffer. */
void records_put(ControlBuffer *buffer, const Registry *registry);
