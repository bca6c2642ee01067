/* SPDX-License-Identifier: Apache-2.0 */
/* The last changes of the registry, each as a record that is ready to be sent. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/address.h"
#include "core/node_state.h"
#include "util.h"

typedef struct ChangeRecord {
        uint64_t revision; /* the registry's, with this change */
        Address scope;     /* of the node */
        bool was_there, is_there; /* it was registered before, it is afterwards */
        NodeState state_before, state; /* if so */
        bool is_hidden;    /* to those who do not ask for hidden ones */
        const char *name;  /* of the node; not terminated */
        size_t n_name;     /* bytes */
        const uint8_t *record;
        size_t n_record; /* bytes */
        size_t n_public; /* of them those that everybody may read */
} ChangeRecord;

typedef struct Changes Changes;

/* Remembers the changes after `revision`: at most `n_max`, of at most `n_bytes_max` bytes; beyond that the oldest is
 * forgotten (P6). 0 or -ENOMEM. */
int changes_new(Changes **ret, size_t n_max, size_t n_bytes_max, uint64_t revision);
Changes *changes_free(Changes *changes);
DEFINE_CLEANUP(Changes *, changes_free)

/* Remembers a copy of `change`, which must be the next one. 0; -ENOMEM, or -EINVAL where it is not the next one:
 * then all is forgotten up to and including this change. */
int changes_add(Changes *changes, const ChangeRecord *change);
/* All up to `revision` is forgotten; what comes next is the change after it. */
void changes_forget(Changes *changes, uint64_t revision);

/* True if every change after `revision` is remembered. */
bool changes_reach_back_to(const Changes *changes, uint64_t revision);
/* The change that led to `revision`; NULL: it is not remembered. Good until the next change. */
const ChangeRecord *changes_get(const Changes *changes, uint64_t revision);
/* How many, and their bytes. */
size_t changes_n(const Changes *changes);
size_t changes_n_bytes(const Changes *changes);
