/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows how damaged files are named and how many are kept. Does not know what is wrong with them.
 *
 * The trap: the main file is renamed first. If we end between the renames, what is left is a log
 * without a file, which is harmless; a file without its log would be taken for a good one.
 */

#include "state/aside.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "util.h"

#define INFIX ".corrupt-"
#define STAMP "ddddddddTddddddZ" /* d: a digit */
#define ATTEMPTS_MAX 100

static const char *const companions[] = { "-wal", "-shm" };

/* PATH_MAX holds for what the kernel takes, so a longer name is an error anyway. */
PRINTF_LIKE(2, 3) static int print_name(char name[static PATH_MAX], const char *format, ...) {
        va_list arguments;
        int n;

        va_start(arguments, format);
        n = vsnprintf(name, PATH_MAX, format, arguments);
        va_end(arguments);
        return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/* A name that is free, for the three files alike. */
static int choose_name(const char *path, time_t now, char name[static PATH_MAX]) {
        char stamp[sizeof STAMP];
        struct tm utc;

        if (!gmtime_r(&now, &utc) || strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &utc) == 0)
                return -ERANGE;
        for (unsigned i = 1; i <= ATTEMPTS_MAX; i++) {
                int r = i == 1 ? print_name(name, "%s" INFIX "%s", path, stamp)
                               : print_name(name, "%s" INFIX "%s-%u", path, stamp, i);

                if (r < 0 || access(name, F_OK) < 0)
                        return r < 0 ? r : 0;
        }
        return -EEXIST;
}

int aside_set(const char *path, time_t now, char ret_name[static PATH_MAX]) {
        int r = choose_name(path, now, ret_name);

        if (r < 0)
                return r;
        if (rename(path, ret_name) < 0)
                return -errno;
        for (size_t i = 0; i < ELEMENTS(companions); i++) {
                char from[PATH_MAX], to[PATH_MAX];

                if (print_name(from, "%s%s", path, companions[i]) == 0 &&
                    print_name(to, "%s%s", ret_name, companions[i]) == 0)
                        (void)rename(from, to); /* there may be none */
        }
        return 0;
}

/* --- the oldest go -------------------------------------------------------------------------- */

/* Exactly what choose_name() makes for the file `base`: nobody else's files are deleted. */
static bool is_set_of(const char *base, const char *name) {
        size_t n_base = strlen(base);

        if (strncmp(name, base, n_base) != 0 || strncmp(name + n_base, INFIX, strlen(INFIX)) != 0)
                return false;
        name += n_base + strlen(INFIX);
        for (const char *p = STAMP; *p; p++, name++)
                if (*p == 'd' ? !isdigit((unsigned char)*name) : *name != *p)
                        return false;
        if (*name == '\0')
                return true;
        return *name == '-' && name[1] != '\0' && name[1 + strspn(name + 1, "0123456789")] == '\0';
}

static void delete_set(const char *directory, const char *name) {
        char path[PATH_MAX];

        if (print_name(path, "%s/%s", directory, name) == 0)
                (void)unlink(path);
        for (size_t i = 0; i < ELEMENTS(companions); i++)
                if (print_name(path, "%s/%s%s", directory, name, companions[i]) == 0)
                        (void)unlink(path);
}

void aside_prune(const char *path) {
        _cleanup_(freep) char *copy = strdup(path);
        struct dirent **names = NULL;
        const char *directory, *base;
        char *slash;
        int n, n_sets = 0;

        if (!copy)
                return;
        slash = strrchr(copy, '/');
        if (slash)
                *slash = '\0';
        directory = !slash ? "." : slash == copy ? "/" : copy;
        base = slash ? slash + 1 : copy;
        /* Sorted as the version numbers they look like, which is in order of time. */
        n = scandir(directory, &names, NULL, versionsort);
        for (int i = n - 1; i >= 0; i--) {
                if (is_set_of(base, names[i]->d_name) && ++n_sets > ASIDE_SETS_MAX)
                        delete_set(directory, names[i]->d_name);
                free(names[i]);
        }
        free(names);
}
