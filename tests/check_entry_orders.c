/* SPDX-License-Identifier: Apache-2.0 */
/* serve/entry_orders: what may be ordered, and that it holds once it is written. */

#include "desk_test.h"
#include "epmd_test.h"
#include "units_test.h"
#include "words_test.h"

static Desk *desk_with_file(void) {
        return desk_new(&(DeskOptions){ .file = desk_file() });
}

/* The orders before, the order, and what it is answered. */
static const struct {
        ControlKind kind;
        const char *const *words;
        const char *says; /* a part of the answer */
} steps[] = {
        { CONTROL_ADD, WORDS("name", "a", "port", "9100"), "entry name=a port=9100 address=*" },
        /* The same again is no mistake. */
        { CONTROL_ADD, WORDS("name", "a", "port", "9100"), "entry name=a port=9100 address=*" },
        { CONTROL_ADD, WORDS("name", "a", "port", "9101"), "error=11 text=a has an entry for that address already" },
        { CONTROL_ADD, WORDS("name", "a", "port", "9100", "host", "h"), "error=11" },
        { CONTROL_ADD, WORDS("name", "a", "port", "9101", "address", "127.0.0.2", "host", "h"), "host=h" },
        { CONTROL_REMOVE, WORDS("name", "a"), "error=8 text=a has several entries" },
        { CONTROL_REMOVE, WORDS("name", "a", "address", "127.0.0.3"), "error=7 text=a has no such entry" },
        { CONTROL_REMOVE, WORDS("name", "a", "address", "127.0.0.2"), "entry name=a host=h port=9101 address=127.0.0.2" },
        { CONTROL_REMOVE, WORDS("name", "a"), "entry name=a port=9100" },
        { CONTROL_REMOVE, WORDS("name", "a"), "error=7" },
        { CONTROL_ENTRIES, WORDS(), "end" },
        { CONTROL_ADD, WORDS("name", "a"), "error=1 text=A port is" },
        { CONTROL_ADD, WORDS("name", "a", "port", "0"), "error=1 text=A port is" },
        { CONTROL_ADD, WORDS("name", "a", "port", "65536"), "error=1 text=A port is" },
        { CONTROL_ADD, WORDS("port", "1"), "error=1 text=The request names no node" },
        { CONTROL_ADD, WORDS("name", "a\tb", "port", "1"), "error=1 text=That cannot be the name" },
        { CONTROL_ADD, WORDS("name", "a", "port", "1", "address", "here"), "error=1 text=The address is none" },
        { CONTROL_ADD, WORDS("name", "a", "port", "1", "host", "a b"), "error=1 text=That cannot be the host" },
        { CONTROL_PIN, WORDS("name", "a", "port", "9100"), "pin name=a port=9100" },
        { CONTROL_PIN, WORDS("name", "a", "port", "9100"), "pin name=a port=9100" },
        { CONTROL_PIN, WORDS("name", "a", "port", "9101"), "error=11 text=a is pinned to port 9100 already" },
        { CONTROL_PIN, WORDS("name", "b", "port", "9100"), "error=11 text=Port 9100 is pinned for a already" },
        { CONTROL_PIN, WORDS("name", "b"), "error=1" },
        { CONTROL_PINS, WORDS("name", "b"), "end" },
        { CONTROL_PINS, WORDS("name", "a"), "pin name=a port=9100" },
        { CONTROL_UNPIN, WORDS("name", "b"), "error=7 text=b is not pinned" },
        { CONTROL_UNPIN, WORDS("name", "a"), "pin name=a port=9100" },
        { CONTROL_PINS, WORDS(), "end" },
};

START_TEST(test_orders_one_after_the_other) {
        Desk *desk = desk_with_file();

        for (size_t i = 0; i < ELEMENTS(steps); i++) {
                _cleanup_(freep) char *answer = ask_words(desk, steps[i].kind, steps[i].words);

                ck_assert_msg(strstr(answer, steps[i].says), "step %zu: %s", i, answer);
                if (strcmp(steps[i].says, "end") == 0)
                        ck_assert_msg(strcmp(answer, "end \n") == 0, "step %zu: %s", i, answer);
        }
        desk_free(desk);
}
END_TEST

START_TEST(test_what_was_ordered_is_there_after_a_restart_with_who_did_it) {
        Desk *desk = desk_with_file();
        char by[32];
        _cleanup_(freep) char *first = ask_words(desk, CONTROL_ADD, WORDS("name", "a", "port", "9100", "host", "h"));
        _cleanup_(freep) char *second = ask_words(desk, CONTROL_PIN, WORDS("name", "p", "port", "9101"));
        _cleanup_(freep) char *entries = NULL, *pins = NULL;

        snprintf(by, sizeof by, " by=uid %u ", getuid());
        ck_assert_says(first, by, "state=down", "reason=nobody listens");
        ck_assert_says(second, by);
        desk_restart(desk);
        entries = ask_words(desk, CONTROL_ENTRIES, WORDS());
        pins = ask_words(desk, CONTROL_PINS, WORDS());
        ck_assert_str_eq(entries, first);
        ck_assert_str_eq(pins, second);
        desk_free(desk);
}
END_TEST

START_TEST(test_without_a_file_that_takes_it_nothing_changes) {
        Desk *desk = desk_new(NULL);
        static const ControlKind kinds[] = { CONTROL_ADD, CONTROL_PIN };

        for (size_t i = 0; i < ELEMENTS(kinds); i++) {
                _cleanup_(freep) char *answer = ask_words(desk, kinds[i], WORDS("name", "a", "port", "9100"));

                ck_assert_says(answer, "error=9 text=Nothing has changed");
        }
        ck_assert_uint_eq(statics_ordered(desk->statics)->n_entries, 0);
        ck_assert_uint_eq(pins_get(desk->pins)->n_entries, 0);
        desk_free(desk);
}
END_TEST

START_TEST(test_one_who_leaves_has_ordered_all_the_same) {
        Desk *desk = desk_with_file();
        int fd = begin_words(desk, CONTROL_PIN, WORDS("name", "a", "port", "9100"));

        ck_assert(RUN_UNTIL(desk->event, desk->counters.n_control == 1, LONG_USEC));
        close(fd);
        ck_assert(RUN_UNTIL(desk->event, pins_get(desk->pins)->n_entries == 1, LONG_USEC));
        desk_free(desk);
}
END_TEST

/* What is on its way to disk counts as if it held: a port has one name, also where two ask at the same time. */
START_TEST(test_what_is_being_written_is_in_the_way) {
        Desk *desk;
        int first, second, third;
        _cleanup_(freep) char *pinned = NULL, *busy = NULL, *busy_too = NULL, *taken = NULL;

        disk_install();
        desk = desk_with_file();
        disk_hang(DISK_SYNC);
        first = begin_words(desk, CONTROL_PIN, WORDS("name", "a", "port", "9100"));
        disk_wait_until_hung();
        second = begin_words(desk, CONTROL_PIN, WORDS("name", "b", "port", "9100"));
        busy = hear_words(desk, second);
        ck_assert_says(busy, "error=5 text=Another pin of port 9100 is being written");
        third = begin_words(desk, CONTROL_ADD, WORDS("name", "a", "port", "9100"));
        busy_too = hear_words(desk, third);
        ck_assert_says(busy_too, "error=5 text=Another order for a is being written");
        disk_hang(0);
        pinned = hear_words(desk, first);
        ck_assert_says(pinned, "pin name=a port=9100");
        taken = ask_words(desk, CONTROL_PIN, WORDS("name", "b", "port", "9100"));
        ck_assert_says(taken, "error=11 text=Port 9100 is pinned for a already");
        desk_free(desk);
}
END_TEST

START_TEST(test_a_pin_is_told_with_its_nodes_and_over_tcp_by_its_name) {
        Desk *desk = desk_with_file();
        int listener = listen_on("127.0.0.1"), fd = registered(desk, "a", port_of(listener)), tcp;
        _cleanup_(freep) char *pin = ask_words(desk, CONTROL_PIN, WORDS("name", "a", "port", "9100"));
        _cleanup_(freep) char *why = ask_words(desk, CONTROL_WHY, WORDS("name", "a"));
        _cleanup_(freep) char *by_name = NULL, *all = NULL, *add = NULL;

        ck_assert_says(pin, "pin name=a port=9100");
        ck_assert_says(why, "pinned=9100");
        tcp = desk_connect(desk);
        say_words(tcp, CONTROL_PINS, WORDS("name", "a"));
        by_name = hear_words(desk, tcp);
        ck_assert_says(by_name, "pin name=a port=9100");
        ck_assert_ptr_null(strstr(by_name, "by="));
        tcp = desk_connect(desk);
        say_words(tcp, CONTROL_PINS, WORDS());
        all = hear_words(desk, tcp);
        ck_assert_says(all, "error=1 text=The request names no node");
        tcp = desk_connect(desk);
        say_words(tcp, CONTROL_PIN, WORDS("name", "b", "port", "9101"));
        add = hear_words(desk, tcp);
        ck_assert_says(add, "error=4");
        close(fd);
        close(listener);
        desk_free(desk);
}
END_TEST

START_TEST(test_a_static_node_is_removed_and_not_released) {
        Desk *desk = desk_with_file();
        int listener = listen_on("127.0.0.1");
        char port[8];
        _cleanup_(freep) char *added = NULL, *released = NULL, *removed = NULL, *why = NULL;

        snprintf(port, sizeof port, "%u", port_of(listener));
        added = ask_words(desk, CONTROL_ADD, WORDS("name", "a", "port", port));
        ck_assert_says(added, "state=up");
        released = ask_words(desk, CONTROL_RELEASE, WORDS("name", "a"));
        ck_assert_says(released, "error=4 text=It is there by its static entry");
        removed = ask_words(desk, CONTROL_REMOVE, WORDS("name", "a"));
        ck_assert_says(removed, "state=up");
        why = ask_words(desk, CONTROL_WHY, WORDS("name", "a"));
        ck_assert_says(why, "tenure name=a", "how=removed", "by=uid ");
        close(listener);
        desk_free(desk);
}
END_TEST

START_TEST(test_there_is_a_bound_for_each) {
        Desk *desk = desk_with_file();
        _cleanup_(entries_done) Entries many = { 0 };
        _cleanup_(freep) char *answer = NULL;

        for (unsigned i = 0; i < ENTRIES_STATICS_MAX; i++) {
                Entry entry = { .port = 1, .since_usec = 1, .by = strdup("f") };

                ck_assert_int_gt(asprintf(&entry.name, "n%u", i), 0);
                entry.n_name = strlen(entry.name);
                ck_assert_int_eq(entries_reserve(&many), 0);
                entries_put(&many, &entry);
        }
        ck_assert_int_eq(statics_set_filed(desk->statics, &many), 0);
        answer = ask_words(desk, CONTROL_ADD, WORDS("name", "a", "port", "9100"));
        ck_assert_says(answer, "error=5 text=There are 1000 static entries already");
        desk_free(desk);
}
END_TEST

/* What a file says counts more than what was ordered, and is not taken away by an order. */
START_TEST(test_files_come_before_orders) {
        Desk *desk = desk_with_file();
        _cleanup_(entries_done) Entries filed = { 0 }, none = { 0 };
        Entry entry = { .name = strdup("a"), .n_name = 1, .port = 2, .since_usec = 1, .by = strdup("/etc/f.conf") };
        _cleanup_(freep) char *ordered = ask_words(desk, CONTROL_ADD, WORDS("name", "a", "port", "1"));
        _cleanup_(freep) char *both = NULL, *again = NULL, *removed = NULL, *left = NULL, *denied = NULL, *elsewhere = NULL;

        ck_assert_says(ordered, "port=1");
        ck_assert_int_eq(entries_reserve(&filed), 0);
        entries_put(&filed, &entry);
        ck_assert_int_eq(statics_set_filed(desk->statics, &filed), 0);
        both = ask_words(desk, CONTROL_ENTRIES, WORDS());
        ck_assert_says(both, "port=2", "by=/etc/f.conf");
        ck_assert_uint_eq(n_records(both, "entry"), 1);
        again = ask_words(desk, CONTROL_ADD, WORDS("name", "a", "port", "3"));
        ck_assert_says(again, "error=11", "in /etc/f.conf: change it first");
        /* Without the file, what was ordered counts again. */
        ck_assert_int_eq(statics_set_filed(desk->statics, &none), 0);
        left = ask_words(desk, CONTROL_ENTRIES, WORDS());
        ck_assert_says(left, "port=1");
        ck_assert_int_eq(statics_set_filed(desk->statics, &filed), 0);
        removed = ask_words(desk, CONTROL_REMOVE, WORDS("name", "a"));
        /* What was removed is told, not what goes on to hold. */
        ck_assert_says(removed, "entry name=a port=1 ", "state=down", "the entry in /etc/f.conf counts more");
        elsewhere = ask_words(desk, CONTROL_REMOVE, WORDS("name", "a", "address", "192.0.2.7"));
        ck_assert_says(elsewhere, "error=7 text=a has no such entry");
        denied = ask_words(desk, CONTROL_REMOVE, WORDS("name", "a"));
        ck_assert_says(denied, "error=4 text=The entry of a is in /etc/f.conf: remove it there");
        desk_free(desk);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("entry_orders");
        TCase *tcase = tcase_create("entry_orders");

        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, test_orders_one_after_the_other);
        tcase_add_test(tcase, test_what_was_ordered_is_there_after_a_restart_with_who_did_it);
        tcase_add_test(tcase, test_without_a_file_that_takes_it_nothing_changes);
        tcase_add_test(tcase, test_one_who_leaves_has_ordered_all_the_same);
        tcase_add_test(tcase, test_what_is_being_written_is_in_the_way);
        tcase_add_test(tcase, test_a_pin_is_told_with_its_nodes_and_over_tcp_by_its_name);
        tcase_add_test(tcase, test_a_static_node_is_removed_and_not_released);
        tcase_add_test(tcase, test_there_is_a_bound_for_each);
        tcase_add_test(tcase, test_files_come_before_orders);
        suite_add_tcase(suite, tcase);
        return suite;
}
