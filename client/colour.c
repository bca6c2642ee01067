/* SPDX-License-Identifier: Apache-2.0 */
/* Knows when colours are wanted (no-color.org), and which stands for what. No word is told by its colour alone. */

#include "colour.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util.h"

bool colour_is_wanted(void) {
        const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

        if (no_color && no_color[0] != '\0')
                return false;
        return term && term[0] != '\0' && strcmp(term, "dumb") != 0 && isatty(STDOUT_FILENO);
}

const char *colour_of_state(const Row *row) {
        static const struct {
                const char *state, *colour;
        } colours[] = {
                { "up", COLOUR_GOOD },
                { "ready", COLOUR_GOOD },
                { "starting", COLOUR_NOT_YET },
                { "awaited", COLOUR_NOT_YET },
                { "stopping", COLOUR_BAD },
        };

        for (size_t i = 0; i < ELEMENTS(colours); i++)
                if (row_text_is(row, ROW_STATE, colours[i].state))
                        return colours[i].colour;
        return NULL;
}
