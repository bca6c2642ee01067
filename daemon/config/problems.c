/* SPDX-License-Identifier: Apache-2.0 */
/* Knows how many sentences are enough. Does not know who reads them. */

#include "config/problems.h"

#include <stdarg.h>
#include <stdio.h>

#include "log.h"

void problems_done(Problems *problems) {
        for (size_t i = 0; i < problems->n_kept; i++)
                free(problems->kept[i].text);
        *problems = (Problems){ 0 };
}

static void problems_add(Problems *problems, bool is_error, const char *format, va_list arguments) {
        Problem *problem = problems->kept + problems->n_kept;

        if (is_error)
                problems->n_errors++;
        else
                problems->n_warnings++;
        if (problems->n_kept == PROBLEMS_KEPT || vasprintf(&problem->text, format, arguments) < 0)
                return;
        problem->is_error = is_error;
        problems->n_kept++;
}

void problems_add_error(Problems *problems, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        problems_add(problems, true, format, arguments);
        va_end(arguments);
}

void problems_add_warning(Problems *problems, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        problems_add(problems, false, format, arguments);
        va_end(arguments);
}

int problems_refuse(char **ret_why, const char *format, ...) {
        va_list arguments;
        int n;

        va_start(arguments, format);
        n = vasprintf(ret_why, format, arguments);
        va_end(arguments);
        if (n >= 0)
                return -EINVAL;
        *ret_why = NULL;
        return -ENOMEM;
}

const char *problems_first_error(const Problems *problems) {
        for (size_t i = 0; i < problems->n_kept; i++)
                if (problems->kept[i].is_error)
                        return problems->kept[i].text;
        return NULL;
}

void problems_log(const Problems *problems) {
        for (size_t i = 0; i < problems->n_kept; i++)
                log_event(problems->kept[i].is_error ? LOG_ERR : LOG_WARNING, LOG_EVENT_CONFIG, NULL, "%s",
                          problems->kept[i].text);
}
