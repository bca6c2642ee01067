/* SPDX-License-Identifier: Apache-2.0 */
/* Knows how steps are shown. Does not know what they are.
 *
 * The trap: what is told comes from other machines, and a terminal obeys what is printed on it. */

#include "report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "colour.h"
#include "text.h"

void report_done(Report *report) {
        for (size_t i = 0; i < report->n_steps; i++) {
                free(report->steps[i].detail);
                free(report->steps[i].cause);
                free(report->steps[i].cure);
        }
        *report = (Report){ 0 };
}

static Step *last(Report *report) {
        return &report->steps[report->n_steps - 1];
}

bool report_begin(Report *report, const char *id, const char *name) {
        report->begun_usec = now_usec(CLOCK_MONOTONIC);
        report->steps[report->n_steps++] = (Step){ .id = id, .name = name };
        return !report->has_failed;
}

static void end(Report *report, StepOutcome outcome) {
        last(report)->outcome = outcome;
        last(report)->usec = now_usec(CLOCK_MONOTONIC) - report->begun_usec;
}

void report_ok(Report *report) {
        end(report, STEP_OK);
}

void report_fail(Report *report) {
        end(report, STEP_FAILED);
        report->has_failed = true;
}

/* --- sentences -------------------------------------------------------------------------------- */

static void add(Report *report, char **place, const char *format, va_list arguments) {
        _cleanup_(freep) char *text = NULL, *before = *place;

        if (vasprintf(&text, format, arguments) < 0)
                text = NULL;
        *place = NULL;
        if (!text || asprintf(place, "%s%s%s", before ? before : "", before ? "; " : "", text) < 0) {
                *place = NULL;
                report->is_out_of_memory = true;
        }
}

void report_detail(Report *report, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        add(report, &last(report)->detail, format, arguments);
        va_end(arguments);
}

void report_cause(Report *report, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        add(report, &last(report)->cause, format, arguments);
        va_end(arguments);
}

void report_cure(Report *report, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        add(report, &last(report)->cure, format, arguments);
        va_end(arguments);
}

/* --- for people ------------------------------------------------------------------------------- */

static const struct {
        const char *word, *colour;
} outcomes[] = {
        [STEP_SKIPPED] = { "-", "" },
        [STEP_OK] = { "ok", COLOUR_GOOD },
        [STEP_FAILED] = { "FAILED", COLOUR_BAD },
};

static void print_sentence(const char *label, const char *sentence) {
        _cleanup_(freep) char *clean = sentence ? text_for_people((const uint8_t *)sentence, strlen(sentence)) : NULL;

        if (clean)
                printf("%s%s\n", label, clean);
}

void report_print(const Report *report) {
        bool has_colour = colour_is_wanted();

        for (size_t i = 0; i < report->n_steps; i++) {
                const Step *step = &report->steps[i];
                const char *word = outcomes[step->outcome].word, *colour = outcomes[step->outcome].colour;

                printf("  %s%-6s%s %-12s ", has_colour ? colour : "", word, has_colour ? COLOUR_OFF : "", step->name);
                if (step->outcome == STEP_SKIPPED) {
                        puts("          not tried");
                        continue;
                }
                printf("%7.1f ms  ", (double)step->usec / 1000);
                print_sentence("", step->detail ? step->detail : "");
                print_sentence("           likely cause: ", step->cause);
                print_sentence("           cure: ", step->cure);
        }
}

/* --- for programs ----------------------------------------------------------------------------- */

static json_t *text_to_json(const char *text) {
        _cleanup_(freep) char *clean = text ? text_for_json((const uint8_t *)text, strlen(text)) : NULL;

        return clean ? json_string(clean) : json_null();
}

static json_t *outcome_to_json(const Step *step) {
        return step->outcome == STEP_SKIPPED ? json_null() : json_boolean(step->outcome == STEP_OK);
}

json_t *report_to_json(const Report *report) {
        json_t *array = json_array();

        for (size_t i = 0; array && i < report->n_steps; i++) {
                const Step *step = &report->steps[i];
                json_t *object = json_pack("{s:s, s:o, s:I, s:o, s:o, s:o}",
                                           "step", step->id,
                                           "ok", outcome_to_json(step),
                                           "usec", (json_int_t)step->usec,
                                           "detail", text_to_json(step->detail),
                                           "cause", text_to_json(step->cause),
                                           "cure", text_to_json(step->cure));

                if (json_array_append_new(array, object) < 0) {
                        json_decref(array);
                        return NULL;
                }
        }
        return array;
}
