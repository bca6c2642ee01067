/* SPDX-License-Identifier: Apache-2.0 */
/* What was wrong with settings, in sentences, until somebody can tell them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "util.h"

/* So many are kept, the first ones; the others are counted (P6). */
#define PROBLEMS_KEPT 50

typedef struct Problem {
        bool is_error; /* else a warning: what was meant is in force all the same */
        char *text;    /* owned */
} Problem;

typedef struct Problems {
        Problem kept[PROBLEMS_KEPT];
        size_t n_kept;
        size_t n_errors, n_warnings; /* in all */
} Problems;

void problems_done(Problems *problems);
/* What does not fit into memory is counted all the same. */
void problems_add_error(Problems *problems, const char *format, ...) PRINTF_LIKE(2, 3);
void problems_add_warning(Problems *problems, const char *format, ...) PRINTF_LIKE(2, 3);
/* Why a word is not taken, to be freed by whoever is told: `*ret_why`. -EINVAL; -ENOMEM, and it is NULL. */
int problems_refuse(char **ret_why, const char *format, ...) PRINTF_LIKE(2, 3);
/* The first error, or NULL. */
const char *problems_first_error(const Problems *problems);
/* Each at its priority, as LOG_EVENT_CONFIG. */
void problems_log(const Problems *problems);
