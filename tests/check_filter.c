/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>
#include <string.h>

#include "check_main.h"
#include "serve/filter.h"

/* A selection in words: "name=a prefix=web_ pattern=*x exclude=y state=up hidden scope=*". */
static void put_word(ControlBuffer *buffer, char *word) {
        static const struct {
                const char *word;
                ControlTag tag;
        } words[] = {
                { "name", CONTROL_TAG_NAME },       { "prefix", CONTROL_TAG_PREFIX }, { "pattern", CONTROL_TAG_PATTERN },
                { "exclude", CONTROL_TAG_EXCLUDE }, { "state", CONTROL_TAG_STATE },   { "scope", CONTROL_TAG_SCOPE },
                { "other", (ControlTag)1000 },
        };
        char *value = strchr(word, '=');

        if (strcmp(word, "hidden") == 0) {
                control_put_u8(buffer, CONTROL_TAG_HIDDEN, 1);
                return;
        }
        if (strcmp(word, "unhidden") == 0) {
                control_put_u8(buffer, CONTROL_TAG_HIDDEN, 0);
                return;
        }
        ck_assert_ptr_nonnull(value);
        *value++ = 0;
        for (size_t i = 0; i < ELEMENTS(words); i++)
                if (strcmp(words[i].word, word) == 0) {
                        control_put_string(buffer, words[i].tag, value);
                        return;
                }
        ck_abort_msg("no such field: %s", word);
}

/* What filter_new() says of it. */
static int parse(const char *said, Filter **ret, const char **ret_wrong) {
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };
        _cleanup_(freep) char *words = strdup(said);
        ControlRequest request;
        char *save = NULL;
        int r;

        control_put_request_begin(&buffer, CONTROL_FIND);
        for (char *word = strtok_r(words, " ", &save); word; word = strtok_r(NULL, " ", &save))
                put_word(&buffer, word);
        control_put_request_end(&buffer);
        ck_assert(control_parse_request(buffer.data + 2, buffer.n_data - 2, &request));
        r = filter_new(ret, &request, ret_wrong);
        /* It keeps nothing of the request. */
        memset(buffer.data, 0xff, buffer.n_data);
        return r;
}

static Filter *make_filter(const char *said) {
        Filter *filter = NULL;
        const char *wrong = NULL;

        ck_assert_msg(parse(said, &filter, &wrong) == 0, "%s: %s", said, wrong);
        return filter;
}

static Address address_of(const char *text) {
        Address address;

        ck_assert_int_eq(address_parse(text, &address), 0);
        return address;
}

/* --- names, addresses ----------------------------------------------------------------------------------- */

static const struct {
        const char *said, *name, *scope;
        bool matches;
} cases[] = {
        { "", "a", "*", true },
        { "", "anything", "127.0.0.2", true },
        { "name=a", "a", "*", true },
        { "name=a", "a", "127.0.0.1", true },
        { "name=a", "ab", "*", false },
        { "name=ab", "a", "*", false },
        { "name=a", "A", "*", false },
        { "name=a name=c", "a", "*", true },
        { "name=a name=c", "c", "*", true },
        { "name=a name=c", "b", "*", false },
        { "name=c name=a name=c", "a", "*", true },
        { "prefix=a", "a", "*", true },
        { "prefix=a", "ab", "*", true },
        { "prefix=ab", "a", "*", false },
        { "prefix=web_", "web_1", "*", true },
        { "prefix=web_", "web", "*", false },
        { "prefix=\xc3\xa9", "\xc3\xa9t\xc3\xa9", "*", true },
        { "prefix=", "a", "*", true },
        { "prefix= name=a", "b", "*", true },
        { "prefix=b prefix=d", "bx", "*", true },
        { "prefix=b prefix=d", "dx", "*", true },
        { "prefix=b prefix=d", "cx", "*", false },
        { "prefix=a prefix=ab", "ac", "*", true },
        { "name=abc prefix=ab", "abd", "*", true },
        { "name=b prefix=ab name=a", "abc", "*", true },
        { "name=b prefix=ab name=a", "ac", "*", false },
        { "pattern=w*_?", "web_1", "*", true },
        { "pattern=w*_?", "web_12", "*", false },
        { "pattern=*_db", "a_db", "*", true },
        { "pattern=*", "a", "*", true },
        { "pattern=a", "a", "*", true },
        { "pattern=a", "ab", "*", false },
        { "pattern=a* pattern=*b", "cb", "*", true },
        { "pattern=a* pattern=*b", "c", "*", false },
        { "name=x pattern=a*", "x", "*", true },
        { "name=x pattern=a*", "ax", "*", true },
        { "name=x pattern=a*", "xa", "*", false },
        /* what one asks for with a prefix and with a longer pattern */
        { "prefix=a pattern=ab*[0-9]", "abx", "*", true },
        { "prefix=ab pattern=a*[0-9]", "ac", "*", false },
        { "prefix=ab pattern=a*[0-9]", "ac1", "*", true },
        { "prefix=ab pattern=a*[0-9]", "abc", "*", true },
        { "exclude=a*", "a", "*", false },
        { "exclude=a*", "b", "*", true },
        { "prefix=a exclude=*_old", "a_old", "*", false },
        { "prefix=a exclude=*_old", "a_new", "*", true },
        { "name=a exclude=a", "a", "*", false },
        { "prefix=a exclude=ab exclude=ac", "ac", "*", false },
        { "prefix=a exclude=ab exclude=ac", "ad", "*", true },
        { "name=a scope=*", "a", "*", true },
        { "name=a scope=*", "a", "127.0.0.1", false },
        { "name=a scope=127.0.0.1", "a", "127.0.0.1", true },
        { "name=a scope=127.0.0.1", "a", "*", false },
        { "name=a scope=127.0.0.1", "b", "127.0.0.1", false },
        { "name=a scope=127.0.0.1 scope=127.0.0.2", "a", "127.0.0.2", true }, /* the last one counts */
        { "prefix=w scope=::1", "web", "::1", true },
        { "prefix=w scope=::1", "web", "127.0.0.1", false },
        { "scope=127.0.0.2", "b", "127.0.0.2", true },
        { "scope=127.0.0.2", "b", "127.0.0.1", false },
        { "other=x name=a other=y", "a", "*", true },
        { "other=x", "a", "*", true },
};

START_TEST(test_what_matches_and_what_does_not) {
        _cleanup_(filter_unrefp) Filter *filter = make_filter(cases[_i].said);
        Address scope = address_of(cases[_i].scope);

        ck_assert_msg(filter_matches(filter, cases[_i].name, strlen(cases[_i].name), &scope, false) == cases[_i].matches,
                      "%s: %s@%s", cases[_i].said, cases[_i].name, cases[_i].scope);
}
END_TEST

/* --- states, hidden ones -------------------------------------------------------------------------------- */

static const struct {
        const char *said, *states; /* in the order of NodeState: up, awaited, stopping, starting, ready */
} states[] = {
        { "", "yynyy" },
        { "state=any", "yyyyy" },
        { "state=up", "ynnnn" },
        { "state=ready", "nnnny" },
        { "state=up state=ready", "ynnny" },
        { "state=stopping", "nnynn" },
        { "state=awaited state=starting", "nynyn" },
        { "state=up state=any", "yyyyy" },
        { "name=a exclude=b", "yynyy" },
};

START_TEST(test_which_states_are_wanted) {
        _cleanup_(filter_unrefp) Filter *filter = make_filter(states[_i].said);

        for (NodeState state = 0; state < _NODE_STATE_N; state++)
                ck_assert_msg(filter_wants_state(filter, state) == (states[_i].states[state] == 'y'), "%s: %s",
                              states[_i].said, node_state_to_string(state));
}
END_TEST

static const struct {
        const char *said;
        uint8_t type;
        bool is_helper, is_selected;
} hidden_ones[] = {
        { "", NODE_TYPE_NORMAL, false, true },
        { "", NODE_TYPE_HIDDEN, false, false },
        { "", NODE_TYPE_NORMAL, true, false },
        { "", 104, false, true }, /* a C node */
        { "hidden", NODE_TYPE_NORMAL, false, true },
        { "hidden", NODE_TYPE_HIDDEN, false, true },
        { "hidden", NODE_TYPE_NORMAL, true, true },
        { "hidden unhidden", NODE_TYPE_HIDDEN, false, false },
        { "name=a", NODE_TYPE_HIDDEN, false, false },
        { "name=a hidden", NODE_TYPE_HIDDEN, true, true },
};

START_TEST(test_hidden_nodes_and_helpers_are_left_out_unless_asked_for) {
        _cleanup_(filter_unrefp) Filter *filter = make_filter(hidden_ones[_i].said);
        _cleanup_(node_freep) Node *node = node_new(&(NodeInfo){ .name = "a", .n_name = 1, .type = hidden_ones[_i].type });

        node->is_helper = hidden_ones[_i].is_helper;
        ck_assert_int_eq(filter_selects(filter, node), hidden_ones[_i].is_selected);
        node_set_facts(node, &(NodeFacts){ .is_listener_gone = true }, 1);
        ck_assert(!filter_selects(filter, node)); /* stopping */
}
END_TEST

/* --- what makes no sense -------------------------------------------------------------------------------- */

static char long_name[NODE_NAME_BYTES_MAX + 10];

static const struct {
        const char *said, *wrong; /* how the sentence begins */
} bad_ones[] = {
        { "name=", "That cannot be the name" },
        { "name=a name=", "That cannot be the name" },
        { "name=a\nb", "That cannot be the name" },
        { "name=\xff", "That cannot be the name" },
        { "prefix=\n", "No node's name can begin" },
        { "prefix=\xff", "No node's name can begin" },
        { "prefix=a prefix=\x7f", "No node's name can begin" },
        { "pattern=", "No node's name can match" },
        { "exclude=", "No node's name can match" },
        { "pattern=a\n*", "No node's name can match" },
        { "pattern=[a", "A pattern has a bracket" },
        { "exclude=a\\", "A pattern has a bracket" },
        { "pattern=a pattern=[[:none:]]", "A pattern has a bracket" },
        { "state=", "A state is" },
        { "state=running", "A state is" },
        { "state=up state=upp", "A state is" },
        { "state=u", "A state is" },
        { "scope=", "The address is none" },
        { "scope=localhost", "The address is none" },
        { "scope=127.0.0.0/8", "The address is none" },
        { "name=LONG", "That cannot be the name" },
};

START_TEST(test_what_makes_no_sense_is_told_in_words) {
        Filter *filter = NULL;
        const char *wrong = NULL;
        char said[2048];

        memset(long_name, 'a', sizeof long_name - 1);
        snprintf(said, sizeof said, "%s", bad_ones[_i].said);
        if (strcmp(said, "name=LONG") == 0)
                snprintf(said, sizeof said, "name=%s", long_name);
        ck_assert_int_eq(parse(said, &filter, &wrong), FILTER_E_SENSELESS);
        ck_assert_ptr_null(filter);
        ck_assert_msg(strncmp(wrong, bad_ones[_i].wrong, strlen(bad_ones[_i].wrong)) == 0, "%s: %s", said, wrong);
        ck_assert_int_eq(wrong[strlen(wrong) - 1], '.');
}
END_TEST

/* P6: how much can be matched against is bounded by more than the request. */
START_TEST(test_patterns_that_are_too_long_together_are_refused) {
        _cleanup_(filter_unrefp) Filter *filter = NULL;
        const char *wrong = NULL;
        char said[4096] = "", pattern[128];

        memset(pattern, '?', 100);
        pattern[100] = 0;
        for (unsigned i = 0; i < 5; i++) {
                strcat(said, i ? " pattern=" : "pattern=");
                strcat(said, pattern);
        }
        ck_assert_int_eq(parse(said, &filter, &wrong), 0);
        strcat(said, " pattern=12345678");
        ck_assert_int_eq(parse(said, &filter, &wrong), FILTER_E_SENSELESS);
        ck_assert_msg(strstr(wrong, "too long") != NULL, "%s", wrong);
}
END_TEST

/* --- the same ------------------------------------------------------------------------------------------- */

START_TEST(test_filters_are_the_same_if_the_same_was_said) {
        _cleanup_(filter_unrefp) Filter *nothing = make_filter("other=1"), *too = make_filter(""),
                                        *one = make_filter("name=a"), *same = make_filter("other=x name=a"),
                                        *other = make_filter("name=b"), *prefix = make_filter("prefix=a"),
                                        *more = make_filter("name=a state=up");

        ck_assert(filter_equal(nothing, too));
        ck_assert(filter_equal(one, same));
        ck_assert(!filter_equal(one, nothing));
        ck_assert(!filter_equal(one, other));
        ck_assert(!filter_equal(one, prefix));
        ck_assert(!filter_equal(one, more));
        ck_assert_ptr_eq(filter_ref(one), one);
        filter_unref(one);
        ck_assert(filter_equal(one, one));
}
END_TEST

/* --- walks ---------------------------------------------------------------------------------------------- */

static Registry *make_registry(const char *const (*nodes)[2], size_t n_nodes) {
        Registry *registry = NULL;

        ck_assert_int_eq(registry_new(&registry, &(RegistryLimits){ 100000, 100000 }, 1), 0);
        for (size_t i = 0; i < n_nodes; i++) {
                Node *node = node_new(&(NodeInfo){ .name = nodes[i][0], .n_name = strlen(nodes[i][0]) });

                node->scope = address_of(nodes[i][1]);
                node->serial = i + 1;
                ck_assert_int_eq(registry_restore(registry, &node), 0);
        }
        return registry;
}

static const char *const registered[][2] = {
        { "c", "127.0.0.1" }, { "a", "127.0.0.2" }, { "ab", "*" },  { "b", "*" },    { "a", "127.0.0.1" },
        { "abc", "*" },       { "abd", "*" },       { "b1", "*" },  { "ba", "::1" }, { "z_1", "*" },
        { "z_2", "*" },       { "z", "*" },
};

static const struct {
        const char *said, *found;
} walks[] = {
        { "", "a@127.0.0.1 a@127.0.0.2 ab@* abc@* abd@* b@* b1@* ba@::1 c@127.0.0.1 z@* z_1@* z_2@* " },
        { "name=a", "a@127.0.0.1 a@127.0.0.2 " },
        { "name=a scope=127.0.0.2", "a@127.0.0.2 " },
        { "name=nobody", "" },
        { "name=z name=a name=c", "a@127.0.0.1 a@127.0.0.2 c@127.0.0.1 z@* " },
        { "prefix=a", "a@127.0.0.1 a@127.0.0.2 ab@* abc@* abd@* " },
        { "prefix=ab prefix=a name=abc pattern=a*", "a@127.0.0.1 a@127.0.0.2 ab@* abc@* abd@* " },
        { "prefix=ab name=b prefix=z_", "ab@* abc@* abd@* b@* z_1@* z_2@* " },
        { "pattern=*b*", "ab@* abc@* abd@* b@* b1@* ba@::1 " },
        { "pattern=b?", "b1@* ba@::1 " },
        { "pattern=b? exclude=*1", "ba@::1 " },
        { "prefix=ab pattern=a*d name=z", "ab@* abc@* abd@* z@* " },
        { "name=abc pattern=ab*d", "abc@* abd@* " },
        { "prefix=zz", "" },
        { "prefix=z_2", "z_2@* " },
        { "scope=127.0.0.1", "a@127.0.0.1 c@127.0.0.1 " },
        { "state=ready", "" },
        { "pattern=abd", "abd@* " },
};

static void show_walk(const char *said, const Registry *registry, char *text, size_t n_text) {
        _cleanup_(filter_unrefp) Filter *filter = make_filter(said);
        FilterWalk walk = filter_walk(filter, registry);
        size_t n = 0;
        Node *node;

        text[0] = 0;
        while ((node = filter_walk_next(&walk))) {
                char address[ADDRESS_TEXT_MAX];

                n += (size_t)snprintf(text + n, n_text - n, "%s@%s ", node->info.name,
                                      address_format(&node->scope, address));
        }
        ck_assert_ptr_null(filter_walk_next(&walk)); /* and so it stays */
}

START_TEST(test_the_selected_nodes_are_met_once_and_in_order) {
        Registry *registry = make_registry(registered, ELEMENTS(registered));
        char text[1024];

        show_walk(walks[_i].said, registry, text, sizeof text);
        ck_assert_msg(strcmp(text, walks[_i].found) == 0, "%s: %s", walks[_i].said, text);
        registry_free(registry);
        registry = make_registry(NULL, 0);
        show_walk(walks[_i].said, registry, text, sizeof text);
        ck_assert_str_eq(text, "");
        registry_free(registry);
}
END_TEST

/* Random selections of a random registry against a look at every node. */
static void make_name(unsigned *seed, char ret[static 6]) {
        size_t n = 1 + (size_t)rand_r(seed) % 4;

        for (size_t i = 0; i < n; i++)
                ret[i] = (char)('a' + rand_r(seed) % 3);
        ret[n] = 0;
}

static void make_selection(unsigned *seed, char *ret) {
        static const char *const kinds[] = { "name", "prefix", "pattern", "exclude" };
        static const char *const ends[] = { "*", "?", "[ab]*", "" };
        unsigned n = (unsigned)rand_r(seed) % 6;

        ret[0] = 0;
        for (unsigned i = 0; i < n; i++) {
                unsigned kind = (unsigned)rand_r(seed) % ELEMENTS(kinds);
                char name[6];

                make_name(seed, name);
                sprintf(ret + strlen(ret), "%s=%s%s ", kinds[kind], name, kind < 2 ? "" : ends[rand_r(seed) % 4]);
        }
}

START_TEST(test_a_walk_finds_what_matches_and_nothing_else) {
        unsigned seed = (unsigned)_i + 1;
        char (*names)[6] = calloc(60, sizeof *names);
        const char *nodes[60][2];
        Registry *registry;

        for (size_t i = 0; i < ELEMENTS(nodes); i++) {
                bool is_new = true;

                do {
                        make_name(&seed, names[i]);
                        is_new = true;
                        for (size_t j = 0; j < i; j++)
                                is_new = is_new && strcmp(names[j], names[i]) != 0;
                } while (!is_new);
                nodes[i][0] = names[i];
                nodes[i][1] = "*";
        }
        registry = make_registry(nodes, ELEMENTS(nodes));
        for (unsigned i = 0; i < 2000; i++) {
                _cleanup_(filter_unrefp) Filter *filter = NULL;
                size_t n_expected = 0, n = 0;
                const Node *before = NULL;
                FilterWalk walk;
                char said[512];

                make_selection(&seed, said);
                filter = make_filter(said);
                for (Node *node = registry_newest(registry); node; node = node->older)
                        n_expected += filter_selects(filter, node);
                walk = filter_walk(filter, registry);
                for (Node *node; (node = filter_walk_next(&walk)); before = node, n++) {
                        ck_assert(filter_selects(filter, node));
                        ck_assert(!before || strcmp(before->info.name, node->info.name) < 0);
                }
                ck_assert_msg(n == n_expected, "%s: %zu nodes of %zu", said, n, n_expected);
        }
        registry_free(registry);
        free(names);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("filter");
        TCase *tcase = tcase_create("filter");

        tcase_add_loop_test(tcase, test_what_matches_and_what_does_not, 0, ELEMENTS(cases));
        tcase_add_loop_test(tcase, test_which_states_are_wanted, 0, ELEMENTS(states));
        tcase_add_loop_test(tcase, test_hidden_nodes_and_helpers_are_left_out_unless_asked_for, 0, ELEMENTS(hidden_ones));
        tcase_add_loop_test(tcase, test_what_makes_no_sense_is_told_in_words, 0, ELEMENTS(bad_ones));
        tcase_add_test(tcase, test_patterns_that_are_too_long_together_are_refused);
        tcase_add_test(tcase, test_filters_are_the_same_if_the_same_was_said);
        tcase_add_loop_test(tcase, test_the_selected_nodes_are_met_once_and_in_order, 0, ELEMENTS(walks));
        tcase_add_loop_test(tcase, test_a_walk_finds_what_matches_and_nothing_else, 0, 4);
        suite_add_tcase(suite, tcase);
        return suite;
}
