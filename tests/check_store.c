/* SPDX-License-Identifier: Apache-2.0 */

#include <glob.h>
#include <inttypes.h>
#include <poll.h>
#include <sys/file.h>
#include <time.h>

#include "check_main.h"
#include "core/registry.h"
#include "state/aside.h"
#include "state/store.h"
#include "state_test.h"

#define NOBODY 65534
#define NOW UINT64_C(1763700000000000)
/* Long enough for a machine that does other things, too; nothing below waits for its end. */
#define PATIENCE_USEC (20 * USEC_PER_SEC)

static void set_up(void) {
        disk_install();
        use_path("registry.db");
}

/* Waits for the store to tell that something has changed, until `condition`. */
#define WAIT(store, condition)                                                                  \
        do {                                                                                    \
                uint64_t until_ = monotonic() + PATIENCE_USEC;                                  \
                while (!(condition)) {                                                          \
                        ck_assert_msg(monotonic() < until_, "never: %s; %s", #condition,        \
                                      describe(store));                                         \
                        wait_for_event(store);                                                  \
                }                                                                               \
        } while (0)

static uint64_t monotonic(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / 1000;
}

static const char *describe(Store *store) {
        static char text[512];
        StoreStatus status;

        store_get_status(store, &status);
        snprintf(text, sizeof text, "%s (%s), %zu queued, committed %" PRIu64,
                 store_health_to_string(status.health), status.detail, status.n_queued,
                 status.committed_revision);
        return text;
}

static void wait_for_event(Store *store) {
        struct pollfd event = { .fd = store_event_fd(store), .events = POLLIN };

        /* Not all that a test asks for has an event (a file's size); hence the limit. */
        poll(&event, 1, 20);
        store_clear_event(store);
}

/* --- the loop's part ------------------------------------------------------------------------ */

static Store *try_start(const char *where, int *ret_result, pid_t *ret_holder) {
        StoreOptions options = { .path = where,
                                 .boot_id = "boot-1",
                                 .history_days = 36500,
                                 .history_rows = 100000,
                                 .history_per_name = 1000 };
        Store *store = NULL;

        *ret_result = store_new(&store, &options, ret_holder);
        return store;
}

static Store *start(void) {
        pid_t holder = 0;
        int r;
        Store *store = try_start(path, &r, &holder);

        ck_assert_int_eq(r, 0);
        return store;
}

static StoreLoaded *take(Store *store) {
        StoreLoaded *loaded;

        ck_assert_int_eq(store_wait_loaded(store, PATIENCE_USEC), 0);
        loaded = store_take_loaded(store);
        ck_assert_ptr_nonnull(loaded);
        return loaded;
}

static Store *start_and_load(void) {
        Store *store = start();

        store_loaded_free(take(store));
        return store;
}

static void stop(Store *store) {
        ck_assert_int_eq(store_stop(store, PATIENCE_USEC), 0);
        store_free(store);
}

static void submit_put(Store *store, uint64_t revision, const char *name) {
        _cleanup_(node_freep) Node *node = new_node(name, revision);

        ck_assert_int_eq(store_submit_put(store, revision, node), 0);
}

static void submit_end(Store *store, uint64_t revision, const char *name, uint64_t serial) {
        _cleanup_(node_freep) Node *node = new_node(name, serial);

        ck_assert_int_eq(store_submit_end(store, revision, node, NODE_END_LEFT, NULL, NOW), 0);
}

/* `names` separated by blanks; serials 1, 2, ... */
static void submit_whole(Store *store, uint64_t revision, const char *names, uint32_t creations) {
        _cleanup_(freep) char *copy = strdup(names);
        Node *nodes[16];
        size_t n = 0;

        for (char *name = strtok(copy, " "); name; name = strtok(NULL, " "), n++)
                nodes[n] = new_node(name, n + 1);
        ck_assert_int_eq(store_submit_whole(store, revision, nodes, n, creations), 0);
        while (n > 0)
                node_free(nodes[--n]);
}

static void wait_committed(Store *store, uint64_t revision) {
        WAIT(store, store_committed_revision(store) >= revision);
        ck_assert_uint_eq(store_committed_revision(store), revision);
}

static void put_and_commit(Store *store, uint64_t revision, const char *name) {
        submit_put(store, revision, name);
        wait_committed(store, revision);
}

static StoreStatus status_of(Store *store) {
        StoreStatus status;

        store_get_status(store, &status);
        return status;
}

/* Forgets notices until one has `words`. */
static bool has_notice(Store *store, const char *words) {
        char notice[STORE_NOTICE_MAX];

        while (store_take_notice(store, notice))
                if (strstr(notice, words))
                        return true;
        return false;
}

#define ck_assert_names(file, expected) \
        ck_assert_answer((file), "SELECT group_concat(name, ' ') FROM (SELECT name FROM nodes)", (expected))

/* --- how it should be ----------------------------------------------------------------------- */

START_TEST(test_without_a_file_everything_is_committed_at_once) {
        pid_t holder;
        int r;
        Store *store = try_start(NULL, &r, &holder);
        StoreLoaded *loaded;

        ck_assert_int_eq(r, 0);
        ck_assert_int_eq(store_health(store), STORE_NO_FILE);
        loaded = take(store);
        ck_assert_uint_eq(loaded->n_nodes, 0);
        ck_assert_uint_ge(loaded->first_creation, 1700000000);
        store_loaded_free(loaded);
        submit_put(store, 3, "a");
        ck_assert_uint_eq(store_committed_revision(store), 3);
        submit_end(store, 4, "a", 3);
        ck_assert_uint_eq(store_committed_revision(store), 4);
        submit_whole(store, 5, "a b", 0);
        ck_assert_uint_eq(store_committed_revision(store), 5);
        ck_assert(!store_wants_whole(store));
        store_set_hanging(store, true);
        ck_assert_int_eq(store_health(store), STORE_NO_FILE);
        stop(store);
}
END_TEST

START_TEST(test_what_is_committed_is_in_the_file_and_loaded_by_the_next_run) {
        Store *store = start();
        StoreLoaded *loaded = take(store);

        ck_assert_int_eq(store_health(store), STORE_OK);
        ck_assert_uint_eq(loaded->n_nodes, 0);
        ck_assert_uint_eq(loaded->n_formers, 0);
        ck_assert_ptr_null(loaded->boot_id);
        store_loaded_free(loaded);
        ck_assert_ptr_null(store_take_loaded(store));
        ck_assert_int_eq(store_submit_creations(store, 0, 4000000000), 0);
        put_and_commit(store, 1, "a");
        ck_assert_names(path, "a");
        put_and_commit(store, 2, "b");
        submit_put(store, 3, "c");
        submit_end(store, 4, "b", 2);
        wait_committed(store, 4);
        ck_assert_names(path, "a c");
        ck_assert_int_eq(store_health(store), STORE_OK);
        stop(store);

        store = start();
        loaded = take(store);
        ck_assert_uint_eq(loaded->n_nodes, 2);
        ck_assert_str_eq(loaded->nodes[0]->info.name, "a");
        ck_assert_str_eq(loaded->nodes[1]->info.name, "c");
        ck_assert(loaded->nodes[0]->facts.is_awaited);
        ck_assert_uint_eq(loaded->n_formers, 1);
        ck_assert_str_eq(loaded->formers[0]->info.name, "b");
        ck_assert_uint_eq(loaded->first_creation, 4000000000);
        ck_assert_uint_eq(loaded->last_serial, 3);
        ck_assert_pstr_eq(loaded->boot_id, "boot-1");
        store_loaded_free(loaded);
        ck_assert(!store_wants_whole(store));
        stop(store);
}
END_TEST

START_TEST(test_a_second_store_is_told_who_holds_the_file) {
        Store *store = start_and_load();
        pid_t holder = 0;
        int r;

        ck_assert_ptr_null(try_start(path, &r, &holder));
        ck_assert_int_eq(r, -EBUSY);
        ck_assert_int_eq(holder, getpid());
        put_and_commit(store, 1, "a");
        stop(store);
        store = start_and_load();
        stop(store);
}
END_TEST

START_TEST(test_missing_directories_are_made_for_owner_and_group_whatever_the_umask) {
        mode_t former = umask(077);

        use_path("lib/rollcall/registry.db");
        stop(start_and_load());
        umask(former);
        ck_assert_uint_eq(file_mode(in_dir("lib")), 0755);
        ck_assert_uint_eq(file_mode(in_dir("lib/rollcall")), 0750);
        ck_assert_uint_eq(file_mode(path), 0640);
        ck_assert_uint_eq(file_mode(in_dir("lib/rollcall/registry.db.lock")), 0600);
        ck_assert_uint_eq(file_mode(in_dir("lib/rollcall/registry.db-wal")), 0640);
        ck_assert_uint_eq(file_mode(in_dir("lib/rollcall/registry.db-shm")), 0640);
}
END_TEST

START_TEST(test_changes_that_gather_share_their_transactions) {
        Store *store = start_and_load();
        _cleanup_(node_freep) Node *node = new_node("a", 1);
        const uint64_t n = 20000;

        for (uint64_t i = 1; i <= n; i++)
                ck_assert_int_eq(store_submit_put(store, i, node), 0);
        wait_committed(store, n);
        ck_assert_uint_eq(status_of(store).n_changes, n);
        ck_assert_uint_lt(status_of(store).n_commits, n / 10);
        ck_assert_uint_eq(status_of(store).n_queued, 0);
        stop(store);
}
END_TEST

START_TEST(test_the_status_tells_of_the_file) {
        Store *store = start_and_load();
        StoreStatus status = status_of(store);

        ck_assert_uint_eq(status.schema_version, 3);
        ck_assert_uint_gt(status.file_bytes, 0);
        put_and_commit(store, 1, "a");
        status = status_of(store);
        ck_assert_int_eq(status.health, STORE_OK);
        ck_assert_str_eq(status.path, path);
        ck_assert_str_eq(status.detail, "");
        ck_assert_uint_eq(status.schema_version, 3);
        ck_assert_uint_eq(status.n_commits, 1);
        ck_assert_uint_eq(status.n_failures, 0);
        ck_assert_uint_eq(status.committed_revision, 1);
        ck_assert_uint_eq(status.wal_bytes, (uint64_t)file_size(in_dir("registry.db-wal")));
        ck_assert_uint_eq(status.file_bytes, (uint64_t)file_size(path));
        ck_assert_uint_gt(status.file_bytes, 0);
        stop(store);
}
END_TEST

START_TEST(test_a_stop_writes_what_is_queued_and_leaves_a_short_log) {
        Store *store = start_and_load();

        for (uint64_t i = 1; i <= 12000; i++)
                submit_put(store, i, i % 2 ? "a" : "b");
        stop(store);
        ck_assert_names(path, "a b");
        ck_assert_int_eq(ask_number(path, "SELECT max(serial) FROM registrations"), 12000);
        ck_assert_int_eq(file_size(in_dir("registry.db-wal")), 0);
        ck_assert(exists(in_dir("registry.db-shm")));
}
END_TEST

/* --- kill -9 -------------------------------------------------------------------------------- */

/* Registers one name after the other and says so once it is committed; never ends by itself. */
static void register_and_tell(const char *where, int tell_fd) {
        pid_t holder;
        int r;
        Store *store = try_start(where, &r, &holder);

        if (r < 0 || store_wait_loaded(store, PATIENCE_USEC) < 0)
                _exit(1);
        for (uint32_t i = 1;; i++) {
                char name[32];
                Node *node;

                snprintf(name, sizeof name, "n%" PRIu32, i);
                node = new_node(name, i);
                if (store_submit_put(store, i, node) < 0)
                        _exit(2);
                node_free(node);
                while (store_committed_revision(store) < i)
                        wait_for_event(store);
                if (write(tell_fd, &i, sizeof i) != sizeof i)
                        _exit(3);
        }
}

START_TEST(test_after_kill_9_everything_that_was_acknowledged_is_there) {
        int told[2];
        uint32_t last = 0, next;
        pid_t pid;
        StoreLoaded *loaded;
        Store *store;

        ck_assert_int_eq(pipe(told), 0);
        pid = fork();
        if (pid == 0)
                register_and_tell(path, told[1]);
        close(told[1]);
        for (int i = 0; i < 1 + 50 * _i; i++)
                ck_assert_int_eq(read(told[0], &last, sizeof last), sizeof last);
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        while (read(told[0], &next, sizeof next) == sizeof next)
                last = next;
        close(told[0]);

        store = start();
        loaded = take(store);
        /* One more may have been committed and not told. */
        ck_assert_uint_ge(loaded->n_nodes, last);
        ck_assert_uint_le(loaded->n_nodes, last + 1);
        for (uint32_t i = 0; i < last; i++)
                ck_assert_uint_eq(loaded->nodes[i]->serial, i + 1);
        store_loaded_free(loaded);
        stop(store);
}
END_TEST

/* --- a disk that does not do as asked ------------------------------------------------------- */

START_TEST(test_while_commits_fail_nothing_is_acknowledged_and_nothing_is_lost) {
        static const struct {
                int rc;
                const char *words;
        } cases[] = { { SQLITE_FULL, "full" }, { SQLITE_IOERR_WRITE, "disk I/O error" } };
        Store *store = start_and_load();

        put_and_commit(store, 1, "a");
        disk_match = "-wal";
        disk_write_result = cases[_i].rc;
        submit_put(store, 2, "b");
        submit_end(store, 3, "a", 1);
        WAIT(store, store_health(store) == STORE_FAILING);
        ck_assert_ptr_nonnull(strstr(status_of(store).detail, cases[_i].words));
        ck_assert_ptr_nonnull(strstr(status_of(store).detail, path));
        submit_put(store, 4, "c");
        store_poke(store);
        WAIT(store, status_of(store).n_failures >= 2);
        ck_assert_uint_eq(store_committed_revision(store), 1);
        ck_assert_uint_eq(status_of(store).n_queued, 3);

        disk_write_result = 0;
        store_poke(store);
        /* After an I/O error the file is not trusted to have all. */
        if (cases[_i].rc == SQLITE_IOERR_WRITE) {
                WAIT(store, store_wants_whole(store));
                submit_whole(store, 4, "b c", 0);
        }
        wait_committed(store, 4);
        WAIT(store, store_health(store) == STORE_OK);
        ck_assert_str_eq(status_of(store).detail, "");
        ck_assert_names(path, "b c");
        ck_assert_answer(path, "SELECT group_concat(name) FROM history", "a");
        stop(store);
}
END_TEST

START_TEST(test_somebody_elses_transaction_delays_and_loses_nothing) {
        Store *store = start_and_load();
        sqlite3 *other = NULL;

        ck_assert_int_eq(sqlite3_open(path, &other), SQLITE_OK);
        sqlite3_busy_timeout(other, 5000); /* the store looks after its history at first */
        ck_assert_int_eq(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
        submit_put(store, 1, "a");
        WAIT(store, store_health(store) == STORE_FAILING);
        ck_assert_ptr_nonnull(strstr(status_of(store).detail, "locked"));
        ck_assert_uint_eq(store_committed_revision(store), 0);
        ck_assert_int_eq(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(other);
        store_poke(store);
        wait_committed(store, 1);
        ck_assert(!store_wants_whole(store));
        WAIT(store, store_health(store) == STORE_OK);
        stop(store);
}
END_TEST

START_TEST(test_a_disk_that_hangs_holds_up_nobody_and_heals) {
        Store *store = start_and_load();
        StoreStatus status;

        disk_hang(DISK_SYNC);
        ck_assert_int_eq(store_submit_creations(store, 0, 4000000000), 0);
        submit_put(store, 1, "a");
        disk_wait_until_hung();
        submit_put(store, 2, "b");
        status = status_of(store);
        ck_assert_uint_ge(status.n_queued, 1);
        ck_assert_uint_eq(store_committed_revision(store), 0);
        ck_assert_int_eq(store_health(store), STORE_OK);
        store_set_hanging(store, true);
        ck_assert_int_eq(store_health(store), STORE_HANGING);

        disk_hang(0);
        wait_committed(store, 2);
        store_set_hanging(store, false);
        ck_assert_int_eq(store_health(store), STORE_OK);
        ck_assert_names(path, "a b");
        stop(store);
}
END_TEST

START_TEST(test_a_disk_that_hangs_keeps_nobody_from_stopping) {
        Store *store = start_and_load();

        disk_hang(DISK_SYNC);
        ck_assert_int_eq(store_submit_creations(store, 0, 4000000000), 0);
        disk_wait_until_hung();
        ck_assert_int_eq(store_stop(store, 1000), -ETIMEDOUT);
        store_free(store);
        /* The thread, left behind, uses only what is its own. */
        disk_hang(0);
}
END_TEST

START_TEST(test_a_disk_that_hangs_at_start_is_not_waited_for) {
        Store *store;

        stop(start_and_load());
        disk_hang(DISK_OPEN);
        store = start();
        disk_wait_until_hung();
        ck_assert_int_eq(store_wait_loaded(store, 1000), -ETIMEDOUT);
        ck_assert_ptr_null(store_take_loaded(store));
        ck_assert_int_eq(store_health(store), STORE_OPENING);
        submit_put(store, 1, "a");
        disk_hang(0);
        store_loaded_free(take(store));
        wait_committed(store, 1);
        ck_assert_int_eq(store_health(store), STORE_OK);
        stop(store);
}
END_TEST

START_TEST(test_what_cannot_be_read_at_first_is_loaded_late) {
        Store *store = start_and_load();
        StoreLoaded *loaded;

        ck_assert_int_eq(store_submit_creations(store, 0, 4000000000), 0);
        submit_put(store, 1, "a");
        put_and_commit(store, 2, "b");
        stop(store);

        disk_match = "registry.db";
        disk_open_result = SQLITE_CANTOPEN;
        store = start();
        loaded = take(store);
        ck_assert_uint_eq(loaded->n_nodes, 0);
        ck_assert_uint_eq(loaded->first_creation, 4000000000); /* from the lock file */
        store_loaded_free(loaded);
        ck_assert_int_eq(store_health(store), STORE_FAILING);
        submit_put(store, 11, "a"); /* takes the name of a row that nobody has read */

        disk_open_result = 0;
        store_poke(store);
        wait_committed(store, 11);
        loaded = store_take_loaded(store);
        ck_assert_ptr_nonnull(loaded);
        ck_assert_uint_eq(loaded->n_nodes, 2);
        store_loaded_free(loaded);
        submit_end(store, 12, "a", 1); /* as its header says, for the former holder */
        wait_committed(store, 12);
        ck_assert_names(path, "a b");
        ck_assert_int_eq(ask_number(path, "SELECT serial FROM registrations WHERE name = 'a'"), 11);
        ck_assert_int_eq(ask_number(path, "SELECT serial FROM tenures"), 1);
        stop(store);
}
END_TEST

/* As a user who may not write in the directory at first. */
static int heal_a_read_only_directory(const char *directory) {
        char file[PATH_MAX];
        pid_t holder;
        int r;
        Store *store;

        snprintf(file, sizeof file, "%s/registry.db", directory);
        if (chmod(directory, 0555) < 0)
                return 1;
        store = try_start(file, &r, &holder);
        if (r != 0 || store_wait_loaded(store, PATIENCE_USEC) != 0)
                return 2;
        submit_put(store, 1, "a");
        while (store_health(store) != STORE_FAILING)
                wait_for_event(store);
        if (!strstr(status_of(store).detail, "Permission denied"))
                return 3;
        if (chmod(directory, 0755) < 0)
                return 4;
        store_poke(store);
        while (store_committed_revision(store) != 1)
                wait_for_event(store);
        return store_stop(store, PATIENCE_USEC) == 0 ? 0 : 5;
}

START_TEST(test_a_directory_that_may_not_be_written_is_a_failure_that_heals) {
        const char *directory = in_dir("state");

        if (geteuid() != 0)
                return; /* only root can be somebody else */
        ck_assert_int_eq(mkdir(directory, 0755), 0);
        ck_assert_int_eq(chown(directory, NOBODY, NOBODY), 0);
        ck_assert_int_eq(run_child(NOBODY, NOBODY, heal_a_read_only_directory, directory), 0);
        ck_assert_names(in_dir("state/registry.db"), "a");
}
END_TEST

/* Neither directory nor file may be written, and there is no lock file yet: the rows are known. */
static int load_what_may_only_be_read(const char *file) {
        pid_t holder;
        int r;
        Store *store = try_start(file, &r, &holder);
        StoreLoaded *loaded;

        if (r != 0 || store_wait_loaded(store, PATIENCE_USEC) != 0)
                return 1;
        loaded = store_take_loaded(store);
        if (!loaded || loaded->n_nodes != 1 || loaded->first_creation != 4000000000)
                return 2;
        while (store_health(store) != STORE_FAILING)
                wait_for_event(store);
        if (store_stop(store, PATIENCE_USEC) != -ETIMEDOUT)
                return 3;
        return 0;
}

START_TEST(test_what_may_only_be_read_is_loaded) {
        Store *store;

        if (geteuid() != 0)
                return; /* only root can be somebody else */
        store = start_and_load();
        ck_assert_int_eq(store_submit_creations(store, 0, 4000000000), 0);
        put_and_commit(store, 1, "a");
        stop(store);
        ck_assert_int_eq(chmod(path, 0644), 0);
        ck_assert_int_eq(chmod(in_dir("registry.db-wal"), 0644), 0);
        ck_assert_int_eq(chmod(in_dir("registry.db-shm"), 0644), 0);
        if (_i == 0)
                ck_assert_int_eq(unlink(in_dir("registry.db.lock")), 0);
        else
                ck_assert_int_eq(chmod(in_dir("registry.db.lock"), 0644), 0);
        ck_assert_int_eq(run_child(NOBODY, NOBODY, load_what_may_only_be_read, path), 0);
}
END_TEST

/* --- P6 ------------------------------------------------------------------------------------- */

START_TEST(test_a_queue_that_overflows_is_dropped_and_the_file_written_whole) {
        Store *store = start_and_load();
        _cleanup_(node_freep) Node *node = new_node("a", 1);
        uint64_t revision = 0;

        disk_hang(DISK_SYNC);
        ck_assert_int_eq(store_submit_creations(store, 0, 3000000000), 0);
        disk_wait_until_hung();
        ck_assert_int_eq(store_submit_creations(store, 0, 4000000000), 0);
        while (!store_wants_whole(store)) {
                ck_assert_int_eq(store_submit_put(store, ++revision, node), 0);
                ck_assert_uint_le(revision, STORE_QUEUE_MAX + 1);
        }
        ck_assert_uint_ge(status_of(store).n_dropped, STORE_QUEUE_MAX - 10);
        ck_assert_uint_le(status_of(store).n_queued, 10);

        disk_hang(0);
        WAIT(store, status_of(store).n_queued == 0);
        ck_assert_uint_lt(store_committed_revision(store), revision);
        submit_whole(store, revision, "x y", 0);
        ck_assert(!store_wants_whole(store));
        wait_committed(store, revision);
        ck_assert_names(path, "x y");
        ck_assert_int_eq(ask_number(path, "SELECT creation_reserved FROM registry"), 4000000000);
        stop(store);
}
END_TEST

START_TEST(test_a_queue_is_bounded_in_bytes_too) {
        Store *store = start_and_load();
        char extra[NODE_EXTRA_BYTES_MAX] = "";
        NodeInfo info = { .name = "a", .n_name = 1, .extra = (const uint8_t *)extra, .n_extra = sizeof extra };
        _cleanup_(node_freep) Node *node = node_new(&info);
        uint64_t revision = 0;

        node->serial = 1;
        disk_hang(DISK_SYNC);
        ck_assert_int_eq(store_submit_creations(store, 0, 3000000000), 0);
        disk_wait_until_hung();
        while (!store_wants_whole(store))
                ck_assert_int_eq(store_submit_put(store, ++revision, node), 0);
        ck_assert_uint_lt(revision, STORE_QUEUE_BYTES_MAX / sizeof extra);
        submit_whole(store, revision, "x", 0);
        disk_hang(0);
        wait_committed(store, revision);
        stop(store);
}
END_TEST

/* --- P1 and P2: files that are lost --------------------------------------------------------- */

START_TEST(test_a_file_that_is_deleted_is_noticed_and_made_anew) {
        Store *store = start_and_load();

        put_and_commit(store, 1, "a");
        ck_assert_int_eq(unlink(path), 0);
        if (_i > 0) {
                ck_assert_int_eq(unlink(in_dir("registry.db-wal")), 0);
                ck_assert_int_eq(unlink(in_dir("registry.db-shm")), 0);
        }
        submit_put(store, 2, "b");
        WAIT(store, store_wants_whole(store));
        WAIT(store, status_of(store).n_queued == 0);
        ck_assert_uint_eq(store_committed_revision(store), 1);
        ck_assert(has_notice(store, "was deleted"));
        submit_whole(store, 2, "a b", 0);
        wait_committed(store, 2);
        ck_assert_names(path, "a b");
        ck_assert_int_eq(store_health(store), STORE_OK);
        put_and_commit(store, 3, "c");
        stop(store);
}
END_TEST

START_TEST(test_a_deleted_file_is_noticed_while_nothing_is_written) {
        Store *store = start_and_load();

        put_and_commit(store, 1, "a");
        ck_assert_int_eq(unlink(path), 0);
        WAIT(store, store_wants_whole(store)); /* within a second, unasked */
        submit_whole(store, 1, "a", 0);
        WAIT(store, exists(path) && status_of(store).n_queued == 0);
        ck_assert_names(path, "a");
        stop(store);
}
END_TEST

START_TEST(test_a_directory_that_is_deleted_is_made_anew_with_lock_and_file) {
        Store *store;

        use_path("state/registry.db");
        store = start_and_load();
        ck_assert_int_eq(store_submit_creations(store, 0, 4000000000), 0);
        put_and_commit(store, 1, "a");
        nftw(in_dir("state"), remove_entry, 16, FTW_DEPTH | FTW_PHYS);
        ck_assert(!exists(in_dir("state")));
        store_poke(store);
        WAIT(store, store_wants_whole(store));
        submit_whole(store, 2, "a", 0);
        wait_committed(store, 2);
        ck_assert_names(path, "a");
        ck_assert_uint_eq(file_mode(in_dir("state")), 0750);
        ck_assert_int_eq(ask_number(path, "SELECT creation_reserved FROM registry"), 4000000000);
        ck_assert(exists(in_dir("state/registry.db.lock")));
        stop(store);
}
END_TEST

static void copy_file(const char *from, const char *to) {
        static char data[1 << 20];
        _cleanup_(close_fdp) int fd = open(from, O_RDONLY | O_CLOEXEC);
        ssize_t n;

        ck_assert_int_ge(fd, 0);
        n = read(fd, data, sizeof data);
        ck_assert_int_gt(n, 0);
        write_file(to, data, (size_t)n);
}

START_TEST(test_a_backup_that_is_put_in_place_keeps_its_history_and_gets_our_registrations) {
        Store *store = start_and_load();

        submit_put(store, 1, "former");
        submit_end(store, 2, "former", 1);
        put_and_commit(store, 3, "stale");
        stop(store);
        copy_file(path, in_dir("backup"));
        store = start_and_load();
        submit_end(store, 4, "stale", 3);
        ck_assert_int_eq(store_submit_creations(store, 5, 4000000000), 0);
        put_and_commit(store, 5, "a");

        ck_assert_int_eq(rename(in_dir("backup"), path), 0);
        submit_put(store, 6, "b");
        WAIT(store, store_wants_whole(store));
        ck_assert(has_notice(store, "was replaced"));
        submit_whole(store, 6, "a b", 0);
        wait_committed(store, 6);
        ck_assert_names(path, "a b");
        ck_assert_answer(path, "SELECT name FROM history", "former");
        ck_assert_int_eq(ask_number(path, "SELECT creation_reserved FROM registry"), 4000000000);
        stop(store);
}
END_TEST

/* Sets aside, by their main files. */
static size_t count_sets(void) {
        glob_t found = { 0 };
        size_t n = 0;

        if (glob(in_dir("registry.db.corrupt-*Z"), 0, NULL, &found) == 0)
                n = found.gl_pathc;
        globfree(&found);
        return n;
}

START_TEST(test_garbage_that_is_put_in_place_is_set_aside) {
        Store *store = start_and_load();

        put_and_commit(store, 1, "a");
        write_file(in_dir("garbage"), "this is no database, and longer than a head of one: "
                                      "................................................", 100);
        ck_assert_int_eq(rename(in_dir("garbage"), path), 0);
        submit_put(store, 2, "b");
        WAIT(store, store_wants_whole(store));
        submit_whole(store, 2, "a b", 0);
        wait_committed(store, 2);
        ck_assert_names(path, "a b");
        ck_assert_uint_eq(count_sets(), 1);
        ck_assert(has_notice(store, "set aside as"));
        stop(store);
}
END_TEST

static void damage(const char *file, off_t at, size_t n) {
        _cleanup_(close_fdp) int fd = open(file, O_WRONLY | O_CLOEXEC);
        _cleanup_(freep) char *garbage = malloc(n);

        ck_assert_int_ge(fd, 0);
        memset(garbage, 0xa5, n);
        ck_assert_int_eq(pwrite(fd, garbage, n, at), (ssize_t)n);
}

/* A file with rows, history and reserved creations, left cleanly. */
static void make_file(void) {
        Store *store = start_and_load();

        ck_assert_int_eq(store_submit_creations(store, 0, 4000000000), 0);
        for (uint64_t i = 1; i <= 300; i++) {
                char name[32];

                snprintf(name, sizeof name, "n%d", (int)i);
                submit_put(store, i, name);
                submit_end(store, i, name, i + 1000); /* somebody's before it */
        }
        wait_committed(store, 300);
        stop(store);
}

START_TEST(test_a_damaged_file_is_set_aside_at_start_and_creations_go_on) {
        Store *store;
        StoreLoaded *loaded;

        make_file();
        if (_i == 0)
                damage(path, 0, (size_t)file_size(path));
        else
                damage(path, (ask_number(path, "SELECT rootpage FROM sqlite_schema WHERE name = 'registrations'") - 1) * 4096, 4096);
        if (_i == 2) /* the file alone tells */
                ck_assert_int_eq(unlink(in_dir("registry.db.lock")), 0);
        store = start();
        loaded = take(store);
        ck_assert_uint_eq(loaded->n_nodes, 0);
        ck_assert_uint_eq(loaded->first_creation, 4000000000);
        store_loaded_free(loaded);
        WAIT(store, store_wants_whole(store));
        submit_whole(store, 1, "a", 0);
        wait_committed(store, 1);
        ck_assert_names(path, "a");
        ck_assert_uint_eq(count_sets(), 1);
        ck_assert_int_eq(ask_number(path, "SELECT creation_reserved FROM registry"), 4000000000);
        stop(store);
}
END_TEST

START_TEST(test_damage_outside_the_rows_delays_nobody_and_is_found_afterwards) {
        Store *store;
        StoreLoaded *loaded;

        make_file();
        damage(path, (ask_number(path, "SELECT rootpage FROM sqlite_schema WHERE name = 'tenures_by_until'") - 1) * 4096, 4096);
        store = start();
        loaded = take(store);
        ck_assert_uint_eq(loaded->n_nodes, 300);
        store_loaded_free(loaded);
        WAIT(store, store_wants_whole(store));
        submit_whole(store, 1, "a", 0);
        wait_committed(store, 1);
        ck_assert_names(path, "a");
        ck_assert_uint_eq(count_sets(), 1);
        stop(store);
}
END_TEST

START_TEST(test_damage_at_run_time_is_set_aside_and_the_group_written_to_the_new_file) {
        Store *store = start_and_load();

        put_and_commit(store, 1, "a");
        disk_match = "-wal";
        disk_write_result = SQLITE_CORRUPT;
        submit_end(store, 2, "a", 1);
        WAIT(store, count_sets() == 1);
        disk_write_result = 0;
        store_poke(store);
        WAIT(store, store_wants_whole(store));
        submit_whole(store, 3, "b", 0);
        wait_committed(store, 3);
        ck_assert_names(path, "b");
        ck_assert_answer(path, "SELECT name FROM history", "a");
        stop(store);
}
END_TEST

/* As another process sees it: nothing is damaged, and both nodes are there. */
static bool is_sound(const char *file) {
        static const char query[] = "SELECT integrity_check = 'ok' AND (SELECT count(*) FROM nodes) = 2 "
                                    "FROM pragma_integrity_check";
        sqlite3 *handle = NULL;
        sqlite3_stmt *check = NULL;
        bool is_ok = sqlite3_open_v2(file, &handle, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK &&
                     sqlite3_prepare_v2(handle, query, -1, &check, NULL) == SQLITE_OK &&
                     sqlite3_step(check) == SQLITE_ROW && sqlite3_column_int(check, 0) == 1;

        sqlite3_finalize(check);
        sqlite3_close(handle);
        return is_ok;
}

START_TEST(test_damage_beneath_us_is_found_though_memory_hides_it) {
        Store *store = start_and_load();
        char command[2 * PATH_MAX];

        put_and_commit(store, 1, "a");
        for (uint64_t i = 2; i <= 2000; i++) /* until the main file has been written */
                put_and_commit(store, i, i % 2 ? "a" : "b");
        ck_assert_int_gt(file_size(path), 4096 * 4);
        /* By another process: a second descriptor in this one would drop SQLite's locks. */
        snprintf(command, sizeof command,
                 "tr '\\0' z </dev/zero 2>/dev/null | "
                 "dd of='%s' bs=4096 seek=%d count=1 conv=notrunc iflag=fullblock 2>/dev/null",
                 path, _i);
        ck_assert_int_eq(system(command), 0);
        ck_assert(!is_sound(path) || _i == 2);
        /* Unasked, and with nothing to write. A page that is in the log, too, is mended by that. */
        WAIT(store, store_wants_whole(store) || is_sound(path));
        if (store_wants_whole(store)) {
                submit_whole(store, 2001, "a b", 0);
                wait_committed(store, 2001);
                ck_assert_uint_eq(count_sets(), 1);
        }
        ck_assert(is_sound(path));
        ck_assert_names(path, "a b");
        stop(store);
}
END_TEST

START_TEST(test_sets_beyond_a_few_are_deleted_oldest_first) {
        char old[ASIDE_SETS_MAX][64];
        Store *store;

        for (int i = 0; i < ASIDE_SETS_MAX; i++) {
                snprintf(old[i], sizeof old[i], "registry.db.corrupt-2025010%dT000000Z", i + 1);
                write_file(in_dir("%s", old[i]), "x", 1);
                write_file(in_dir("%s-wal", old[i]), "x", 1);
        }
        write_file(in_dir("registry.db.corrupt-by-hand"), "x", 1);
        write_file(path, "garbage", 7);
        store = start_and_load();
        WAIT(store, store_wants_whole(store));
        submit_whole(store, 1, "a", 0);
        stop(store);
        ck_assert(!exists(in_dir("%s", old[0])));
        ck_assert(!exists(in_dir("%s-wal", old[0])));
        ck_assert(exists(in_dir("%s", old[1])));
        ck_assert(exists(in_dir("%s-wal", old[1])));
        ck_assert(exists(in_dir("registry.db.corrupt-by-hand")));
}
END_TEST

/* --- files that are not for us -------------------------------------------------------------- */

START_TEST(test_a_file_that_is_not_for_us_is_served_around_until_a_better_one_is_there) {
        static const char *const theirs[] = {
                "PRAGMA user_version = 9; UPDATE registry SET oldest_writer = 9",
                "PRAGMA application_id = 1; CREATE TABLE recipes (name TEXT)",
        };
        Store *store;
        StoreLoaded *loaded;

        if (_i == 0)
                stop(start_and_load());
        change(path, theirs[_i]);
        store = start();
        loaded = take(store);
        ck_assert_uint_eq(loaded->n_nodes, 0);
        ck_assert_uint_ge(loaded->first_creation, 1700000000);
        store_loaded_free(loaded);
        ck_assert_int_eq(store_health(store), STORE_TOO_NEW);
        ck_assert_str_ne(status_of(store).detail, "");
        ck_assert_int_eq(store_submit_creations(store, 0, 4000000000), 0);
        submit_put(store, 1, "a");
        store_poke(store);
        WAIT(store, status_of(store).n_queued == 0);
        ck_assert_uint_eq(store_committed_revision(store), 0);
        ck_assert(!store_wants_whole(store)); /* or it would be dropped again, and so on */

        ck_assert_int_eq(unlink(path), 0);
        store_poke(store);
        WAIT(store, (loaded = store_take_loaded(store))); /* nothing, but from the right place */
        store_loaded_free(loaded);
        WAIT(store, store_wants_whole(store));
        submit_whole(store, 1, "a", 0);
        wait_committed(store, 1);
        WAIT(store, store_health(store) == STORE_OK);
        ck_assert_int_eq(ask_number(path, "SELECT creation_reserved FROM registry"), 4000000000);
        stop(store);
}
END_TEST

/* --- the lock ------------------------------------------------------------------------------- */

START_TEST(test_a_lock_file_that_is_deleted_is_made_again) {
        Store *store = start_and_load();
        pid_t holder;
        int r;

        ck_assert_int_eq(store_submit_creations(store, 0, 4000000000), 0);
        put_and_commit(store, 1, "a");
        ck_assert_int_eq(unlink(in_dir("registry.db.lock")), 0);
        submit_put(store, 2, "b");
        WAIT(store, store_wants_whole(store)); /* another daemon may have come and gone */
        submit_whole(store, 2, "a b", 0);
        wait_committed(store, 2);
        ck_assert_names(path, "a b");
        ck_assert(exists(in_dir("registry.db.lock")));
        ck_assert_ptr_null(try_start(path, &r, &holder));
        ck_assert_int_eq(r, -EBUSY);
        ck_assert(has_notice(store, "lock file"));
        stop(store);
}
END_TEST

START_TEST(test_a_lock_that_somebody_else_has_got_ends_our_writing) {
        Store *store = start_and_load();
        int fd;

        put_and_commit(store, 1, "a");
        ck_assert_int_eq(unlink(in_dir("registry.db.lock")), 0);
        fd = open(in_dir("registry.db.lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0640);
        ck_assert_int_eq(flock(fd, LOCK_EX | LOCK_NB), 0);
        ck_assert_int_gt(dprintf(fd, "pid 4711\ncreations 12\n"), 0);
        submit_put(store, 2, "b");
        WAIT(store, store_health(store) == STORE_FAILING);
        ck_assert_ptr_nonnull(strstr(status_of(store).detail, "another daemon (pid 4711)"));
        ck_assert_names(path, "a");
        ck_assert_uint_eq(store_committed_revision(store), 1);

        close(fd);
        store_poke(store);
        WAIT(store, store_wants_whole(store));
        submit_whole(store, 2, "a b", 0);
        wait_committed(store, 2);
        ck_assert_names(path, "a b");
        stop(store);
}
END_TEST

/* --- P5 ------------------------------------------------------------------------------------- */

START_TEST(test_creations_go_on_whatever_is_lost_between_two_runs) {
        static const struct {
                bool file, lock;
                uint32_t reserved;
                bool from_clock;
        } cases[] = {
                /* lost: file, lock; reserved; where the next run begins */
                { false, false, 4000000000, false },
                { true, false, 4000000000, false },
                { false, true, 4000000000, false },
                { true, true, 4000000000, true },
                { false, false, 5000, true },
        };
        uint32_t before = (uint32_t)time(NULL);
        Store *store = start_and_load();
        StoreLoaded *loaded;

        ck_assert_int_eq(store_submit_creations(store, 1, cases[_i].reserved), 0);
        wait_committed(store, 1);
        stop(store);
        if (cases[_i].file)
                ck_assert_int_eq(unlink(path), 0);
        if (cases[_i].lock)
                ck_assert_int_eq(unlink(in_dir("registry.db.lock")), 0);
        store = start();
        loaded = take(store);
        if (cases[_i].from_clock)
                ck_assert_uint_ge(loaded->first_creation, before);
        else
                ck_assert_uint_eq(loaded->first_creation, cases[_i].reserved);
        ck_assert_uint_le(loaded->first_creation, 4000000000);
        store_loaded_free(loaded);
        stop(store);
}
END_TEST

START_TEST(test_the_greater_of_what_file_and_lock_remember_counts) {
        Store *store = start_and_load();
        StoreLoaded *loaded;

        ck_assert_int_eq(store_submit_creations(store, 1, 4000000000), 0);
        wait_committed(store, 1);
        stop(store);
        if (_i == 0)
                change(path, "UPDATE registry SET creation_reserved = 4000001000");
        else
                write_file(in_dir("registry.db.lock"), "pid 1         \ncreations 4000001000\n", 36);
        store = start();
        loaded = take(store);
        ck_assert_uint_eq(loaded->first_creation, 4000001000);
        store_loaded_free(loaded);
        stop(store);
}
END_TEST

/* --- readers -------------------------------------------------------------------------------- */

START_TEST(test_a_reader_delays_nobody_and_the_log_shrinks_when_he_leaves) {
        Store *store = start_and_load();
        _cleanup_(node_freep) Node *node = new_node("a", 1);
        sqlite3 *reader = NULL;
        uint64_t revision = 0;

        put_and_commit(store, ++revision, "before");
        ck_assert_int_eq(sqlite3_open_v2(path, &reader, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
        ck_assert_int_eq(sqlite3_exec(reader, "BEGIN; SELECT * FROM nodes", NULL, NULL, NULL), SQLITE_OK);
        while (file_size(in_dir("registry.db-wal")) < 6 * 1024 * 1024) {
                ck_assert_int_eq(store_submit_put(store, ++revision, node), 0);
                wait_committed(store, revision);
        }
        ck_assert_uint_gt(revision, 500);
        store_poke(store);
        WAIT(store, status_of(store).wal_bytes >= 6 * 1024 * 1024);
        ck_assert_int_eq(store_health(store), STORE_OK);

        sqlite3_close(reader);
        store_poke(store);
        WAIT(store, file_size(in_dir("registry.db-wal")) == 0);
        put_and_commit(store, ++revision, "after");
        ck_assert_names(path, "a after before");
        ck_assert(!store_wants_whole(store));
        stop(store);
}
END_TEST

START_TEST(test_a_reader_who_leaves_last_takes_nothing_with_him) {
        Store *store = start_and_load();

        put_and_commit(store, 1, "a");
        change(path, "SELECT * FROM nodes"); /* opened to write, as the sqlite3 shell does */
        put_and_commit(store, 2, "b");
        ck_assert_names(path, "a b");
        ck_assert(!store_wants_whole(store));
        stop(store);
}
END_TEST

/* --- history is asked ----------------------------------------------------------------------- */

static const StoreQuery all_of_it = { .to_usec = UINT64_MAX, .n_max = STORE_ANSWER_MAX };

static uint64_t ask_store(Store *store, const StoreQuery *query) {
        uint64_t number = 0;

        ck_assert_int_eq(store_query(store, query, &number), 0);
        ck_assert_uint_ne(number, 0);
        return number;
}

static StoreAnswer *wait_for_answer(Store *store, uint64_t number) {
        StoreAnswer *answer = NULL;

        WAIT(store, (answer = store_take_answer(store)));
        ck_assert_uint_eq(answer->query, number);
        return answer;
}

START_TEST(test_an_answer_has_all_that_was_submitted_before_the_question) {
        Store *store = start_and_load();
        const uint64_t n = 12000; /* more than one group */
        StoreQuery query = all_of_it;
        StoreAnswer *answer;
        uint64_t number;

        for (uint64_t i = 1; i <= n; i++) {
                submit_put(store, i, "a");
                submit_end(store, i, "a", i);
        }
        query.name = "a";
        query.n_name = 1;
        query.n_max = 2;
        number = ask_store(store, &query);
        submit_end(store, n + 1, "late", n + 1); /* may be in it, or not */
        answer = wait_for_answer(store, number);
        ck_assert_int_eq(answer->error, 0);
        ck_assert_uint_eq(answer->n_tenures, 2);
        ck_assert_uint_eq(answer->tenures[0].node->serial, n);
        ck_assert_str_eq(answer->tenures[0].how, "left");
        ck_assert_ptr_null(answer->tenures[0].by);
        ck_assert_uint_gt(answer->cursor, 0);
        store_answer_free(answer);
        ck_assert_ptr_null(store_take_answer(store));
        stop(store);
}
END_TEST

START_TEST(test_many_questions_are_answered_in_their_order_and_too_many_are_not_taken) {
        Store *store = start_and_load();
        uint64_t numbers[STORE_QUERIES_MAX], number;

        submit_end(store, 1, "a", 1);
        for (size_t i = 0; i < ELEMENTS(numbers); i++)
                numbers[i] = ask_store(store, &all_of_it);
        ck_assert_int_eq(store_query(store, &all_of_it, &number), -EBUSY);
        store_cancel_query(store, numbers[3]);
        for (size_t i = 0; i < ELEMENTS(numbers); i++)
                if (i != 3)
                        store_answer_free(wait_for_answer(store, numbers[i]));
        store_answer_free(wait_for_answer(store, ask_store(store, &all_of_it)));
        stop(store);
}
END_TEST

START_TEST(test_who_ended_a_registration_is_in_the_history) {
        Store *store = start_and_load();
        _cleanup_(node_freep) Node *node = new_node("a", 1);
        StoreQuery query = all_of_it;
        StoreAnswer *answer;

        ck_assert_int_eq(store_submit_end(store, 1, node, NODE_END_RELEASED, "uid 1000", NOW), 0);
        query.name = "axis"; /* not terminated */
        query.n_name = 1;
        answer = wait_for_answer(store, ask_store(store, &query));
        ck_assert_uint_eq(answer->n_tenures, 1);
        ck_assert_str_eq(answer->tenures[0].by, "uid 1000");
        ck_assert_str_eq(answer->tenures[0].how, "released");
        store_answer_free(answer);
        ck_assert_answer(path, "SELECT how || ' ' || by FROM history", "released uid 1000");
        stop(store);
}
END_TEST

START_TEST(test_without_a_file_history_is_not_to_be_had) {
        pid_t holder;
        int r;
        Store *store = try_start(NULL, &r, &holder);
        uint64_t number;
        Refused refused = { .name = (char[]){ 'a' }, .n_name = 1, .reason = REFUSAL_NAME_TAKEN };

        ck_assert_int_eq(store_query(store, &all_of_it, &number), -ENODATA);
        ck_assert_ptr_null(store_take_answer(store));
        store_cancel_query(store, 1);
        ck_assert_int_eq(store_submit_refusal(store, &refused), 0);
        store_set_history_bounds(store, 1, 1, 1);
        stop(store);
}
END_TEST

START_TEST(test_questions_that_wait_for_a_disk_that_fails_are_answered_with_an_error) {
        Store *store = start_and_load();
        StoreAnswer *answer;
        uint64_t asked, number;

        put_and_commit(store, 1, "a");
        disk_match = "-wal";
        disk_hang(DISK_SYNC);
        ck_assert_int_eq(store_submit_creations(store, 0, 4000000000), 0);
        disk_wait_until_hung();
        submit_end(store, 2, "a", 1);
        asked = ask_store(store, &all_of_it);
        disk_write_result = SQLITE_FULL;
        disk_hang(0);
        answer = wait_for_answer(store, asked);
        ck_assert_int_eq(answer->error, -ENODATA);
        ck_assert_uint_eq(answer->n_tenures, 0);
        store_answer_free(answer);
        WAIT(store, store_health(store) == STORE_FAILING);
        ck_assert_int_eq(store_query(store, &all_of_it, &number), -ENODATA);

        disk_write_result = 0;
        store_poke(store);
        WAIT(store, store_health(store) == STORE_OK);
        answer = wait_for_answer(store, ask_store(store, &all_of_it));
        ck_assert_int_eq(answer->error, 0);
        ck_assert_uint_eq(answer->n_tenures, 1);
        store_answer_free(answer);
        stop(store);
}
END_TEST

START_TEST(test_a_disk_that_hangs_answers_nobody_and_what_is_cancelled_is_not_answered_later) {
        Store *store = start_and_load();
        uint64_t given_up, kept;
        StoreAnswer *answer;

        disk_hang(DISK_SYNC);
        ck_assert_int_eq(store_submit_creations(store, 0, 4000000000), 0);
        disk_wait_until_hung();
        given_up = ask_store(store, &all_of_it);
        kept = ask_store(store, &all_of_it);
        ck_assert_ptr_null(store_take_answer(store));
        store_cancel_query(store, given_up);
        disk_hang(0);
        answer = wait_for_answer(store, kept);
        ck_assert_int_eq(answer->error, 0);
        store_answer_free(answer);
        ck_assert_ptr_null(store_take_answer(store));
        stop(store);
}
END_TEST

START_TEST(test_questions_that_are_left_keep_nobody_from_stopping) {
        Store *store = start_and_load();

        for (size_t i = 0; i < 10; i++)
                (void)ask_store(store, &all_of_it);
        stop(store);
        store = start_and_load();
        disk_hang(DISK_SYNC);
        ck_assert_int_eq(store_submit_creations(store, 0, 4000000001), 0);
        disk_wait_until_hung();
        (void)ask_store(store, &all_of_it);
        ck_assert_int_eq(store_stop(store, 1000), -ETIMEDOUT);
        store_free(store);
        disk_hang(0);
}
END_TEST

START_TEST(test_a_history_that_cannot_be_read_is_an_error_and_the_file_is_set_aside) {
        Store *store = start_and_load();
        StoreAnswer *answer;

        submit_put(store, 1, "a");
        wait_committed(store, 1);
        change(path, "ALTER TABLE tenures RENAME COLUMN by TO whose"); /* what only a question asks for */
        answer = wait_for_answer(store, ask_store(store, &all_of_it));
        ck_assert_int_eq(answer->error, -EIO);
        store_answer_free(answer);
        WAIT(store, store_wants_whole(store));
        ck_assert(has_notice(store, "set aside"));
        submit_whole(store, 1, "a", 0);
        wait_committed(store, 1);
        answer = wait_for_answer(store, ask_store(store, &all_of_it));
        ck_assert_int_eq(answer->error, 0);
        store_answer_free(answer);
        stop(store);
}
END_TEST

START_TEST(test_a_reader_of_history_leaves_the_log_free_to_be_cut) {
        Store *store = start_and_load();

        for (uint64_t i = 1; i <= 3000; i++) {
                submit_put(store, i, "a");
                if (i % 100 == 0)
                        store_answer_free(wait_for_answer(store, ask_store(store, &all_of_it)));
        }
        stop(store);
        ck_assert_int_eq(file_size(in_dir("registry.db-wal")), 0);
}
END_TEST

/* --- refusals, bounds ----------------------------------------------------------------------- */

START_TEST(test_refusals_are_loaded_by_the_next_run) {
        Store *store = start_and_load();
        Refused refused = { .name = (char[]){ "ab" }, .n_name = 2, .at_usec = NOW, .reason = REFUSAL_NAME_TAKEN,
                            .port = 4711, .uid = NODE_UID_UNKNOWN };
        StoreLoaded *loaded;

        ck_assert_int_eq(store_submit_refusal(store, &refused), 0);
        /* Of no revision; what comes after it is. */
        put_and_commit(store, 1, "x");
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM refused"), 1);
        stop(store);
        store = start();
        loaded = take(store);
        ck_assert_uint_eq(loaded->n_refused, 1);
        ck_assert_mem_eq(loaded->refused[0].name, "ab", 2);
        ck_assert_uint_eq(loaded->refused[0].uid, NODE_UID_UNKNOWN);
        ck_assert_ptr_null(loaded->refused[0].unit);
        store_loaded_free(loaded);
        stop(store);
}
END_TEST

START_TEST(test_bounds_of_history_can_be_changed_while_it_runs) {
        Store *store = start_and_load();

        for (uint64_t i = 1; i <= 50; i++)
                submit_end(store, i, "a", i);
        wait_committed(store, 50);
        ck_assert_int_eq(ask_number(path, "SELECT count(*) FROM tenures"), 50);
        store_set_history_bounds(store, 36500, 7, 1000);
        WAIT(store, ask_number(path, "SELECT count(*) FROM tenures") == 7);
        store_set_history_bounds(store, 36500, 1000, 3);
        submit_end(store, 51, "a", 51);
        wait_committed(store, 51);
        ck_assert_answer(path, "SELECT group_concat(serial) FROM tenures", "49,50,51");
        stop(store);
}
END_TEST

/* The loop would have no time for anything else: it is reminded once a second. */
START_TEST(test_without_memory_for_everything_the_loop_is_not_woken_for_it_at_once) {
        Store *store = start_and_load();
        Node huge = { .info = { .name = "a", .n_name = SIZE_MAX / 4 } };
        unsigned n_asked = 0;
        struct pollfd event = { .fd = store_event_fd(store), .events = POLLIN };

        ck_assert_int_eq(store_submit_put(store, 1, &huge), -ENOMEM);
        wait_for_event(store);
        store_clear_event(store);
        ck_assert(store_wants_whole(store));
        for (; n_asked < 100 && poll(&event, 1, 0) == 0; n_asked++)
                ck_assert_int_eq(store_submit_whole(store, 1, NULL, SIZE_MAX / 16, 0), -ENOMEM);
        ck_assert_uint_gt(n_asked, 1);
        ck_assert(store_wants_whole(store));
        /* By the thread's ticks, of which one may just have come. */
        for (unsigned n_woken = 0; n_woken < 2; n_woken++) {
                ck_assert_int_eq(poll(&event, 1, 10000), 1);
                store_clear_event(store);
        }
        ck_assert(store_wants_whole(store));
        ck_assert_int_eq(store_submit_whole(store, 1, NULL, 0, 0), 0);
        ck_assert(!store_wants_whole(store));
        wait_for_event(store);
        stop(store);
}
END_TEST

Suite *suite(void) {
        Suite *suite = suite_create("store");
        TCase *tcase = tcase_create("store");

        tcase_add_unchecked_fixture(tcase, make_root, remove_root);
        tcase_add_checked_fixture(tcase, set_up, NULL);
        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, test_without_a_file_everything_is_committed_at_once);
        tcase_add_test(tcase, test_without_memory_for_everything_the_loop_is_not_woken_for_it_at_once);
        tcase_add_test(tcase, test_what_is_committed_is_in_the_file_and_loaded_by_the_next_run);
        tcase_add_test(tcase, test_a_second_store_is_told_who_holds_the_file);
        tcase_add_test(tcase, test_missing_directories_are_made_for_owner_and_group_whatever_the_umask);
        tcase_add_test(tcase, test_changes_that_gather_share_their_transactions);
        tcase_add_test(tcase, test_the_status_tells_of_the_file);
        tcase_add_test(tcase, test_a_stop_writes_what_is_queued_and_leaves_a_short_log);
        tcase_add_loop_test(tcase, test_after_kill_9_everything_that_was_acknowledged_is_there, 0, 4);
        tcase_add_loop_test(tcase, test_while_commits_fail_nothing_is_acknowledged_and_nothing_is_lost, 0, 2);
        tcase_add_test(tcase, test_somebody_elses_transaction_delays_and_loses_nothing);
        tcase_add_test(tcase, test_a_disk_that_hangs_holds_up_nobody_and_heals);
        tcase_add_test(tcase, test_a_disk_that_hangs_keeps_nobody_from_stopping);
        tcase_add_test(tcase, test_a_disk_that_hangs_at_start_is_not_waited_for);
        tcase_add_test(tcase, test_what_cannot_be_read_at_first_is_loaded_late);
        tcase_add_test(tcase, test_a_directory_that_may_not_be_written_is_a_failure_that_heals);
        tcase_add_loop_test(tcase, test_what_may_only_be_read_is_loaded, 0, 2);
        tcase_add_test(tcase, test_a_queue_that_overflows_is_dropped_and_the_file_written_whole);
        tcase_add_test(tcase, test_a_queue_is_bounded_in_bytes_too);
        tcase_add_loop_test(tcase, test_a_file_that_is_deleted_is_noticed_and_made_anew, 0, 2);
        tcase_add_test(tcase, test_a_deleted_file_is_noticed_while_nothing_is_written);
        tcase_add_test(tcase, test_a_directory_that_is_deleted_is_made_anew_with_lock_and_file);
        tcase_add_test(tcase, test_a_backup_that_is_put_in_place_keeps_its_history_and_gets_our_registrations);
        tcase_add_test(tcase, test_garbage_that_is_put_in_place_is_set_aside);
        tcase_add_loop_test(tcase, test_a_damaged_file_is_set_aside_at_start_and_creations_go_on, 0, 3);
        tcase_add_test(tcase, test_damage_outside_the_rows_delays_nobody_and_is_found_afterwards);
        tcase_add_test(tcase, test_damage_at_run_time_is_set_aside_and_the_group_written_to_the_new_file);
        tcase_add_loop_test(tcase, test_damage_beneath_us_is_found_though_memory_hides_it, 0, 10);
        tcase_add_test(tcase, test_sets_beyond_a_few_are_deleted_oldest_first);
        tcase_add_loop_test(tcase, test_a_file_that_is_not_for_us_is_served_around_until_a_better_one_is_there, 0, 2);
        tcase_add_test(tcase, test_a_lock_file_that_is_deleted_is_made_again);
        tcase_add_test(tcase, test_a_lock_that_somebody_else_has_got_ends_our_writing);
        tcase_add_loop_test(tcase, test_creations_go_on_whatever_is_lost_between_two_runs, 0, 5);
        tcase_add_loop_test(tcase, test_the_greater_of_what_file_and_lock_remember_counts, 0, 2);
        tcase_add_test(tcase, test_a_reader_delays_nobody_and_the_log_shrinks_when_he_leaves);
        tcase_add_test(tcase, test_a_reader_who_leaves_last_takes_nothing_with_him);
        tcase_add_test(tcase, test_an_answer_has_all_that_was_submitted_before_the_question);
        tcase_add_test(tcase, test_many_questions_are_answered_in_their_order_and_too_many_are_not_taken);
        tcase_add_test(tcase, test_who_ended_a_registration_is_in_the_history);
        tcase_add_test(tcase, test_without_a_file_history_is_not_to_be_had);
        tcase_add_test(tcase, test_questions_that_wait_for_a_disk_that_fails_are_answered_with_an_error);
        tcase_add_test(tcase, test_a_disk_that_hangs_answers_nobody_and_what_is_cancelled_is_not_answered_later);
        tcase_add_test(tcase, test_questions_that_are_left_keep_nobody_from_stopping);
        tcase_add_test(tcase, test_a_history_that_cannot_be_read_is_an_error_and_the_file_is_set_aside);
        tcase_add_test(tcase, test_a_reader_of_history_leaves_the_log_free_to_be_cut);
        tcase_add_test(tcase, test_refusals_are_loaded_by_the_next_run);
        tcase_add_test(tcase, test_bounds_of_history_can_be_changed_while_it_runs);
        suite_add_tcase(suite, tcase);
        return suite;
}
