/* SPDX-License-Identifier: Apache-2.0 */
/* evidence/cgroup: names on paper, trees of plain directories, and one real cgroup where that is
 * allowed. */

#include <check.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <linux/magic.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "check_main.h"
#include "evidence/cgroup.h"
#include "evidence/listeners.h"
#include "util.h"

#define SKIP(reason) skip(__func__, reason)

/* check calls the function of test_x test_x_fn. */
static void skip(const char *function, const char *reason) {
        const char *suffix = strstr(function, "_fn");

        printf("SKIP: %.*s: %s\n", suffix ? (int)(suffix - function) : INT_MAX, function, reason);
}

/* --- names ------------------------------------------------------------------------------------ */

#define X10 "xxxxxxxxxx"
#define X100 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10
#define X240 X100 X100 X10 X10 X10 X10

#define ID64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const struct {
        const char *path;
        const char *unit; /* NULL: none */
        bool is_not_own;
} paths[] = {
        { "/system.slice/epmd.service", "epmd.service", 0 },
        { "/system.slice/epmd.service/", "epmd.service", 0 },
        { "//system.slice///epmd.service", "epmd.service", 0 },
        { "system.slice/epmd.service", "epmd.service", 0 },
        { "/epmd.service", "epmd.service", 0 },
        { "/init.scope", "init.scope", 0 },
        { "/system.slice/epmd.socket", "epmd.socket", 0 },
        { "/system.slice/var-lib.mount", "var-lib.mount", 0 },
        { "/system.slice/dev-sda2.swap", "dev-sda2.swap", 0 },
        { "/system.slice/system-app.slice/app@blue.service", "app@blue.service", 0 },
        { "/system.slice/system-app.slice/app@a-b\\x2dc.service", "app@a-b\\x2dc.service", 0 },
        { "/a.slice.service", "a.slice.service", 0 },

        /* groups that a service makes below itself, and systemd for its helper processes */
        { "/system.slice/a.service/worker", "a.service", 0 },
        { "/system.slice/a.service/worker/1", "a.service", 0 },
        { "/system.slice/a.service/.control", "a.service", 0 },
        { "/system.slice/systemd-udevd.service/udev", "systemd-udevd.service", 0 },
        { "/system.slice/a.service/libpod-payload-" ID64, "a.service", 0 },
        { "/system.slice/a.service/@.service", "a.service", 0 },
        { "/system.slice/a.service/b.timer", "a.service", 0 }, /* a unit that has no processes */

        /* sessions and users' managers */
        { "/user.slice/user-1000.slice/session-3.scope", "session-3.scope", 0 },
        { "/user.slice/user-1.slice/user@1.service", "user@1.service", 0 },
        { "/user.slice/user-1.slice/user@1.service/init.scope", "user@1.service", 1 },
        { "/user.slice/user-1.slice/user@1.service/app.slice/a.service", "user@1.service", 1 },
        { "/user.slice/user-1.slice/user@1.service/app.slice/a.service/worker", "user@1.service", 1 },
        { "/user.slice/user-1.slice/user@1.service/app.slice/app-x@y.slice", "user@1.service", 1 },
        { "/user.slice/user-1.slice/user@1.service/_tasks.service", "user@1.service", 1 },
        { "/user.slice/user-1.slice/user@1.service/user.slice/libpod-" ID64 ".scope/container", "user@1.service", 1 },

        /* containers with a systemd of their own */
        { "/machine.slice/systemd-nspawn@box.service/payload", "systemd-nspawn@box.service", 0 },
        { "/machine.slice/systemd-nspawn@box.service/supervisor", "systemd-nspawn@box.service", 0 },
        { "/machine.slice/systemd-nspawn@box.service/payload/init.scope", "systemd-nspawn@box.service", 1 },
        { "/machine.slice/systemd-nspawn@box.service/payload/system.slice/a.service", "systemd-nspawn@box.service", 1 },
        { "/machine.slice/machine-box.scope/payload/system.slice/a.service", "machine-box.scope", 1 },
        { "/machine.slice/machine-box.scope/init.scope", "machine-box.scope", 1 },
        { "/system.slice/docker-" ID64 ".scope/system.slice/a.service", "docker-" ID64 ".scope", 1 },
        { "/system.slice/lxc@box.service/payload/user.slice/user-1.slice/session-1.scope", "lxc@box.service", 1 },

        /* containers with nothing but their processes */
        { "/system.slice/docker-" ID64 ".scope", "docker-" ID64 ".scope", 0 },
        { "/machine.slice/libpod-" ID64 ".scope/container", "libpod-" ID64 ".scope", 0 },
        { "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12_34.slice/crio-" ID64 ".scope",
          "crio-" ID64 ".scope", 0 },
        { "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/cri-containerd-" ID64 ".scope",
          "cri-containerd-" ID64 ".scope", 0 },
        { "/docker/" ID64, NULL, 0 },
        { "/kubepods/burstable/pod1234/" ID64, NULL, 0 },
        { "/lxc.payload.box/system.slice/a.service", NULL, 0 },
        /* a pod's runtime may leave its processes in the slice */
        { "/kubepods.slice/kubepods-pod1.slice/" ID64, NULL, 0 },

        /* systemd puts "_" before what a controller's file might be called */
        { "/system.slice/_cpu.service", "cpu.service", 0 },
        { "/system.slice/__x.service", "_x.service", 0 },
        { "/_my.slice/a.service", "a.service", 0 },

        { "/system.slice/" X240 "0123456.service", X240 "0123456.service", 0 }, /* 255 bytes */
        { "/system.slice/" X240 "01234567.service", NULL, 0 },
        { "", NULL, 0 },
        { "/", NULL, 0 },
        { "/system.slice", NULL, 0 },
        { "/system.slice/", NULL, 0 },
        { "/system.slice/nothing", NULL, 0 },
        { "/nothing/a.service", NULL, 0 },
        { "/system.slice/.service", NULL, 0 },
        { "/.slice/a.service", NULL, 0 },
        { "/system.slice/_", NULL, 0 },
        { "/system.slice/@a.service", NULL, 0 },
        { "/system.slice/a@.service", NULL, 0 }, /* a template is no unit */
        { "/system.slice/a.servicex", NULL, 0 },
        { "/system.slice/aservice", NULL, 0 },
        { "/system.slice/a\nb.service", NULL, 0 }, /* would forge a line of the log */
        { "/system.slice/a b.service", NULL, 0 },
        { "/system.slice/\xc3\xa4.service", NULL, 0 },
};

START_TEST(test_a_path_tells_its_unit_and_whether_that_is_its_own) {
        char unit[256] = "untouched";
        bool is_own = paths[_i].is_not_own;
        int r = cgroup_path_to_unit(paths[_i].path, unit, &is_own);

        ck_assert_int_eq(r, paths[_i].unit ? 0 : -ENOENT);
        if (!paths[_i].unit)
                return;
        ck_assert_str_eq(unit, paths[_i].unit);
        ck_assert_msg(is_own == !paths[_i].is_not_own, "%s", paths[_i].path);
}
END_TEST

/* --- trees of directories --------------------------------------------------------------------- */

static char root[PATH_MAX];
static Cgroups *cgroups;

static void set_up(void) {
        const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

        (void)snprintf(root, sizeof(root), "%s/check_cgroup.XXXXXX", parent);
        ck_assert_ptr_nonnull(mkdtemp(root));
        ck_assert_int_eq(cgroups_new_at(&cgroups, root), 0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        (void)st;
        (void)type;
        (void)ftw;
        return remove(path);
}

static void tear_down(void) {
        cgroups = cgroups_free(cgroups);
        ck_assert_int_eq(nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* Makes `path` below the root, which exists but for its last component; returns its inode. */
static uint64_t make(const char *path) {
        char full[2 * PATH_MAX];
        struct stat st;

        ck_assert_int_lt(snprintf(full, sizeof(full), "%s/%s", root, path), (int)sizeof(full));
        ck_assert_int_eq(mkdir(full, 0755), 0);
        ck_assert_int_eq(stat(full, &st), 0);
        return st.st_ino;
}

static void check_unit_of(uint64_t id, const char *expected, bool is_expected_own) {
        const char *unit = NULL;
        bool is_own = !is_expected_own;

        ck_assert_int_eq(cgroups_find_unit(cgroups, id, &unit, &is_own), 0);
        ck_assert_str_eq(unit, expected);
        ck_assert(is_own == is_expected_own);
}

static void check_unit(uint64_t id, const char *expected) {
        check_unit_of(id, expected, true);
}

static void check_no_unit(uint64_t id) {
        const char *unit = NULL;
        bool is_own;

        ck_assert_int_eq(cgroups_find_unit(cgroups, id, &unit, &is_own), -ENOENT);
        ck_assert_ptr_null(unit);
}

START_TEST(test_a_directory_and_those_below_it_are_of_its_unit) {
        uint64_t slice = make("system.slice"), a = make("system.slice/a.service");
        uint64_t below = make("system.slice/a.service/x"), b = make("system.slice/b.service");
        struct stat st;

        ck_assert_int_eq(stat(root, &st), 0);
        for (int i = 0; i < 3; i++) { /* from the tree, and from the cache */
                check_unit(a, "a.service");
                check_unit(b, "b.service");
                check_unit(below, "a.service");
                check_no_unit(slice);
                check_no_unit(st.st_ino);
                check_no_unit(0);
                check_no_unit(UINT64_MAX);
        }
}
END_TEST

START_TEST(test_what_lives_under_another_manager_is_not_the_units_own) {
        uint64_t manager = make("user@1.service"), scope = make("user@1.service/init.scope");
        make("user@1.service/app.slice");
        uint64_t service = make("user@1.service/app.slice/a.service");
        uint64_t below = make("user@1.service/app.slice/a.service/worker");

        for (int i = 0; i < 3; i++) { /* from the tree, and from the cache */
                check_unit_of(manager, "user@1.service", true);
                check_unit_of(scope, "user@1.service", false);
                check_unit_of(service, "user@1.service", false);
                check_unit_of(below, "user@1.service", false);
        }
}
END_TEST

START_TEST(test_a_unit_that_comes_later_is_found) {
        make("system.slice");
        check_unit(make("system.slice/a.service"), "a.service");
        check_unit(make("system.slice/b.service"), "b.service");
}
END_TEST

START_TEST(test_units_that_share_a_place_in_the_cache_are_told_apart) {
        uint64_t first = make("first.service"), second = first + 1;
        char from[2 * PATH_MAX], to[2 * PATH_MAX], name[32];

        for (unsigned i = 0; (second ^ first) % 1024 != 0; i++) {
                ck_assert_uint_lt(i, 50000);
                (void)snprintf(name, sizeof(name), "%u", i);
                second = make(name);
        }
        (void)snprintf(from, sizeof(from), "%s/%s", root, name);
        (void)snprintf(to, sizeof(to), "%s/second.service", root);
        ck_assert_int_eq(rename(from, to), 0);
        for (int i = 0; i < 3; i++) {
                check_unit(first, "first.service");
                check_unit(second, "second.service");
        }
}
END_TEST

/* When a hundred units start at once, one walk shall do for most of them. */
START_TEST(test_a_walk_learns_what_it_passes) {
        char path[2 * PATH_MAX];

        make("a.slice");
        uint64_t near = make("a.slice/near.service"), other = make("a.slice/other.service");
        make("a.slice/a-b.slice");
        check_unit(make("a.slice/a-b.slice/far.service"), "far.service");
        (void)snprintf(path, sizeof(path), "%s/a.slice/near.service", root);
        ck_assert_int_eq(rmdir(path), 0);
        check_unit(near, "near.service"); /* not from the tree */
        check_unit(other, "other.service");
}
END_TEST

/* A file is no group, and a link must not lead out of the tree. */
START_TEST(test_only_directories_are_groups) {
        char path[2 * PATH_MAX];
        struct stat st;

        (void)snprintf(path, sizeof(path), "%s/a.service", root);
        int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(fstat(fd, &st), 0);
        close(fd);
        check_no_unit(st.st_ino);

        (void)snprintf(path, sizeof(path), "%s/etc.service", root);
        ck_assert_int_eq(symlink("/etc", path), 0);
        ck_assert_int_eq(stat("/etc/systemd", &st) < 0 ? stat("/etc/ssl", &st) : 0, 0);
        check_no_unit(st.st_ino);
}
END_TEST

START_TEST(test_a_tree_is_followed_down_to_the_bound) {
        char path[PATH_MAX] = "a.service";
        uint64_t ids[24] = { make(path) };

        for (size_t i = 1; i < ELEMENTS(ids); i++) {
                strcat(path, "/x");
                ids[i] = make(path);
        }
        check_unit(ids[0], "a.service");
        check_unit(ids[16], "a.service");
        check_no_unit(ids[17]);
        check_no_unit(ids[23]);
}
END_TEST

/* Whoever makes groups by the thousand below his own unit hides nobody else's. */
START_TEST(test_a_wide_unit_hides_no_other) {
        char path[64];

        make("a.slice");
        make("a.slice/wide.service");
        for (int i = 0; i < 6000; i++) {
                (void)snprintf(path, sizeof(path), "a.slice/wide.service/%d", i);
                make(path);
        }
        make("z.slice");
        check_unit(make("z.slice/last.service"), "last.service");
        check_no_unit(UINT64_MAX); /* a walk to its bound */
}
END_TEST

/* P6: a walk over a big tree for every new connection would leave no time for anybody else. */
START_TEST(test_walks_are_refused_when_they_took_too_long) {
        uint64_t a = make("a.service"), b = make("b.service"), missing = UINT64_MAX;
        const char *unit;
        char path[64];
        bool is_own;
        int r;

        for (int i = 0; i < 2000; i++) {
                (void)snprintf(path, sizeof(path), "a.service/%d", i);
                make(path);
        }
        check_unit(a, "a.service");
        check_unit(b, "b.service");
        /* Ids that share one place of the cache: they put out one of the two at most. */
        do {
                missing -= 1024;
                r = cgroups_find_unit(cgroups, missing, &unit, &is_own);
        } while (r == -ENOENT && missing > UINT64_MAX / 2);
        ck_assert_int_eq(r, -EAGAIN);
        /* What is known, also that there is none, costs no walk. */
        check_no_unit(missing + 1024);
        ck_assert(cgroups_find_unit(cgroups, a, &unit, &is_own) == 0 ||
                  cgroups_find_unit(cgroups, b, &unit, &is_own) == 0);
}
END_TEST

START_TEST(test_a_root_that_is_missing_is_told) {
        Cgroups *none = NULL;

        ck_assert_int_eq(cgroups_new_at(&none, "/nowhere/at/all"), -ENOENT);
        ck_assert_ptr_null(none);
        ck_assert_ptr_null(cgroups_free(NULL));
}
END_TEST

/* --- a real one ------------------------------------------------------------------------------- */

static const char *cgroup2_mount(void) {
        static const char *const mounts[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
        struct statfs fs;

        for (size_t i = 0; i < ELEMENTS(mounts); i++)
                if (statfs(mounts[i], &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC)
                        return mounts[i];
        return NULL;
}

/* Enters the group, listens there, and asks the kernel and the tree which unit that is. */
static int listen_in(const char *group, const char *expected) {
        char path[512];
        struct sockaddr_in sa = { .sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t n_sa = sizeof(sa);
        Listeners *listeners = NULL;
        Cgroups *groups = NULL;
        SocketFacts *facts = NULL;
        const char *unit = "";
        size_t n_facts = 0;
        bool is_own = false;

        (void)snprintf(path, sizeof(path), "%s/cgroup.procs", group);
        int procs = open(path, O_WRONLY | O_CLOEXEC), fd;
        if (procs < 0 || write(procs, "0\n", 2) != 2)
                return 1;
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 1) < 0 ||
            getsockname(fd, (struct sockaddr *)&sa, &n_sa) < 0)
                return 2;
        if (listeners_new(&listeners) < 0 || cgroups_new(&groups) < 0)
                return 3;
        if (listeners_on_port(listeners, ntohs(sa.sin_port), &facts, &n_facts) < 0 || n_facts != 1)
                return 4;
        if (cgroups_find_unit(groups, facts[0].cgroup_id, &unit, &is_own) < 0)
                return 5;
        return strcmp(unit, expected) == 0 && is_own ? 0 : 6;
}

START_TEST(test_the_cgroup_of_a_socket_leads_to_its_unit) {
        const char *mount = cgroup2_mount();
        char unit[64], group[256];
        int status;

        if (!mount) {
                SKIP("cgroup v2 is not mounted");
                return;
        }
        (void)snprintf(unit, sizeof(unit), "rollcall-check-%ld.service", (long)getpid());
        (void)snprintf(group, sizeof(group), "%s/%s", mount, unit);
        if (mkdir(group, 0755) < 0) {
                SKIP("may not make a cgroup");
                return;
        }
        pid_t pid = fork();
        if (pid == 0)
                _exit(listen_in(group, unit));
        pid_t ended = waitpid(pid, &status, 0);
        int r = rmdir(group);
        ck_assert_int_eq(ended, pid);
        ck_assert_int_eq(r, 0);
        ck_assert(WIFEXITED(status));
        ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

START_TEST(test_without_cgroup_v2_there_is_nothing_to_ask) {
        Cgroups *here = NULL;
        int r = cgroups_new(&here);

        ck_assert_int_eq(r, cgroup2_mount() ? 0 : -ENOENT);
        cgroups_free(here);
}
END_TEST

Suite *suite(void) {
        Suite *s = suite_create("cgroup");
        TCase *t;

        t = tcase_create("names");
        tcase_add_loop_test(t, test_a_path_tells_its_unit_and_whether_that_is_its_own, 0, ELEMENTS(paths));
        suite_add_tcase(s, t);

        t = tcase_create("trees");
        tcase_add_checked_fixture(t, set_up, tear_down);
        tcase_set_timeout(t, 60);
        tcase_add_test(t, test_a_directory_and_those_below_it_are_of_its_unit);
        tcase_add_test(t, test_what_lives_under_another_manager_is_not_the_units_own);
        tcase_add_test(t, test_a_unit_that_comes_later_is_found);
        tcase_add_test(t, test_units_that_share_a_place_in_the_cache_are_told_apart);
        tcase_add_test(t, test_a_walk_learns_what_it_passes);
        tcase_add_test(t, test_only_directories_are_groups);
        tcase_add_test(t, test_a_tree_is_followed_down_to_the_bound);
        tcase_add_test(t, test_a_wide_unit_hides_no_other);
        tcase_add_test(t, test_walks_are_refused_when_they_took_too_long);
        suite_add_tcase(s, t);

        t = tcase_create("machine");
        tcase_add_test(t, test_a_root_that_is_missing_is_told);
        tcase_add_test(t, test_the_cgroup_of_a_socket_leads_to_its_unit);
        tcase_add_test(t, test_without_cgroup_v2_there_is_nothing_to_ask);
        suite_add_tcase(s, t);
        return s;
}
