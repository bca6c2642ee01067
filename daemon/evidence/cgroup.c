/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows that the id of a cgroup is the inode number of its directory, and how systemd names these
 * directories. Does not know processes, nor whether a unit is up.
 *
 * The trap: a user may make cgroups by the thousand below his own service, and every connection
 * from a new one is a walk over all of them. So the walk goes level by level, units first, is
 * bounded, and all walks together get a small share of the loop's time.
 */

#include "evidence/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>

#define UNIT_NAME_MAX 256 /* with its NUL */

/* Bounds of one walk. */
#define WALK_DIRECTORIES_MAX 4096
#define WALK_DEPTH_MAX 16

/* All walks together take one tenth of the time: each is paid for with ten times what it took, out
 * of what has gone by since, at most two seconds (0.2 s of walks at once). */
#define WALK_PRICE 10
#define WALK_CREDIT_MAX_USEC 2000000

#define N_KNOWN 1024
/* A directory that was not found may have been beyond the bounds of the walk. */
#define KNOWN_FAILURE_USEC 10000000

/* The kernel does not use an id twice: what is known of a unit stays true. */
typedef struct Known {
        uint64_t id; /* 0: empty */
        char *unit;  /* NULL: none, believed until: */
        int64_t until_usec;
        bool is_own;
} Known;

struct Cgroups {
        int root_fd;
        uint64_t root_id;
        int64_t credit_usec; /* what walks may be paid with now; below 0: debt */
        int64_t credited_at_usec;
        Known known[N_KNOWN]; /* each id has one place, which the next of that place takes over */
};

/* Directories whose entries are still to be looked at, as paths from the root ("/a/b"). */
typedef struct Walk {
        char *paths[WALK_DIRECTORIES_MAX];
        size_t n_paths;
} Walk;

static Walk *walk_free(Walk *walk) {
        if (!walk)
                return NULL;
        for (size_t i = 0; i < walk->n_paths; i++)
                free(walk->paths[i]);
        free(walk);
        return NULL;
}
DEFINE_CLEANUP(Walk *, walk_free)

static void close_dirp(DIR **directory) {
        if (*directory)
                (void)closedir(*directory);
}

/* --- names ------------------------------------------------------------------------------------ */

static bool is_unit_character(char c) {
        static const char others[] = ":-_.\\@";

        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               memchr(others, c, sizeof(others) - 1);
}

/* As systemd's unit_name_is_valid(): PREFIX.TYPE or PREFIX@INSTANCE.TYPE. Also what keeps a strange
 * directory name out of the log. */
static bool is_unit_name(const char *name, size_t n, const char *const *types) {
        const char *dot = memrchr(name, '.', n);
        const char *at = memchr(name, '@', n);

        if (n >= UNIT_NAME_MAX || !dot || dot == name || at == name || (at && at + 1 >= dot))
                return false;
        for (size_t i = 0; i < n; i++)
                if (!is_unit_character(name[i]))
                        return false;
        size_t n_type = n - (size_t)(dot - name);
        for (; *types; types++)
                if (strlen(*types) == n_type && memcmp(*types, dot, n_type) == 0)
                        return true;
        return false;
}

static const char *const slice_types[] = { ".slice", NULL };
static const char *const unit_types[] = { ".service", ".scope", ".socket", ".mount", ".swap", NULL };

/* Steps to the next component of `*path`; returns its bytes, 0 at the end. */
static size_t path_step(const char **path) {
        *path += strspn(*path, "/");
        *path += **path == '_'; /* systemd's escape */
        return strcspn(*path, "/");
}

/* A unit below a unit is another manager's: a service makes groups below itself, but no units. */
static bool has_unit(const char *path) {
        for (size_t n; (n = path_step(&path)) > 0; path += n)
                if (is_unit_name(path, n, unit_types) || is_unit_name(path, n, slice_types))
                        return true;
        return false;
}

int cgroup_path_to_unit(const char *path, char unit[static UNIT_NAME_MAX], bool *ret_is_own) {
        size_t n = path_step(&path);

        while (is_unit_name(path, n, slice_types)) {
                path += n;
                n = path_step(&path);
        }
        if (!is_unit_name(path, n, unit_types))
                return -ENOENT;
        memcpy(unit, path, n);
        unit[n] = 0;
        *ret_is_own = !has_unit(path + n);
        return 0;
}

/* --- what is known ---------------------------------------------------------------------------- */

static Known *cgroups_get_known(Cgroups *cgroups, uint64_t id) {
        /* Ids are handed out in sequence: their low bits differ. The high half is a generation. */
        return &cgroups->known[(id ^ id >> 32) % N_KNOWN];
}

/* `path` NULL: there is none. */
static int cgroups_learn(Cgroups *cgroups, uint64_t id, const char *path) {
        Known *known = cgroups_get_known(cgroups, id);
        char unit[UNIT_NAME_MAX], *copy = NULL;
        bool is_own = false;

        if (path && cgroup_path_to_unit(path, unit, &is_own) == 0) {
                copy = strdup(unit);
                if (!copy)
                        return -ENOMEM;
        }
        free(known->unit);
        *known = (Known){ id, copy, (int64_t)now_usec(CLOCK_MONOTONIC) + KNOWN_FAILURE_USEC, is_own };
        return 0;
}

static bool known_is(const Known *known, uint64_t id) {
        return known->id == id && (known->unit || known->until_usec > (int64_t)now_usec(CLOCK_MONOTONIC));
}

/* --- the tree --------------------------------------------------------------------------------- */

static unsigned path_depth(const char *path) {
        unsigned depth = 0;

        for (; *path; path++)
                depth += *path == '/';
        return depth;
}

static bool is_group(const struct dirent *entry) {
        return entry->d_type == DT_DIR && strcmp(entry->d_name, ".") != 0 &&
               strcmp(entry->d_name, "..") != 0;
}

static DIR *open_group(int root_fd, const char *path) {
        int fd = openat(root_fd, *path ? path + 1 : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *directory = fd < 0 ? NULL : fdopendir(fd);

        if (!directory && fd >= 0)
                close(fd);
        return directory;
}

/* Looks at what is in the directory `path`. 1: the group `id` is, and has been learnt; 0: it is
 * not. What is there is to be visited later, and learnt where that costs nothing. -ENOMEM. */
static int walk_visit(Walk *walk, Cgroups *cgroups, const char *path, uint64_t id) {
        _cleanup_(close_dirp) DIR *directory = open_group(cgroups->root_fd, path);
        const bool is_deepest = path_depth(path) >= WALK_DEPTH_MAX;
        const struct dirent *entry;

        while (directory && (entry = readdir(directory))) {
                _cleanup_(freep) char *child = NULL;

                if (!is_group(entry))
                        continue;
                if (asprintf(&child, "%s/%s", path, entry->d_name) < 0) {
                        child = NULL;
                        return -ENOMEM;
                }
                bool is_found = entry->d_ino == id;
                if (is_found || cgroups_get_known(cgroups, entry->d_ino)->id == 0) {
                        int r = cgroups_learn(cgroups, entry->d_ino, child);
                        if (r < 0)
                                return r;
                }
                if (is_found)
                        return 1;
                if (!is_deepest && walk->n_paths < ELEMENTS(walk->paths))
                        walk->paths[walk->n_paths++] = TAKE_PTR(child);
        }
        return 0;
}

/* Level by level. What comes of it is learnt. 0 or -ENOMEM. */
static int cgroups_walk(Cgroups *cgroups, uint64_t id) {
        _cleanup_(walk_freep) Walk *walk = calloc(1, sizeof(*walk));

        if (!walk)
                return -ENOMEM;
        int r = walk_visit(walk, cgroups, "", id);
        for (size_t i = 0; r == 0 && i < walk->n_paths; i++)
                r = walk_visit(walk, cgroups, walk->paths[i], id);
        if (r == 0)
                r = cgroups_learn(cgroups, id, NULL);
        return r < 0 ? r : 0;
}

/* 0; -EAGAIN: not now; -ENOMEM. */
static int cgroups_walk_within_credit(Cgroups *cgroups, uint64_t id) {
        int64_t start_usec = (int64_t)now_usec(CLOCK_MONOTONIC);

        cgroups->credit_usec += start_usec - cgroups->credited_at_usec;
        if (cgroups->credit_usec > WALK_CREDIT_MAX_USEC)
                cgroups->credit_usec = WALK_CREDIT_MAX_USEC;
        cgroups->credited_at_usec = start_usec;
        if (cgroups->credit_usec <= 0)
                return -EAGAIN;

        int r = cgroups_walk(cgroups, id);
        cgroups->credit_usec -= ((int64_t)now_usec(CLOCK_MONOTONIC) - start_usec) * WALK_PRICE;
        return r;
}

int cgroups_find_unit(Cgroups *cgroups, uint64_t cgroup_id, const char **ret_unit, bool *ret_is_own) {
        const Known *known = cgroups_get_known(cgroups, cgroup_id);

        if (cgroup_id == 0 || cgroup_id == cgroups->root_id)
                return -ENOENT;
        if (!known_is(known, cgroup_id)) {
                int r = cgroups_walk_within_credit(cgroups, cgroup_id);
                if (r < 0)
                        return r;
        }
        if (!known->unit)
                return -ENOENT;
        *ret_unit = known->unit;
        *ret_is_own = known->is_own;
        return 0;
}

/* --- life ------------------------------------------------------------------------------------- */

int cgroups_new_at(Cgroups **ret, const char *root) {
        _cleanup_(cgroups_freep) Cgroups *cgroups = calloc(1, sizeof(*cgroups));
        struct stat st;

        if (!cgroups)
                return -ENOMEM;
        cgroups->root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (cgroups->root_fd < 0 || fstat(cgroups->root_fd, &st) < 0)
                return -errno;
        cgroups->root_id = st.st_ino;
        cgroups->credit_usec = WALK_CREDIT_MAX_USEC;
        cgroups->credited_at_usec = (int64_t)now_usec(CLOCK_MONOTONIC);
        *ret = TAKE_PTR(cgroups);
        return 0;
}

int cgroups_new(Cgroups **ret) {
        /* The second one is where systemd has it beside cgroup v1. */
        static const char *const roots[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
        struct statfs fs;

        for (size_t i = 0; i < ELEMENTS(roots); i++)
                if (statfs(roots[i], &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC)
                        return cgroups_new_at(ret, roots[i]);
        return -ENOENT;
}

Cgroups *cgroups_free(Cgroups *cgroups) {
        if (!cgroups)
                return NULL;
        for (size_t i = 0; i < N_KNOWN; i++)
                free(cgroups->known[i].unit);
        if (cgroups->root_fd >= 0)
                close(cgroups->root_fd);
        free(cgroups);
        return NULL;
}
