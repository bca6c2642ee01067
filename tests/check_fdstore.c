/* SPDX-License-Identifier: Apache-2.0 */

#include <sys/eventfd.h>

#include "notify_test.h"
#include "state/fdstore.h"

#define N_MANY 1200 /* more than any queue takes */

/* --- names -------------------------------------------------------------------------------------------- */

static const struct {
        FdstoreKey key;
        const char *label, *name;
} names[] = {
        { { 0, 0 }, "", "node-0-0" },
        { { 1, 2 }, "", "node-1-2" },
        { { 42, UINT64_C(1795234567123456) }, "", "node-42-1795234567123456" },
        { { UINT64_MAX, UINT64_MAX }, "", "node-18446744073709551615-18446744073709551615" },
        { { 1, 2 }, "3", "node-1-2-3" },
        { { 1, 2 }, "-a-", "node-1-2--a-" },
        { { 1, 2 }, "4711-%20_.a b", "node-1-2-4711-%20_.a b" },
};

START_TEST(test_a_name_says_which_registration_it_is_and_back) {
        char name[FDSTORE_NAME_MAX];
        FdstoreKey key = { 7, 7 };
        const char *label = NULL;

        ck_assert_str_eq(fdstore_format_name(&names[_i].key, names[_i].label, name), names[_i].name);
        ck_assert_int_eq(fdstore_parse_name(names[_i].name, &key, &label), 0);
        ck_assert_str_eq(label, names[_i].label);
        ck_assert_uint_eq(key.serial, names[_i].key.serial);
        ck_assert_uint_eq(key.since_usec, names[_i].key.since_usec);
}
END_TEST

static const char *const foreign_names[] = {
        "",
        "stored",
        "epmd.socket",
        "node",
        "node-",
        "node--",
        "node-1",
        "node-1-",
        "node--1",
        "node-1-2-",
        "node-1-2 ",
        "node- 1-2",
        "node-1- 2",
        "node-+1-2",
        "node-1-+2",
        "node--1-2",
        "node-01-2",
        "node-1-02",
        "node-0x1-2",
        "node-1-2a",
        "node-1.2",
        "Node-1-2",
        "xnode-1-2",
        "node-18446744073709551616-1",
        "node-1-18446744073709551616",
        "node-1-99999999999999999999999999999999999999999999999999999999999999999999999999999999999",
};

START_TEST(test_what_we_would_not_have_written_is_none_of_ours) {
        FdstoreKey key = { 7, 8 };
        const char *label = NULL;

        ck_assert_msg(fdstore_parse_name(foreign_names[_i], &key, &label) == -EINVAL, "'%s'", foreign_names[_i]);
        ck_assert_ptr_null(label);
        ck_assert_uint_eq(key.serial, 7);
        ck_assert_uint_eq(key.since_usec, 8);
}
END_TEST

/* As systemd takes it; what is cut off tells nothing. */
START_TEST(test_a_label_that_is_too_long_is_cut) {
        static char label[400];
        char name[FDSTORE_NAME_MAX];

        memset(label, 'a', sizeof label - 1);
        ck_assert_uint_eq(strlen(fdstore_format_name(&(FdstoreKey){ 1, 2 }, label, name)), 255);
        ck_assert_int_eq(fdstore_parse_name(name, &(FdstoreKey){ 0 }, NULL), 0);
}
END_TEST

/* --- systemd, as far as it matters here --------------------------------------------------------------- */

typedef struct Held {
        char name[300];
        int fd;
} Held;

typedef struct Bench {
        sd_event *event;
        Fdstore *fdstore;
        char path[96];
        int manager_fd;
        Held held[N_MANY];
        size_t n_held, n_held_max; /* more than so many at once are a failure */
        char said[64 * N_MANY];    /* "+NAME", "-NAME", since it was last emptied */
} Bench;

static Bench *bench_new(size_t n_max) {
        Bench *bench = calloc(1, sizeof *bench);

        ck_assert_ptr_nonnull(bench);
        snprintf(bench->path, sizeof bench->path, "%s/notify", new_directory());
        bench->manager_fd = manager_new(bench->path);
        bench->event = make_event();
        bench->n_held_max = n_max;
        ck_assert_int_eq(fdstore_new(&bench->fdstore, bench->event, bench->path, n_max), 0);
        return bench;
}

static void bench_free(Bench *bench) {
        ck_assert_ptr_null(fdstore_free(bench->fdstore));
        for (size_t i = 0; i < bench->n_held; i++)
                close(bench->held[i].fd);
        close(bench->manager_fd);
        sd_event_unref(bench->event);
        free(bench);
}

static void hold(Bench *bench, const char *name, int fd) {
        Held *held = bench->held + bench->n_held++;

        ck_assert_msg(bench->n_held <= bench->n_held_max, "one too many: %s", name);
        ck_assert_int_ge(fd, 0);
        snprintf(held->name, sizeof held->name, "%s", name);
        held->fd = fd;
}

static void let_go(Bench *bench, const char *name) {
        size_t n = 0;

        for (size_t i = 0; i < bench->n_held; i++)
                if (strcmp(bench->held[i].name, name) == 0)
                        close(bench->held[i].fd);
                else
                        bench->held[n++] = bench->held[i];
        bench->n_held = n;
}

/* Takes at most `n_max` datagrams. Returns what has been said since the last call of said(). */
static const char *listen_to(Bench *bench, unsigned n_max) {
        char text[512];
        int fd;

        while (n_max-- > 0 && manager_receive(bench->manager_fd, text, sizeof text, &fd)) {
                static const char store[] = "FDSTORE=1\nFDNAME=", removal[] = "FDSTOREREMOVE=1\nFDNAME=";
                bool is_store = strncmp(text, store, strlen(store)) == 0;
                const char *name = text + (is_store ? strlen(store) : strlen(removal));
                size_t n = strlen(bench->said);

                ck_assert_msg(is_store || strncmp(text, removal, strlen(removal)) == 0, "said: %s", text);
                if (is_store)
                        hold(bench, name, fd);
                else {
                        ck_assert_int_eq(fd, -1);
                        let_go(bench, name);
                }
                n += (size_t)snprintf(bench->said + n, sizeof bench->said - n, "%s%s%s", n ? " " : "",
                                      is_store ? "+" : "-", name);
                ck_assert_uint_lt(n, sizeof bench->said);
        }
        return bench->said;
}

/* What has been said by now, and begins anew. */
static const char *said(Bench *bench) {
        static char text[sizeof bench->said];

        turn(bench->event);
        strcpy(text, listen_to(bench, UINT32_MAX));
        bench->said[0] = 0;
        return text;
}

/* Waits until so many connections are held. */
static void wait_held(Bench *bench, size_t n) {
        ck_assert_msg(RUN_UNTIL(bench->event, (listen_to(bench, UINT32_MAX), bench->n_held == n), LONG_USEC),
                      "%zu are stored, not %zu: %s", bench->n_held, n, bench->said);
}

static bool is_held(const Bench *bench, const FdstoreKey *key) {
        char name[FDSTORE_NAME_MAX];

        fdstore_format_name(key, "", name);
        for (size_t i = 0; i < bench->n_held; i++)
                if (strcmp(bench->held[i].name, name) == 0)
                        return true;
        return false;
}

static void assert_status(const Bench *bench, size_t n_stored, size_t n_waiting) {
        FdstoreStatus status;

        fdstore_get_status(bench->fdstore, &status);
        ck_assert_uint_eq(status.n_max, bench->n_held_max);
        ck_assert_uint_eq(status.n_stored, n_stored);
        ck_assert_uint_eq(status.n_waiting, n_waiting);
}

/* What can be told from its duplicates: fine for a connection. */
static int make_connection(void) {
        int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

        ck_assert_int_ge(fd, 0);
        return fd;
}

static const char *name_of(uint64_t serial, char name[static FDSTORE_NAME_MAX]) {
        return fdstore_format_name(&(FdstoreKey){ serial, 5 }, "", name);
}

static FdstoreEntry *adopt(Bench *bench, uint64_t serial, int fd) {
        char name[FDSTORE_NAME_MAX];

        return fdstore_adopt(bench->fdstore, name_of(serial, name), fd);
}

static FdstoreEntry *add(Bench *bench, uint64_t serial, int fd) {
        char name[FDSTORE_NAME_MAX];
        FdstoreEntry *entry = fdstore_add(bench->fdstore, name_of(serial, name), fd);

        ck_assert_ptr_nonnull(entry);
        return entry;
}

/* --- storing ------------------------------------------------------------------------------------------ */

START_TEST(test_a_connection_is_stored_when_it_is_a_second_old) {
        Bench *bench = bench_new(10);
        int fd = make_connection();
        uint64_t began = test_now(), value = 0;

        add(bench, 1, fd);
        ck_assert_str_eq(said(bench), "");
        assert_status(bench, 0, 1);
        wait_held(bench, 1);
        ck_assert_uint_ge(test_now() - began, FDSTORE_AGE_USEC);
        ck_assert_str_eq(said(bench), "+node-1-5");
        assert_status(bench, 1, 0);

        /* and it is that connection */
        ck_assert_int_eq(write(bench->held[0].fd, &(uint64_t){ 77 }, 8), 8);
        ck_assert_int_eq(read(fd, &value, 8), 8);
        ck_assert_uint_eq(value, 77);
        ck_assert_uint_eq(turn(bench->event), 0);
        bench_free(bench);
        close(fd);
}
END_TEST

START_TEST(test_connections_younger_than_a_second_touch_nobody) {
        Bench *bench = bench_new(10);
        int fd = make_connection();
        unsigned n_events = 0;

        for (unsigned i = 0; i < 2000; i++) {
                FdstoreEntry *entry = add(bench, i, fd);

                n_events += turn(bench->event);
                fdstore_drop(bench->fdstore, entry);
        }
        n_events += run_for(bench->event, FDSTORE_AGE_USEC + 300 * USEC_PER_MSEC);
        ck_assert_uint_le(n_events, 3);
        ck_assert_str_eq(said(bench), "");
        assert_status(bench, 0, 0);
        bench_free(bench);
        close(fd);
}
END_TEST

START_TEST(test_each_waits_for_its_own_second) {
        Bench *bench = bench_new(10);
        int fd = make_connection();
        uint64_t began;
        FdstoreEntry *first = add(bench, 1, fd);

        run_for(bench->event, FDSTORE_AGE_USEC / 2);
        fdstore_drop(bench->fdstore, first); /* for whom the timer was set */
        began = test_now();
        add(bench, 2, fd);
        wait_held(bench, 1);
        ck_assert_uint_ge(test_now() - began, FDSTORE_AGE_USEC);
        ck_assert_str_eq(said(bench), "+node-2-5");
        bench_free(bench);
        close(fd);
}
END_TEST

START_TEST(test_the_oldest_are_stored_first_and_a_place_that_becomes_free_is_taken) {
        Bench *bench = bench_new(3);
        int fd = make_connection();
        FdstoreEntry *entries[6];

        for (unsigned i = 0; i < ELEMENTS(entries); i++)
                entries[i] = add(bench, i, fd);
        wait_held(bench, 3);
        ck_assert_str_eq(said(bench), "+node-0-5 +node-1-5 +node-2-5");
        assert_status(bench, 3, 3);
        ck_assert_uint_le(run_for(bench->event, 200 * USEC_PER_MSEC), 2); /* nor does the loop spin */

        fdstore_drop(bench->fdstore, entries[1]);
        assert_status(bench, 3, 3); /* systemd was not told yet */
        ck_assert_str_eq(said(bench), "-node-1-5 +node-3-5");
        assert_status(bench, 3, 2);

        fdstore_drop(bench->fdstore, entries[4]); /* waits */
        fdstore_drop(bench->fdstore, entries[0]);
        fdstore_drop(bench->fdstore, entries[2]);
        ck_assert_str_eq(said(bench), "-node-0-5 -node-2-5 +node-5-5");
        assert_status(bench, 2, 0);
        bench_free(bench);
        close(fd);
}
END_TEST

START_TEST(test_a_removal_is_sent_for_what_was_stored_and_for_nothing_else) {
        Bench *bench = bench_new(10);
        int fd = make_connection();
        FdstoreEntry *stored = add(bench, 1, fd), *young;

        wait_held(bench, 1);
        young = add(bench, 2, fd);
        ck_assert(fdstore_is_stored(stored));
        ck_assert(!fdstore_is_stored(young));
        ck_assert(!fdstore_is_stored(NULL));
        ck_assert(fdstore_was_given(stored));
        ck_assert(!fdstore_was_given(young));
        ck_assert(!fdstore_was_given(NULL));
        ck_assert_str_eq(said(bench), "+node-1-5");
        fdstore_drop(bench->fdstore, young);
        fdstore_drop(bench->fdstore, NULL);
        ck_assert_str_eq(said(bench), "");
        fdstore_drop(bench->fdstore, stored);
        ck_assert_str_eq(said(bench), "-node-1-5");
        ck_assert_uint_eq(bench->n_held, 0);
        assert_status(bench, 0, 0);
        bench_free(bench);
        close(fd);
}
END_TEST

START_TEST(test_a_burst_lets_others_have_their_turn) {
        Bench *bench = bench_new(200);
        int fd = make_connection();

        for (unsigned i = 0; i < 200; i++)
                add(bench, i, fd);
        for (uint64_t end = test_now() + LONG_USEC; bench->n_held < 200 && test_now() < end;) {
                size_t n_before = bench->n_held;

                ck_assert_int_ge(sd_event_run(bench->event, 10 * USEC_PER_MSEC), 0);
                listen_to(bench, UINT32_MAX);
                ck_assert_uint_le(bench->n_held - n_before, 10);
        }
        ck_assert_uint_eq(bench->n_held, 200);
        bench_free(bench);
        close(fd);
}
END_TEST

/* --- PID 1 does not read ------------------------------------------------------------------------------ */

START_TEST(test_a_full_queue_keeps_nobody_waiting_and_no_removal_is_lost) {
        Bench *bench = bench_new(N_MANY);
        FdstoreEntry *entries[N_MANY];
        int fd = make_connection();
        FdstoreStatus status;
        uint64_t began;
        size_t n_told;

        for (unsigned i = 0; i < N_MANY; i++)
                entries[i] = add(bench, i, fd);
        run_for(bench->event, FDSTORE_AGE_USEC + 300 * USEC_PER_MSEC);
        fdstore_get_status(bench->fdstore, &status);
        n_told = status.n_stored;
        ck_assert_uint_gt(n_told, 0);
        ck_assert_uint_gt(status.n_waiting, 0);
        ck_assert_uint_eq(n_told + status.n_waiting, N_MANY);

        /* every other one goes, whether it was told or not */
        began = test_now();
        for (unsigned i = 0; i < N_MANY; i += 2)
                fdstore_drop(bench->fdstore, entries[i]);
        fdstore_flush(bench->fdstore);
        ck_assert_uint_le(run_for(bench->event, 300 * USEC_PER_MSEC), 3);
        ck_assert_uint_lt(test_now() - began, 2 * USEC_PER_SEC);
        fdstore_get_status(bench->fdstore, &status);
        ck_assert_uint_eq(status.n_stored, n_told); /* systemd has them */

        ck_assert(RUN_UNTIL(bench->event,
                            (listen_to(bench, UINT32_MAX), fdstore_get_status(bench->fdstore, &status),
                             status.n_waiting == 0 && status.n_stored == N_MANY / 2),
                            LONG_USEC));
        listen_to(bench, UINT32_MAX);
        ck_assert_uint_eq(bench->n_held, N_MANY / 2);
        for (unsigned i = 0; i < N_MANY; i++)
                ck_assert(is_held(bench, &(FdstoreKey){ i, 5 }) == i % 2);
        ck_assert_uint_eq(turn(bench->event), 0);
        bench_free(bench);
        close(fd);
}
END_TEST

START_TEST(test_a_place_is_not_free_before_its_removal_has_left) {
        Bench *bench = bench_new(N_MANY / 2);
        FdstoreEntry *entries[N_MANY / 2];
        int fd = make_connection();

        for (unsigned i = 0; i < ELEMENTS(entries); i++)
                entries[i] = adopt(bench, i, fd);
        /* as systemd has them */
        for (unsigned i = 0; i < ELEMENTS(entries); i++) {
                char name[FDSTORE_NAME_MAX];

                hold(bench, name_of(i, name), make_connection());
        }
        for (unsigned i = 0; i < ELEMENTS(entries); i++) {
                fdstore_drop(bench->fdstore, entries[i]);
                add(bench, 10000 + i, fd);
        }
        fdstore_flush(bench->fdstore); /* the queue takes some of the removals */
        turn(bench->event);
        fdstore_flush(bench->fdstore);
        /* Slowly read: hold() fails where a store overtakes the removal it needs. */
        for (unsigned i = 0; i < 10000 && (i < 4 || bench->said[0]); i++) {
                bench->said[0] = 0;
                listen_to(bench, 100);
                fdstore_flush(bench->fdstore);
        }
        ck_assert_uint_eq(bench->n_held, ELEMENTS(entries));
        for (unsigned i = 0; i < ELEMENTS(entries); i++)
                ck_assert(is_held(bench, &(FdstoreKey){ 10000 + i, 5 }));
        assert_status(bench, ELEMENTS(entries), 0);
        bench_free(bench);
        close(fd);
}
END_TEST

START_TEST(test_a_manager_that_is_away_is_asked_again_without_haste) {
        Bench *bench = bench_new(10);
        int fd = make_connection();
        unsigned n_events;
        FdstoreEntry *entry = add(bench, 1, fd);

        wait_held(bench, 1);
        close(bench->manager_fd);
        ck_assert_int_eq(unlink(bench->path), 0);
        fdstore_drop(bench->fdstore, entry);
        add(bench, 2, fd);
        n_events = run_for(bench->event, 2500 * USEC_PER_MSEC);
        ck_assert_uint_le(n_events, 12);
        assert_status(bench, 1, 1);

        bench->said[0] = 0;
        bench->manager_fd = manager_new(bench->path);
        ck_assert(RUN_UNTIL(bench->event, (listen_to(bench, UINT32_MAX), is_held(bench, &(FdstoreKey){ 2, 5 })),
                            LONG_USEC));
        ck_assert_str_eq(said(bench), "-node-1-5 +node-2-5");
        assert_status(bench, 1, 0);
        bench_free(bench);
        close(fd);
}
END_TEST

/* --- what systemd handed back ------------------------------------------------------------------------- */

START_TEST(test_what_was_handed_back_is_in_the_store) {
        Bench *bench = bench_new(2);
        int fd = make_connection();
        FdstoreEntry *entries[3];

        for (unsigned i = 0; i < ELEMENTS(entries); i++) /* one more than is allowed now */
                entries[i] = adopt(bench, i, fd);
        add(bench, 9, fd);
        run_for(bench->event, FDSTORE_AGE_USEC + 200 * USEC_PER_MSEC);
        ck_assert_str_eq(said(bench), "");
        assert_status(bench, 3, 1);
        fdstore_drop(bench->fdstore, entries[2]);
        ck_assert_str_eq(said(bench), "-node-2-5");
        assert_status(bench, 2, 1);
        fdstore_drop(bench->fdstore, entries[0]);
        ck_assert_str_eq(said(bench), "-node-0-5 +node-9-5");
        assert_status(bench, 2, 0);
        bench_free(bench);
        close(fd);
}
END_TEST

START_TEST(test_what_nobody_wants_is_removed_by_its_name_whatever_that_is) {
        Bench *bench = bench_new(4);
        char longest[257];

        memset(longest, 'x', sizeof longest);
        longest[255] = 0;
        fdstore_discard(bench->fdstore, "node-1-2");
        fdstore_discard(bench->fdstore, "stored");
        fdstore_discard(bench->fdstore, "");
        fdstore_discard(bench->fdstore, longest);
        assert_status(bench, 4, 0);
        turn(bench->event);
        expect_word(bench->manager_fd, "FDSTOREREMOVE=1\nFDNAME=node-1-2");
        expect_word(bench->manager_fd, "FDSTOREREMOVE=1\nFDNAME=stored");
        expect_word(bench->manager_fd, "FDSTOREREMOVE=1\nFDNAME=");
        ck_assert_int_gt(recv(bench->manager_fd, (char[512]){ 0 }, 512, 0), 255);
        expect_nothing(bench->manager_fd);
        assert_status(bench, 0, 0);

        longest[255] = 'x'; /* no name that systemd would have taken */
        longest[256] = 0;
        fdstore_discard(bench->fdstore, longest);
        ck_assert_str_eq(said(bench), "");
        bench_free(bench);
}
END_TEST

/* A removal goes by name: the one that stays must not go with it. */
START_TEST(test_what_shares_a_removed_name_is_stored_anew) {
        Bench *bench = bench_new(4);
        int stays_fd = make_connection(), goes_fd = make_connection(), third_fd = make_connection();
        FdstoreEntry *stays = adopt(bench, 1, stays_fd), *goes;

        adopt(bench, 2, third_fd);
        if (_i == 0)
                fdstore_discard(bench->fdstore, "node-1-5");
        else {
                goes = adopt(bench, 1, goes_fd);
                fdstore_drop(bench->fdstore, goes);
        }
        assert_status(bench, 2, 1);
        ck_assert(!fdstore_is_stored(stays));
        ck_assert(fdstore_was_given(stays)); /* systemd has it still */
        ck_assert_str_eq(said(bench), "-node-1-5 +node-1-5");
        ck_assert(fdstore_is_stored(stays));
        assert_status(bench, 2, 0);
        ck_assert_int_eq(write(bench->held[0].fd, &(uint64_t){ 1 }, 8), 8);
        ck_assert_int_eq(read(stays_fd, &(uint64_t){ 0 }, 8), 8);
        fdstore_drop(bench->fdstore, stays);
        ck_assert_str_eq(said(bench), "-node-1-5");
        bench_free(bench);
        close(stays_fd);
        close(goes_fd);
        close(third_fd);
}
END_TEST

/* --- the end ------------------------------------------------------------------------------------------ */

START_TEST(test_on_the_way_out_the_young_are_stored_too_as_far_as_there_is_room) {
        Bench *bench = bench_new(3);
        int fd = make_connection();
        FdstoreEntry *entries[5];

        for (unsigned i = 0; i < ELEMENTS(entries); i++)
                entries[i] = add(bench, i, fd);
        fdstore_drop(bench->fdstore, entries[1]);
        fdstore_flush(bench->fdstore);
        listen_to(bench, UINT32_MAX);
        ck_assert_str_eq(bench->said, "+node-0-5 +node-2-5 +node-3-5");
        bench->said[0] = 0;

        fdstore_drop(bench->fdstore, entries[2]);
        fdstore_flush(bench->fdstore);
        fdstore_flush(bench->fdstore);
        listen_to(bench, UINT32_MAX);
        ck_assert_str_eq(bench->said, "-node-2-5 +node-4-5");
        bench->said[0] = 0;
        bench->fdstore = fdstore_free(bench->fdstore);
        ck_assert_str_eq(said(bench), ""); /* they stay with systemd */
        ck_assert_uint_eq(bench->n_held, 3);
        bench_free(bench);
        close(fd);
}
END_TEST

/* --- no store ----------------------------------------------------------------------------------------- */

START_TEST(test_without_a_store_nothing_happens) {
        Bench *bench = bench_new(1);
        Fdstore *fdstore = NULL;
        int fd = make_connection();
        FdstoreStatus status;

        ck_assert_int_eq(fdstore_new(&fdstore, bench->event, _i ? bench->path : NULL, _i ? 0 : 512), 0);
        ck_assert_ptr_null(fdstore_add(fdstore, "node-1-1", fd));
        ck_assert_ptr_null(fdstore_adopt(fdstore, "node-1-1", fd));
        fdstore_drop(fdstore, NULL);
        fdstore_discard(fdstore, "node-1-1");
        fdstore_flush(fdstore);
        fdstore_get_status(fdstore, &status);
        ck_assert_uint_eq(status.n_max, 0);
        ck_assert_uint_eq(status.n_stored, 0);
        ck_assert_uint_eq(status.n_waiting, 0);
        ck_assert_uint_eq(turn(bench->event), 0);
        ck_assert_str_eq(said(bench), "");
        fdstore_free(fdstore);
        ck_assert_ptr_null(fdstore_free(NULL));
        bench_free(bench);
        close(fd);
}
END_TEST

START_TEST(test_an_address_that_is_none_is_an_error) {
        sd_event *event = make_event();
        Fdstore *fdstore = NULL;

        ck_assert_int_eq(fdstore_new(&fdstore, event, "relative", 512), -EINVAL);
        ck_assert_ptr_null(fdstore);
        sd_event_unref(event);
}
END_TEST

/* --- in any order ------------------------------------------------------------------------------------- */

/* Connections come, are handed back and go, and systemd reads when it likes: in the end it holds what is open,
 * and never more than it was told to. */
START_TEST(test_whatever_happens_in_whatever_order_systemd_holds_what_is_open) {
        Bench *bench = bench_new(20);
        FdstoreEntry *entries[60] = { NULL };
        uint64_t serials[ELEMENTS(entries)] = { 0 }, serial = 0;
        int fd = make_connection();
        FdstoreStatus status;
        size_t n_open = 0, n_right = 0;

        srand((unsigned)_i);
        for (unsigned step = 0; step < 3000; step++) {
                size_t i = (size_t)rand() % ELEMENTS(entries);

                bench->said[0] = 0;
                if (!entries[i]) {
                        serials[i] = ++serial;
                        entries[i] = add(bench, serial, fd);
                        n_open++;
                } else {
                        fdstore_drop(bench->fdstore, entries[i]);
                        entries[i] = NULL;
                        n_open--;
                }
                switch (rand() % 8) {
                case 0:
                        fdstore_flush(bench->fdstore);
                        break;
                case 1:
                        sd_event_run(bench->event, 0);
                        break;
                case 2:
                        listen_to(bench, (unsigned)rand() % 50);
                        break;
                }
        }
        for (int i = 0; i < 2; i++) {
                bench->said[0] = 0;
                listen_to(bench, UINT32_MAX);
                fdstore_flush(bench->fdstore);
        }
        listen_to(bench, UINT32_MAX);
        fdstore_get_status(bench->fdstore, &status);
        ck_assert_uint_eq(status.n_stored, n_open < 20 ? n_open : 20);
        ck_assert_uint_eq(status.n_stored + status.n_waiting, n_open);
        ck_assert_uint_eq(bench->n_held, status.n_stored);
        for (size_t i = 0; i < ELEMENTS(entries); i++)
                n_right += entries[i] && is_held(bench, &(FdstoreKey){ serials[i], 5 });
        ck_assert_uint_eq(bench->n_held, n_right);
        bench_free(bench);
        close(fd);
}
END_TEST

/* --- the list of what was handed back ----------------------------------------------------------------- */

static int keep(FdstoreKeptList *list, const char *name) {
        int pair[2], fd;

        ck_assert_int_eq(pipe(pair), 0); /* blocking, as systemd's are */
        close(pair[1]);
        fd = pair[0];
        ck_assert_int_eq(fdstore_kept_add(list, name, pair), 0);
        ck_assert_int_eq(pair[0], -1);
        return fd;
}

START_TEST(test_what_was_handed_back_is_found_by_what_it_is_of) {
        static const char *const handed_back[] = { "node-2-7", "stored", "node-10-3", "", "node-1-5-0-a", "node-2-3", "node-1-50", "node-1-5.",
                                                   "node-2-70-a", "node-2-7a" };
        FdstoreKeptList list = { 0 };
        int fds[ELEMENTS(handed_back)];
        FdstoreKept *found;

        for (size_t i = 0; i < ELEMENTS(handed_back); i++)
                fds[i] = keep(&list, handed_back[i]);
        ck_assert_uint_eq(list.n_kept, ELEMENTS(handed_back));
        for (size_t i = 1; i < list.n_kept; i++)
                ck_assert_int_lt(strcmp(list.kept[i - 1].name, list.kept[i].name), 0);
        for (size_t i = 0; i < ELEMENTS(handed_back); i++) {
                FdstoreKey key;

                ck_assert_int_ne(fcntl(fds[i], F_GETFL) & O_NONBLOCK, 0);
                ck_assert_int_ne(fcntl(fds[i], F_GETFD) & FD_CLOEXEC, 0);
                if (fdstore_parse_name(handed_back[i], &key, NULL) < 0)
                        continue;
                found = fdstore_kept_find(&list, &key);
                ck_assert_ptr_nonnull(found);
                ck_assert_int_eq(found->fd, fds[i]);
                ck_assert_str_eq(found->name, handed_back[i]);
        }
        ck_assert_ptr_null(fdstore_kept_find(&list, &(FdstoreKey){ 2, 5 }));
        ck_assert_ptr_null(fdstore_kept_find(&list, &(FdstoreKey){ 99, 99 }));

        /* one is taken */
        found = fdstore_kept_find(&list, &(FdstoreKey){ 10, 3 });
        ck_assert_int_eq(TAKE_FD(found->fd), fds[2]);
        ck_assert_ptr_null(fdstore_kept_find(&list, &(FdstoreKey){ 10, 3 }));
        fdstore_kept_done(&list);
        ck_assert_uint_eq(list.n_kept, 0);
        ck_assert_ptr_null(list.kept);
        ck_assert_ptr_null(fdstore_kept_find(&list, &(FdstoreKey){ 1, 5 }));
        for (size_t i = 0; i < ELEMENTS(handed_back); i++)
                ck_assert((fcntl(fds[i], F_GETFD) >= 0) == (i == 2));
        fdstore_kept_done(&list);
        close(fds[2]);
}
END_TEST

START_TEST(test_two_of_one_name_are_found_one_after_the_other) {
        FdstoreKeptList list = { 0 };
        const FdstoreKey key = { 1, 5 };
        int fds[2], sum = 0;

        keep(&list, "node-0-0");
        fds[0] = keep(&list, "node-1-5");
        fds[1] = keep(&list, "node-1-5");
        keep(&list, "node-9-9");
        for (int i = 0; i < 2; i++) {
                FdstoreKept *found = fdstore_kept_find(&list, &key);

                ck_assert_ptr_nonnull(found);
                sum += found->fd;
                close(TAKE_FD(found->fd));
        }
        ck_assert_int_eq(sum, fds[0] + fds[1]);
        ck_assert_ptr_null(fdstore_kept_find(&list, &key));
        fdstore_kept_done(&list);
}
END_TEST

START_TEST(test_what_is_no_descriptor_is_not_kept) {
        FdstoreKeptList list = { 0 };
        int fd = 9999;

        ck_assert_int_eq(fdstore_kept_add(&list, "node-1-5", &fd), -EBADF);
        ck_assert_int_eq(fd, 9999);
        ck_assert_uint_eq(list.n_kept, 0);
        fdstore_kept_done(&list);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("fdstore");
        TCase *tcase = tcase_create("names");

        tcase_add_loop_test(tcase, test_a_name_says_which_registration_it_is_and_back, 0, ELEMENTS(names));
        tcase_add_loop_test(tcase, test_what_we_would_not_have_written_is_none_of_ours, 0, ELEMENTS(foreign_names));
        tcase_add_test(tcase, test_a_label_that_is_too_long_is_cut);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("store");
        tcase_set_timeout(tcase, 60);
        tcase_add_unchecked_fixture(tcase, make_test_root, remove_test_root);
        tcase_add_test(tcase, test_a_connection_is_stored_when_it_is_a_second_old);
        tcase_add_test(tcase, test_connections_younger_than_a_second_touch_nobody);
        tcase_add_test(tcase, test_each_waits_for_its_own_second);
        tcase_add_test(tcase, test_the_oldest_are_stored_first_and_a_place_that_becomes_free_is_taken);
        tcase_add_test(tcase, test_a_removal_is_sent_for_what_was_stored_and_for_nothing_else);
        tcase_add_test(tcase, test_a_burst_lets_others_have_their_turn);
        tcase_add_test(tcase, test_a_full_queue_keeps_nobody_waiting_and_no_removal_is_lost);
        tcase_add_test(tcase, test_a_place_is_not_free_before_its_removal_has_left);
        tcase_add_test(tcase, test_a_manager_that_is_away_is_asked_again_without_haste);
        tcase_add_test(tcase, test_what_was_handed_back_is_in_the_store);
        tcase_add_test(tcase, test_what_nobody_wants_is_removed_by_its_name_whatever_that_is);
        tcase_add_loop_test(tcase, test_what_shares_a_removed_name_is_stored_anew, 0, 2);
        tcase_add_test(tcase, test_on_the_way_out_the_young_are_stored_too_as_far_as_there_is_room);
        tcase_add_loop_test(tcase, test_without_a_store_nothing_happens, 0, 2);
        tcase_add_test(tcase, test_an_address_that_is_none_is_an_error);
        tcase_add_loop_test(tcase, test_whatever_happens_in_whatever_order_systemd_holds_what_is_open, 1, 9);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("kept");
        tcase_add_test(tcase, test_what_was_handed_back_is_found_by_what_it_is_of);
        tcase_add_test(tcase, test_two_of_one_name_are_found_one_after_the_other);
        tcase_add_test(tcase, test_what_is_no_descriptor_is_not_kept);
        suite_add_tcase(suite, tcase);
        return suite;
}
