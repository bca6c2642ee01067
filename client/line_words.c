/* SPDX-License-Identifier: Apache-2.0 */
/* Knows what to say of a machine that could not be asked. */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "line.h"
#include "util.h"

PRINTF_LIKE(1, 2) static char *format(const char *format, ...) {
        va_list arguments;
        char *text;

        va_start(arguments, format);
        if (vasprintf(&text, format, arguments) < 0)
                text = NULL;
        va_end(arguments);
        return text;
}

static char *silence_in_words(const Line *line) {
        uint64_t patience = line->manner->purpose == LINE_FIND ? line->manner->timeout_usec : LINE_PATIENCE_USEC;
        double seconds = (double)patience / (double)USEC_PER_SEC;

        if (line->failed_in == LINE_CONNECTING_CONTROL)
                return strdup(ask_open_in_words(-EAGAIN));
        if (line->failed_in == LINE_READING && line->manner->purpose == LINE_WATCH && line->is_synced_once)
                return format("nothing was heard of it for %u s", (unsigned)(LINE_DEAD_USEC / USEC_PER_SEC));
        if (line->failed_in == LINE_READING || line->failed_in == LINE_READING_STOCK)
                return format("%s has not answered within %g s", line->is_control ? "rollcalld" : "it", seconds);
        if (line->failed_resolving)
                return format("its addresses could not be found within %g s", seconds);
        return format("port %u could not be connected to within %g s: is it up, and does no firewall drop this?",
                      line->machine->port, seconds);
}

static char *unconnected_in_words(const Line *line) {
        if (line->error == -ECONNREFUSED)
                return format("nobody listens on port %u: does a port mapper run there?", line->machine->port);
        return format("port %u cannot be connected to: %s", line->machine->port, strerror(-line->error));
}

char *line_failure_in_words(const Line *line) {
        switch (line->failure) {
        case LINE_FINE:
                break;
        case LINE_NOWHERE:
                return format("there is no control socket at %s, and nobody listens on port %u: is rollcalld running?",
                              line->tried ? line->tried : "the usual places", line->machine->port);
        case LINE_UNOPENED:
                return strdup(ask_open_in_words(line->error));
        case LINE_UNRESOLVED:
                return format("it has no address: %s", resolution_error_to_string(line->error));
        case LINE_UNCONNECTED:
                return unconnected_in_words(line);
        case LINE_SILENT:
                return silence_in_words(line);
        case LINE_BROKEN:
                if (line->error == -ENODATA && line->is_synced_once)
                        return strdup("the connection was lost");
                return strdup(ask_read_in_words(line->failed_answering, line->error));
        case LINE_CLOSED:
                return format("port %u is closed without a word, whatever is asked: no port mapper, or one that lists "
                              "names to nobody here",
                              line->machine->port);
        case LINE_REFUSED:
                return strdup(line->refusal_text ? line->refusal_text : "");
        }
        return strdup("nothing is wrong");
}
