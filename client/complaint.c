/* SPDX-License-Identifier: Apache-2.0 */
/* Knows that a complaint is one line. What a user has typed, and what a daemon has said, may have line feeds in it. */

#include "complaint.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

void complaint_print(const char *format, ...) {
        _cleanup_(freep) char *text = NULL, *clean = NULL;
        va_list arguments;

        va_start(arguments, format);
        if (vasprintf(&text, format, arguments) < 0)
                text = NULL;
        va_end(arguments);
        if (text)
                clean = text_for_people((const uint8_t *)text, strlen(text));
        fprintf(stderr, "rollcall: %s\n", clean ? clean : "out of memory");
}
