/* SPDX-License-Identifier: Apache-2.0 */
/* What was tried one after the other, and what came of it. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "util.h"

#define REPORT_STEPS_MAX 8

typedef enum StepOutcome {
        STEP_SKIPPED, /* what it needs has failed */
        STEP_OK,
        STEP_FAILED,
} StepOutcome;

typedef struct Step {
        const char *id;   /* a stable word: "resolve" */
        const char *name; /* for people */
        StepOutcome outcome;
        uint64_t usec;
        char *detail, *cause, *cure; /* owned; NULL: there is none */
} Step;

typedef struct Report {
        Step steps[REPORT_STEPS_MAX];
        size_t n_steps;
        uint64_t begun_usec; /* CLOCK_MONOTONIC: of the last one */
        bool has_failed;
        bool is_out_of_memory;
} Report;

void report_done(Report *report);

/* Once a step has failed, those that begin later are skipped: false. */
bool report_begin(Report *report, const char *id, const char *name);
/* Ends it. What was said of it before stays. */
void report_ok(Report *report);
void report_fail(Report *report);
/* Sentences of the last step; a second detail follows the first behind "; ". */
PRINTF_LIKE(2, 3) void report_detail(Report *report, const char *format, ...);
PRINTF_LIKE(2, 3) void report_cause(Report *report, const char *format, ...);
PRINTF_LIKE(2, 3) void report_cure(Report *report, const char *format, ...);

/* On standard output. */
void report_print(const Report *report);
/* An array; NULL on ENOMEM. */
json_t *report_to_json(const Report *report);
