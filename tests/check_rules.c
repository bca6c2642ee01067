/* SPDX-License-Identifier: Apache-2.0 */
/* core/rules: who may register which name, as a table; whose names are helpers'. */

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "check_main.h"
#include "core/rules.h"
#include "util.h"

#define UNKNOWN NODE_UID_UNKNOWN
#define RABBIT 110
#define ALICE 1000
#define GRACE 1001

/* One reservation: up to three patterns and owners. An owner is written as in the configuration, with a uid for
 * a user. */
typedef struct Given {
        const char *label;
        const char *patterns[3];
        const char *owners[3];
} Given;

static const Given nothing[3] = { { NULL } };
static const Given rabbit[3] = {
        { "rabbit", { "rabbit" }, { "user:110" } },
};
static const Given by_unit[3] = {
        { "mail", { "mail_*" }, { "unit:mail@*.service", "unit:mail.service" } },
};
static const Given either[3] = {
        { "shop", { "shop", "shop_[0-9]", "?hop" }, { "unit:shop.service", "user:1000" } },
};
/* A name may match several: any owner of any of them will do. */
static const Given overlapping[3] = {
        { "all of alice", { "a*" }, { "user:1000" } },
        { "those of grace", { "ab*" }, { "user:1001" } },
        { "nobody", { "abc" }, { "nobody" } },
};
static const Given closed[3] = {
        { "no patterns", { NULL }, { "user:1000" } },
        { "no owners", { "x" }, { NULL } },
        { "a user that is not there", { "y" }, { "nobody" } },
};
static const Given root_only[3] = {
        { "root's", { "*" }, { "user:0" } },
};
static const Given wide[3] = {
        { "first", { "n*" }, { "unit:*" } },
        { "second", { "n?" }, { "user:1000" } },
};
static const Given strange[3] = {
        { "brackets", { "[!a-c]x", "a\\*b" }, { "unit:app@a\\x2db.service" } },
        { "umlauts", { "\xc3\xa4??" }, { "user:1000" } },
        { "pieces", { "with/*", ".hidden" }, { "user:1000" } },
};

static const struct {
        const Given *rules; /* three */
        const char *name;
        uid_t uid;
        const char *unit;
        const char *forbidden_by; /* NULL: it may */
} cases[] = {
        { nothing, "rabbit", ALICE, NULL, NULL },
        { nothing, "rabbit", UNKNOWN, NULL, NULL },

        { rabbit, "rabbit", RABBIT, NULL, NULL },
        { rabbit, "rabbit", RABBIT, "session-3.scope", NULL },
        { rabbit, "rabbit", ALICE, NULL, "rabbit" },
        { rabbit, "rabbit", 0, "rabbitmq-server.service", "rabbit" }, /* root is a user like others */
        { rabbit, "rabbit", UNKNOWN, NULL, "rabbit" },
        { rabbit, "rabbit2", ALICE, NULL, NULL },
        { rabbit, "arabbit", ALICE, NULL, NULL },
        { rabbit, "Rabbit", ALICE, NULL, NULL },
        { rabbit, "rabbi", ALICE, NULL, NULL },

        { by_unit, "mail_a", ALICE, "mail@1.service", NULL },
        { by_unit, "mail_a", UNKNOWN, "mail.service", NULL },
        { by_unit, "mail_a", ALICE, "mail2.service", "mail" },
        { by_unit, "mail_a", ALICE, "xmail.service", "mail" },
        { by_unit, "mail_a", ALICE, "mail@1.service.d", "mail" },
        { by_unit, "mail_a", ALICE, "", "mail" },
        { by_unit, "mail_a", ALICE, NULL, "mail" },
        { by_unit, "mail_", ALICE, NULL, "mail" },
        { by_unit, "mail", ALICE, NULL, NULL },

        { either, "shop", ALICE, NULL, NULL },
        { either, "shop", GRACE, "shop.service", NULL },
        { either, "shop", GRACE, "other.service", "shop" },
        { either, "shop_7", GRACE, NULL, "shop" },
        { either, "shop_77", GRACE, NULL, NULL },
        { either, "shop_x", GRACE, NULL, NULL },
        { either, "chop", GRACE, NULL, "shop" },
        { either, "hop", GRACE, NULL, NULL },

        { overlapping, "a", ALICE, NULL, NULL },
        { overlapping, "a", GRACE, NULL, "all of alice" },
        { overlapping, "ab", ALICE, NULL, NULL },
        { overlapping, "ab", GRACE, NULL, NULL },
        { overlapping, "abc", ALICE, NULL, NULL },
        { overlapping, "abc", GRACE, NULL, NULL },
        { overlapping, "abc", RABBIT, NULL, "all of alice" }, /* the first */
        { overlapping, "b", RABBIT, NULL, NULL },

        { closed, "x", 0, "x.service", "no owners" },
        { closed, "x", ALICE, NULL, "no owners" },
        { closed, "y", 0, NULL, "a user that is not there" },
        { closed, "y", UNKNOWN, NULL, "a user that is not there" },
        { closed, "z", ALICE, NULL, NULL },

        { root_only, "anything", 0, NULL, NULL },
        { root_only, "anything", ALICE, "a.service", "root's" },
        { root_only, "anything", UNKNOWN, NULL, "root's" },

        { wide, "n", ALICE, "any.service", NULL },
        { wide, "n", ALICE, NULL, "first" }, /* what is not known is no unit at all */
        { wide, "n1", ALICE, NULL, NULL },
        { wide, "n1", GRACE, NULL, "first" },

        { strange, "dx", ALICE, NULL, "brackets" },
        { strange, "ax", ALICE, NULL, NULL },
        { strange, "a*b", ALICE, NULL, "brackets" },
        { strange, "axb", ALICE, NULL, NULL },
        { strange, "a*b", ALICE, "app@a\\x2db.service", NULL },
        { strange, "a*b", ALICE, "app@ax2db.service", "brackets" },
        { strange, "\xc3\xa4\xc3\xb6", GRACE, NULL, "umlauts" }, /* ? is a byte */
        { strange, "\xc3\xa4\xc3\xb6", ALICE, NULL, NULL },
        { strange, "\xc3\xa4", GRACE, NULL, NULL },
        { strange, "with/a/slash", GRACE, NULL, "pieces" },
        { strange, ".hidden", GRACE, NULL, "pieces" },
};

static RuleOwner owner_from_text(const char *text) {
        char *copy = strdup(text); /* rules keep copies of their own */
        RuleOwner owner = { .kind = RULE_OWNER_NOBODY, .text = copy };

        if (strncmp(text, "user:", 5) == 0) {
                owner.kind = RULE_OWNER_UID;
                owner.uid = (uid_t)strtoul(text + 5, NULL, 10);
        } else if (strncmp(text, "unit:", 5) == 0) {
                owner.kind = RULE_OWNER_UNIT;
                owner.pattern = copy + 5;
        }
        return owner;
}

static void reserve(Rules *rules, const Given *given) {
        Reservation *reservation = rules_add_reservation(rules, given->label);

        ck_assert_ptr_nonnull(reservation);
        for (size_t i = 0; i < ELEMENTS(given->patterns) && given->patterns[i]; i++)
                ck_assert_int_eq(reservation_add_pattern(reservation, given->patterns[i]), 0);
        for (size_t i = 0; i < ELEMENTS(given->owners) && given->owners[i]; i++) {
                RuleOwner owner = owner_from_text(given->owners[i]);

                ck_assert_int_eq(reservation_add_owner(reservation, &owner), 0);
                free(owner.text);
        }
}

START_TEST(test_a_reserved_name_is_its_owners_only) {
        const NodePeer peer = { .uid = cases[_i].uid };
        const Reservation *forbids = NULL;
        Rules rules = { 0 };
        bool may;

        for (size_t i = 0; i < 3 && cases[_i].rules[i].label; i++)
                reserve(&rules, cases[_i].rules + i);
        may = rules_allow(&rules, cases[_i].name, strlen(cases[_i].name), &peer, cases[_i].unit, &forbids);
        ck_assert_msg(may == !cases[_i].forbidden_by, "%s by %d in %s", cases[_i].name, (int)cases[_i].uid,
                      cases[_i].unit ? cases[_i].unit : "no unit");
        if (may)
                ck_assert_ptr_null(forbids);
        else
                ck_assert_str_eq(forbids->label, cases[_i].forbidden_by);
        ck_assert(rules_allow(&rules, cases[_i].name, strlen(cases[_i].name), &peer, cases[_i].unit, NULL) == may);
        rules_done(&rules);
}
END_TEST

/* As it stands in a request. */
START_TEST(test_a_name_ends_where_its_length_says) {
        const NodePeer peer = { .uid = ALICE };
        Rules rules = { 0 };

        reserve(&rules, &rabbit[0]);
        ck_assert_int_eq(rules_add_helper(&rules, "rem-*"), 0);
        ck_assert(!rules_allow(&rules, "rabbitx", 6, &peer, NULL, NULL));
        ck_assert(rules_allow(&rules, "rabbit", 5, &peer, NULL, NULL));
        ck_assert(rules_is_helper(&rules, "rem-1", 4));
        ck_assert(!rules_is_helper(&rules, "rem-1", 3));
        ck_assert(!rules_is_helper(&rules, "", 0));
        rules_done(&rules);
}
END_TEST

START_TEST(test_the_longest_name_is_matched_and_a_longer_one_is_none) {
        const NodePeer peer = { .uid = ALICE };
        char name[NODE_NAME_BYTES_MAX + 1];
        Rules rules = { 0 };

        memset(name, 'n', sizeof name);
        reserve(&rules, &root_only[0]);
        ck_assert_int_eq(rules_add_helper(&rules, "n*n"), 0);
        ck_assert(!rules_allow(&rules, name, NODE_NAME_BYTES_MAX, &peer, NULL, NULL));
        ck_assert(rules_is_helper(&rules, name, NODE_NAME_BYTES_MAX));
        ck_assert(rules_allow(&rules, name, NODE_NAME_BYTES_MAX + 1, &peer, NULL, NULL));
        ck_assert(!rules_is_helper(&rules, name, NODE_NAME_BYTES_MAX + 1));
        rules_done(&rules);
}
END_TEST

START_TEST(test_helpers_are_known_by_any_of_the_patterns) {
        static const char *const patterns[] = { "rabbitmqcli-*", "epmd-starter-[0-9]*", "rem-*-*", "rabbit_prelaunch_*",
                                                "*-ctl-ejabberd" };
        static const struct {
                const char *name;
                bool is_helper;
        } names[] = {
                { "rabbitmqcli-842-rabbit", true },
                { "rabbitmqcli-", true },
                { "rabbitmqcli", false },
                { "epmd-starter-17", true },
                { "epmd-starter-x", false },
                { "rem-1a2b-app", true },
                { "rem-1a2b", false },
                { "rabbit_prelaunch_123", true },
                { "rabbit", false },
                { "17-ctl-ejabberd", true },
                { "ejabberd", false },
                { "Rem-1-2", false },
        };
        Rules rules = { 0 };

        for (size_t i = 0; i < ELEMENTS(names); i++)
                ck_assert(!rules_is_helper(&rules, names[i].name, strlen(names[i].name)));
        for (size_t i = 0; i < ELEMENTS(patterns); i++)
                ck_assert_int_eq(rules_add_helper(&rules, patterns[i]), 0);
        for (size_t i = 0; i < ELEMENTS(names); i++)
                ck_assert_msg(rules_is_helper(&rules, names[i].name, strlen(names[i].name)) == names[i].is_helper,
                              "%s", names[i].name);
        rules_done(&rules);
}
END_TEST

/* What is put together of these has sets of all kinds, and brackets that open none. */
static void put_together(char *text, size_t n_max, const char *const *pieces, size_t n_pieces, unsigned *seed) {
        size_t n = (size_t)rand_r(seed) % n_max + 1;

        for (text[0] = 0; n > 0; n--)
                strcat(text, pieces[(size_t)rand_r(seed) % n_pieces]);
}

START_TEST(test_a_pattern_matches_what_fnmatch_says) {
        static const char *const pattern_pieces[] = { "a", "b", "1", "-", "_", "*", "?", "[ab]", "[a-c1]", "[0-9a-f]", "[!a]",
                                                      "[]a]", "[a-]", "[b-a]", "[a", "]", "[^1]", "\\*", "[_]", "[[:digit:]]" };
        static const char *const name_pieces[] = { "a", "b", "c", "1", "7", "-", "_", "]", "[", "*", "A" };
        char pattern[64], name[16];
        unsigned seed = 1, n_matches = 0;

        for (size_t i = 0; i < 5000; i++) {
                Rules rules = { 0 };
                bool matches;

                put_together(pattern, 4, pattern_pieces, ELEMENTS(pattern_pieces), &seed);
                put_together(name, 4, name_pieces, ELEMENTS(name_pieces), &seed);
                matches = fnmatch(pattern, name, 0) == 0;
                n_matches += matches;
                ck_assert_int_eq(rules_add_helper(&rules, pattern), 0);
                ck_assert_msg(rules_is_helper(&rules, name, strlen(name)) == matches, "%s, %s", pattern, name);
                rules_done(&rules);
        }
        ck_assert_uint_gt(n_matches, 100);
}
END_TEST

START_TEST(test_rules_that_are_done_forbid_nothing) {
        const NodePeer peer = { .uid = UNKNOWN };
        Rules rules = { 0 };

        rules_done(&rules);
        reserve(&rules, &root_only[0]);
        ck_assert(!rules_allow(&rules, "a", 1, &peer, NULL, NULL));
        rules_done(&rules);
        ck_assert(rules_allow(&rules, "a", 1, &peer, NULL, NULL));
        ck_assert(!rules_is_helper(&rules, "a", 1));
        rules_done(&rules);
}
END_TEST

Suite *suite(void) {
        Suite *s = suite_create("rules");
        TCase *t = tcase_create("rules");

        tcase_add_loop_test(t, test_a_reserved_name_is_its_owners_only, 0, ELEMENTS(cases));
        tcase_add_test(t, test_a_name_ends_where_its_length_says);
        tcase_add_test(t, test_the_longest_name_is_matched_and_a_longer_one_is_none);
        tcase_add_test(t, test_helpers_are_known_by_any_of_the_patterns);
        tcase_add_test(t, test_a_pattern_matches_what_fnmatch_says);
        tcase_add_test(t, test_rules_that_are_done_forbid_nothing);
        suite_add_tcase(s, t);
        return s;
}
