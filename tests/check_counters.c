/* SPDX-License-Identifier: Apache-2.0 */

#include <string.h>

#include "check_main.h"
#include "serve/counters.h"

typedef struct Seen {
        unsigned n;
        struct {
                char name[64];
                uint64_t value;
        } of[64];
} Seen;

static void put(void *userdata, const char *name, uint64_t value) {
        Seen *seen = userdata;

        ck_assert_uint_lt(seen->n, ELEMENTS(seen->of));
        ck_assert_uint_lt(strlen(name), sizeof seen->of[0].name);
        strcpy(seen->of[seen->n].name, name);
        seen->of[seen->n++].value = value;
}

/* Each counter is given its own place as its value. */
static void see_places(Seen *ret) {
        Counters counters;
        uint64_t places[sizeof counters / sizeof(uint64_t)];

        for (size_t i = 0; i < ELEMENTS(places); i++)
                places[i] = i + 1000;
        memcpy(&counters, places, sizeof counters);
        ret->n = 0;
        counters_each(&counters, put, ret);
}

START_TEST(test_every_counter_is_told_once_under_a_name_of_its_own) {
        size_t n_counters = sizeof(Counters) / sizeof(uint64_t);
        size_t no_refusal = offsetof(Counters, n_refused) / sizeof(uint64_t) + REFUSAL_NONE;
        unsigned n_told[sizeof(Counters) / sizeof(uint64_t)] = { 0 };
        Seen seen;

        see_places(&seen);
        for (unsigned i = 0; i < seen.n; i++) {
                ck_assert_uint_ge(seen.of[i].value, 1000);
                ck_assert_uint_lt(seen.of[i].value - 1000, n_counters);
                n_told[seen.of[i].value - 1000]++;
                for (unsigned j = 0; j < i; j++)
                        ck_assert_str_ne(seen.of[i].name, seen.of[j].name);
        }
        for (size_t i = 0; i < n_counters; i++)
                ck_assert_msg(n_told[i] == (i == no_refusal ? 0 : 1), "counter %zu is told %u times", i, n_told[i]);
}
END_TEST

/* PROTOCOL.md lists them; they do not change. */
static const struct {
        const char *name;
        size_t offset;
} names[] = {
        { "connections.accepted", offsetof(Counters, n_accepted) },
        { "connections.timed-out", offsetof(Counters, n_timed_out) },
        { "connections.shed", offsetof(Counters, n_shed) },
        { "requests.alive2", offsetof(Counters, n_alive2) },
        { "requests.port2", offsetof(Counters, n_port2) },
        { "requests.names", offsetof(Counters, n_names) },
        { "requests.dump", offsetof(Counters, n_dump) },
        { "requests.kill", offsetof(Counters, n_kill) },
        { "requests.stop", offsetof(Counters, n_stop) },
        { "requests.control", offsetof(Counters, n_control) },
        { "requests.denied", offsetof(Counters, n_denied) },
        { "requests.malformed", offsetof(Counters, n_malformed) },
        { "requests.unknown", offsetof(Counters, n_unknown) },
        { "lookups.missed", offsetof(Counters, n_lookups_missed) },
        { "nodes.registered", offsetof(Counters, n_registered) },
        { "nodes.returned", offsetof(Counters, n_returned) },
        { "nodes.ended", offsetof(Counters, n_ended) },
        { "nodes.answered-unwritten", offsetof(Counters, n_unwritten) },
        { "evidence.lost", offsetof(Counters, n_evidence_lost) },
        { "refused.name-taken", offsetof(Counters, n_refused[REFUSAL_NAME_TAKEN]) },
        { "refused.name-empty", offsetof(Counters, n_refused[REFUSAL_NAME_EMPTY]) },
        { "refused.name-too-long", offsetof(Counters, n_refused[REFUSAL_NAME_TOO_LONG]) },
        { "refused.name-not-utf8", offsetof(Counters, n_refused[REFUSAL_NAME_NOT_UTF8]) },
        { "refused.name-control-character", offsetof(Counters, n_refused[REFUSAL_NAME_CONTROL_CHARACTER]) },
        { "refused.extra-too-long", offsetof(Counters, n_refused[REFUSAL_EXTRA_TOO_LONG]) },
        { "refused.uid-limit", offsetof(Counters, n_refused[REFUSAL_UID_LIMIT]) },
        { "refused.nodes-limit", offsetof(Counters, n_refused[REFUSAL_NODES_LIMIT]) },
};

START_TEST(test_a_counter_has_the_name_that_the_protocol_gives_it) {
        Seen seen;
        bool found = false;

        see_places(&seen);
        for (unsigned i = 0; i < seen.n; i++)
                if (strcmp(seen.of[i].name, names[_i].name) == 0) {
                        found = true;
                        ck_assert_uint_eq(seen.of[i].value, names[_i].offset / sizeof(uint64_t) + 1000);
                }
        ck_assert_msg(found, "%s is not told", names[_i].name);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("counters");
        TCase *tcase = tcase_create("names");

        tcase_add_test(tcase, test_every_counter_is_told_once_under_a_name_of_its_own);
        tcase_add_loop_test(tcase, test_a_counter_has_the_name_that_the_protocol_gives_it, 0, ELEMENTS(names));
        suite_add_tcase(suite, tcase);
        return suite;
}
