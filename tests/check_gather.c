/* SPDX-License-Identifier: Apache-2.0 */

#include <string.h>

#include "check_main.h"
#include "core/gather.h"

/* Each letter is a dispatch of the loop, after which (c)hanges wait, (n)othing does, or changes do and nothing else is
 * (i)dle; a figure: so many tenths of GATHER_USEC pass before the next. '!' where what waits goes. */
static const struct {
        const char *what, *happens, *goes;
} scenes[] = {
        { "nothing is ready", "ci", " !" },
        { "at once", "i", "!" },
        { "nothing waits", "nnnnnnnnnnnnnnnnnn", "" },
        { "so many dispatches", "cccccccccc", "       !  " },
        { "so many again", "cccccccccccccccc", "       !       !" },
        { "so long", "c5c4c1c", "      !" },
        { "so long since the first, not since the last", "c9c9c", "    !" },
        { "one that takes long", "c99c", "   !" },
        { "time begins with the first change", "n99c9c1c", "       !" },
        { "another has let it go meanwhile", "c9nc9c", "      " },
        { "counted from the one before", "cccicccccccc", "   !       !" },
};

START_TEST(test_when_what_has_gathered_goes) {
        Gather gather = { 0 };
        uint64_t now = 1000;

        for (const char *c = scenes[_i].happens; *c; c++) {
                size_t at = (size_t)(c - scenes[_i].happens);
                bool is_expected = at < strlen(scenes[_i].goes) && scenes[_i].goes[at] == '!';

                if (*c >= '0' && *c <= '9')
                        now += (uint64_t)(*c - '0') * GATHER_USEC / 10;
                else
                        ck_assert_msg(gather_is_over(&gather, *c != 'n', *c == 'i', now) == is_expected, "%s: %zu",
                                      scenes[_i].what, at);
        }
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("gather");
        TCase *tcase = tcase_create("gather");

        tcase_add_loop_test(tcase, test_when_what_has_gathered_goes, 0, ELEMENTS(scenes));
        suite_add_tcase(suite, tcase);
        return suite;
}
