/* SPDX-License-Identifier: Apache-2.0 */
/* Lines that were shown of nodes, so that a change of which nothing is to be seen does not repeat one. */
#pragma once

#include <stdbool.h>

#include "row.h"

/* Begins as all zero. */
typedef struct Shown {
        void *tree; /* of tsearch(); owned */
} Shown;

void shown_done(Shown *shown);
/* Nothing was shown: of all of them, or of the node of that name and scope. */
void shown_forget_all(Shown *shown);
void shown_forget(Shown *shown, const Row *row);
/* 0; 1: this very line was the last one of that node; -ENOMEM. */
int shown_learn(Shown *shown, const Row *row, const char *line);
