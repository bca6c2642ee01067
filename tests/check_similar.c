/* SPDX-License-Identifier: Apache-2.0 */

#include <string.h>

#include "check_main.h"
#include "similar.h"
#include "util.h"

static const struct {
        const char *a, *b;
        bool are;
} pairs[] = {
        { "rabbit", "rabbit", true },
        { "rabbit", "Rabbit", true },
        { "rabbit", "rabit", true },
        { "rabbit", "rabbti", true },
        { "rabbit", "rabbit_1", true },
        { "web_1", "web", true },
        { "app", "apl", true },
        { "a", "b", true },
        { "app", "xyz", false },
        { "ab", "cd", false },
        { "ap", "app_server", false },
        { "rabbit", "ejabberd", false },
        { "mail", "db", false },
        { "", "a", false },
        { "a", "", false },
};

START_TEST(test_which_names_are_similar) {
        const char *a = pairs[_i].a, *b = pairs[_i].b;

        ck_assert_msg(similar_names(a, strlen(a), b, strlen(b)) == pairs[_i].are, "%s, %s", a, b);
        ck_assert_msg(similar_names(b, strlen(b), a, strlen(a)) == pairs[_i].are, "%s, %s", b, a);
}
END_TEST

START_TEST(test_long_names_are_compared_from_their_beginning) {
        char a[1020], b[1020];

        memset(a, 'a', sizeof(a));
        memset(b, 'a', sizeof(b));
        ck_assert(similar_names(a, sizeof(a), b, sizeof(b) - 300));
        b[700] = 'b';
        ck_assert(!similar_names(a, sizeof(a), b, sizeof(b)));
}
END_TEST

Suite *suite(void) {
        Suite *s = suite_create("similar");
        TCase *t = tcase_create("similar");

        tcase_add_loop_test(t, test_which_names_are_similar, 0, (int)ELEMENTS(pairs));
        tcase_add_test(t, test_long_names_are_compared_from_their_beginning);
        suite_add_tcase(s, t);
        return s;
}
