/* SPDX-License-Identifier: Apache-2.0 */
/* The writer thread: does all disk work of the store, and does it again until it succeeds. */
#pragma once

#include "state/channel.h"
#include "state/store.h"
#include "util.h"

typedef struct Writer Writer;

/* Touches nothing yet. Refers to `channel`. 0 or -ENOMEM. */
int writer_new(Writer **ret, Channel *channel, const StoreOptions *options);
Writer *writer_free(Writer *writer);
DEFINE_CLEANUP(Writer *, writer_free)

/* The thread. Takes the Writer, and ends when the channel says so. */
void *writer_run(void *writer);
