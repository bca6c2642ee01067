/* SPDX-License-Identifier: Apache-2.0 */
/* serve/statics: entries, and real listeners that come and go. */

#include "desk_test.h"
#include "epmd_test.h"
#include "units_test.h"
#include "words_test.h"

/* The entries of files, in place of those before: "name", "address", port as text. */
static void file_entries(Desk *desk, const char *const *words) {
        _cleanup_(entries_done) Entries entries = { 0 };

        for (; words[0]; words += 3) {
                Entry entry = {
                        .name = strdup(words[0]),
                        .n_name = strlen(words[0]),
                        .port = (uint16_t)atoi(words[2]),
                        .by = strdup("nodes.d/a.conf"),
                        .since_usec = 1,
                };

                ck_assert_int_eq(address_parse(words[1], &entry.address), 0);
                ck_assert_int_eq(entries_reserve(&entries), 0);
                entries_put(&entries, &entry);
        }
        ck_assert_int_eq(statics_set_filed(desk->statics, &entries), 0);
        statics_sync(desk->statics);
}

#define ENTRIES(...) (const char *const[]){ __VA_ARGS__ __VA_OPT__(,) NULL, NULL, NULL }

static const char *port_text(uint16_t port) {
        static char texts[8][8];
        static unsigned n;

        return snprintf(texts[n % 8], sizeof texts[0], "%u", port) > 0 ? texts[n++ % 8] : "";
}

/* What is told of an entry: its state, and why. */
typedef struct Told {
        const char *name;
        StaticsState state;
        char reason[512];
        unsigned n;
} Told;

static void on_told(void *userdata, const Entry *entry, StaticsState state, const char *reason) {
        Told *told = userdata;

        told->n++;
        if (strcmp(entry->name, told->name) != 0)
                return;
        told->state = state;
        snprintf(told->reason, sizeof told->reason, "%s", reason);
}

static StaticsState state_of(Desk *desk, const char *name) {
        Told told = { .name = name, .state = _STATICS_STATE_N };

        statics_tell_all(desk->statics, on_told, &told);
        return told.state;
}

static const char *reason_of(Desk *desk, const char *name) {
        static Told told;

        told = (Told){ .name = name };
        statics_tell_all(desk->statics, on_told, &told);
        return told.reason;
}

START_TEST(test_an_entry_is_in_the_registry_exactly_while_its_listener_lives) {
        Desk *desk = desk_new(NULL);
        int fd = listen_on("127.0.0.1");
        uint16_t port = port_of(fd);

        close(fd);
        file_entries(desk, ENTRIES("a", "*", port_text(port)));
        ck_assert_ptr_null(desk_find(desk, "a"));
        ck_assert_int_eq(state_of(desk, "a"), STATICS_DOWN);
        ck_assert_ptr_nonnull(strstr(reason_of(desk, "a"), "nobody listens at port"));

        /* By itself, without anybody who asks. */
        fd = try_listen_on("127.0.0.1", port);
        ck_assert(RUN_UNTIL(desk->event, desk_find(desk, "a"), LONG_USEC));
        ck_assert_int_eq(desk_find(desk, "a")->facts.origin, NODE_ORIGIN_STATIC);
        ck_assert_uint_eq(desk_find(desk, "a")->peer.uid, getuid());
        ck_assert_int_eq(state_of(desk, "a"), STATICS_UP);
        ck_assert_uint_eq(look_up(desk, "a"), port);
        /* The kernel announces it: of those who are there nobody is looked for. */
        close(fd);
        ck_assert(RUN_UNTIL(desk->event, !desk_find(desk, "a"), LONG_USEC));
        desk_free(desk);
}
END_TEST

START_TEST(test_whoever_looks_it_up_finds_who_has_just_come) {
        Desk *desk = desk_new(NULL);
        int fd = listen_on("127.0.0.1");
        uint16_t port = port_of(fd);

        close(fd);
        file_entries(desk, ENTRIES("a", "127.0.0.1", port_text(port), "b", "*", port_text(port)));
        fd = try_listen_on("127.0.0.1", port);
        ck_assert_ptr_null(desk_find(desk, "a"));
        ck_assert_uint_eq(look_up(desk, "a"), port);
        ck_assert_uint_eq(look_up(desk, "b"), port);
        ck_assert_uint_eq(look_up(desk, "c"), 0);
        close(fd);
        desk_free(desk);
}
END_TEST

/* Where the listener is bound, where the entry says, and whether it is the one. */
static const struct {
        const char *bound, *entry;
        bool is_found;
} places[] = {
        { "127.0.0.1", "*", true },       { "0.0.0.0", "*", true },          { "::", "*", true },
        { "::1", "*", true },             { "127.0.0.2", "127.0.0.2", true }, { "127.0.0.2", "127.0.0.3", false },
        { "0.0.0.0", "127.0.0.3", true }, { "::", "127.0.0.3", true },       { "::", "::1", true },
        { "0.0.0.0", "::1", false },      { "::1", "127.0.0.1", false },
};

START_TEST(test_an_entry_finds_the_listener_that_whoever_dials_it_reaches) {
        Desk *desk = desk_new(NULL);
        int fd = listen_on(places[_i].bound);
        Address scope;
        Node *node;

        file_entries(desk, ENTRIES("a", places[_i].entry, port_text(port_of(fd))));
        node = desk_find(desk, "a");
        ck_assert_msg((node != NULL) == places[_i].is_found, "%s, %s", places[_i].bound, places[_i].entry);
        if (node) {
                ck_assert_int_eq(address_parse(places[_i].entry, &scope), 0);
                ck_assert(address_equal(&node->scope, &scope));
        }
        close(fd);
        desk_free(desk);
}
END_TEST

START_TEST(test_what_is_elsewhere_is_told_and_not_looked_up) {
        Desk *desk = desk_new(NULL);
        _cleanup_(freep) char *names = NULL;

        file_entries(desk, ENTRIES("a", "192.0.2.77", "9100"));
        names = ask_words(desk, CONTROL_NAMES, WORDS());
        ck_assert_says(names, "name=a", "state=up", "scope=192.0.2.77", "source=entry", "origin=static", "elsewhere=1");
        ck_assert_uint_eq(look_up(desk, "a"), 0);
        ck_assert_int_eq(state_of(desk, "a"), STATICS_ELSEWHERE);
        ck_assert_uint_eq(registry_n_nodes(desk->registry), 0);
        file_entries(desk, ENTRIES());
        ck_assert_uint_eq(registry_n_elsewhere(desk->registry), 0);
        desk_free(desk);
}
END_TEST

START_TEST(test_another_node_that_has_the_name_shadows_it) {
        Desk *desk = desk_new(NULL);
        int listener = listen_on("127.0.0.1"), other = listen_on("127.0.0.1");
        int fd = registered(desk, "a", port_of(other));

        file_entries(desk, ENTRIES("a", "*", port_text(port_of(listener))));
        ck_assert_int_eq(state_of(desk, "a"), STATICS_SHADOWED);
        ck_assert_ptr_nonnull(strstr(reason_of(desk, "a"), "the name is held at port"));
        ck_assert_uint_eq(look_up(desk, "a"), port_of(other));
        close(fd);
        close(other);
        ck_assert(RUN_UNTIL(desk->event, state_of(desk, "a") == STATICS_UP, LONG_USEC));
        ck_assert_uint_eq(look_up(desk, "a"), port_of(listener));
        close(listener);
        desk_free(desk);
}
END_TEST

START_TEST(test_its_own_node_may_register_and_leave) {
        Desk *desk = desk_new(NULL);
        int listener = listen_on("127.0.0.1");
        int fd, stranger, other = listen_on("127.0.0.1");

        file_entries(desk, ENTRIES("a", "*", port_text(port_of(listener))));
        stranger = newcomer(desk, "a", port_of(other));
        ck_assert_int_eq(result_of(desk, stranger), 1);
        fd = registered(desk, "a", port_of(listener));
        ck_assert_int_eq(desk_find(desk, "a")->facts.origin, NODE_ORIGIN_REGISTERED);
        ck_assert_uint_ge(heard_creation(fd), 4);
        ck_assert_int_eq(state_of(desk, "a"), STATICS_UP);
        ck_assert_str_eq(reason_of(desk, "a"), "it has registered by itself");
        close(fd);
        ck_assert(RUN_UNTIL(desk->event, !desk_find(desk, "a") || node_is_static(desk_find(desk, "a")), LONG_USEC));
        ck_assert(RUN_UNTIL(desk->event, desk_find(desk, "a"), LONG_USEC));
        ck_assert_int_eq(desk_find(desk, "a")->facts.origin, NODE_ORIGIN_STATIC);
        close(stranger);
        close(other);
        close(listener);
        desk_free(desk);
}
END_TEST

START_TEST(test_an_entry_that_says_something_else_is_another_node) {
        Desk *desk = desk_new(NULL);
        int first = listen_on("127.0.0.1"), second = listen_on("127.0.0.1");

        file_entries(desk, ENTRIES("a", "*", port_text(port_of(first))));
        ck_assert_uint_eq(desk_find(desk, "a")->info.port, port_of(first));
        file_entries(desk, ENTRIES("a", "*", port_text(port_of(second))));
        ck_assert_uint_eq(desk_find(desk, "a")->info.port, port_of(second));
        ck_assert_uint_eq(registry_n_nodes(desk->registry), 1);
        file_entries(desk, ENTRIES());
        ck_assert_ptr_null(desk_find(desk, "a"));
        ck_assert_int_eq(registry_find_former(desk->registry, "a", 1)->end, NODE_END_REMOVED);
        close(first);
        close(second);
        desk_free(desk);
}
END_TEST

START_TEST(test_a_daemon_that_cannot_see_says_so) {
        Desk *desk = desk_new(&(DeskOptions){ .blind = true });
        int listener = listen_on("127.0.0.1");

        file_entries(desk, ENTRIES("a", "*", port_text(port_of(listener)), "b", "192.0.2.7", "1"));
        ck_assert_ptr_null(desk_find(desk, "a"));
        ck_assert_int_eq(state_of(desk, "a"), STATICS_DOWN);
        ck_assert_ptr_nonnull(strstr(reason_of(desk, "a"), "whether it listens cannot be seen"));
        ck_assert_int_eq(state_of(desk, "b"), STATICS_ELSEWHERE);
        close(listener);
        desk_free(desk);
}
END_TEST

START_TEST(test_the_row_outlives_a_restart_as_long_as_listener_and_entry_do) {
        const char *file = desk_file();
        Desk *desk = desk_new(&(DeskOptions){ .file = file });
        int kept = listen_on("127.0.0.1"), lost = listen_on("127.0.0.1"), unsaid = listen_on("127.0.0.1");
        const char *const *all = ENTRIES("kept", "*", port_text(port_of(kept)), "lost", "*", port_text(port_of(lost)),
                                         "unsaid", "*", port_text(port_of(unsaid)));
        uint64_t serial;

        file_entries(desk, all);
        ck_assert_uint_eq(registry_n_nodes(desk->registry), 3);
        serial = desk_find(desk, "kept")->serial;
        ck_assert(RUN_UNTIL(desk->event, is_written(desk), LONG_USEC));
        desk_stop(desk);
        close(lost);
        desk_start(desk);
        /* The files have not been read yet: nobody loses his place for that. */
        ck_assert_uint_eq(registry_n_nodes(desk->registry), 2);
        ck_assert_int_eq(desk_find(desk, "kept")->state, NODE_UP);
        ck_assert_int_eq(registry_find_former(desk->registry, "lost", 4)->end, NODE_END_FOUND_DEAD);
        file_entries(desk, ENTRIES(all[0], all[1], all[2]));
        ck_assert_int_eq(registry_find_former(desk->registry, "unsaid", 6)->end, NODE_END_REMOVED);
        ck_assert_uint_eq(desk_find(desk, "kept")->serial, serial);
        close(kept);
        close(unsaid);
        desk_free(desk);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("statics");
        TCase *tcase = tcase_create("statics");

        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, test_an_entry_is_in_the_registry_exactly_while_its_listener_lives);
        tcase_add_test(tcase, test_whoever_looks_it_up_finds_who_has_just_come);
        tcase_add_loop_test(tcase, test_an_entry_finds_the_listener_that_whoever_dials_it_reaches, 0, ELEMENTS(places));
        tcase_add_test(tcase, test_what_is_elsewhere_is_told_and_not_looked_up);
        tcase_add_test(tcase, test_another_node_that_has_the_name_shadows_it);
        tcase_add_test(tcase, test_its_own_node_may_register_and_leave);
        tcase_add_test(tcase, test_an_entry_that_says_something_else_is_another_node);
        tcase_add_test(tcase, test_a_daemon_that_cannot_see_says_so);
        tcase_add_test(tcase, test_the_row_outlives_a_restart_as_long_as_listener_and_entry_do);
        suite_add_tcase(suite, tcase);
        return suite;
}
