/* SPDX-License-Identifier: Apache-2.0 */
/* Whom a command is about: NAME, NAME@ADDRESS or a full name. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "core/address.h"
#include "core/control.h"
#include "exit.h"
#include "row.h"

typedef struct Target {
        const char *text; /* as it was given */
        const char *name; /* borrows from it; not terminated */
        size_t n_name;
        const char *host; /* what stands behind the @, or NULL; borrows */
        bool has_address; /* ... and is an address */
        Address address;
        char address_text[ADDRESS_TEXT_MAX]; /* in its one form */
} Target;

/* 0, or an exit status after one sentence. `text` stays where it is. */
RollcallExit target_parse(const char *text, Target *ret);

/* True if the node of the record is meant: its name; the address on which it listens, or that it listens on all;
 * its host part, where both are known. */
bool target_fits(const Target *target, const Row *row);

/* The NAME field. Which of several nodes is meant, target_fits() says. */
void target_put_name(ControlBuffer *request, const Target *target);
