/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: a library that a program is started with (LD_PRELOAD) and that makes its disk slow, full, broken
 * or dead, while the program runs. It concerns the files whose paths contain a given string, and no others.
 *
 *     PRELOAD_DISK_MATCH    the string, such as "registry.db"; without it nothing is done
 *     PRELOAD_DISK_RULES    rules that always hold, or
 *     PRELOAD_DISK_CONTROL  a file of rules, read again at each call; if it is missing, nothing is done
 *
 * A rule is "CALL ACTION", one on a line (in the environment also separated by ";"):
 *
 *     CALL    open   open(), openat() and their likes
 *             write  pwrite(), write()
 *             sync   fsync(), fdatasync()
 *     ACTION  fail ENOSPC  the call fails, with any of the names below or a number
 *             delay 500    it comes half a second later
 *             hang         it does not return until the rule is gone
 *
 * The trap: everything here may be called from any thread, and from within what it wraps. So there is no state
 * but what the loader made, and the control file is read by plain system calls.
 */

#undef _FORTIFY_SOURCE /* its inline functions would be taken for ours */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define RULES_MAX 1024
/* How often a call that hangs looks whether its rule is gone. */
#define HANG_NSEC 5000000L

typedef struct Rule {
        enum { RULE_NONE, RULE_FAIL, RULE_DELAY, RULE_HANG } action;
        int value; /* errno, or milliseconds */
} Rule;

static const struct {
        const char *name;
        int number;
} errors[] = {
        { "EACCES", EACCES }, { "EDQUOT", EDQUOT }, { "EIO", EIO },     { "EMFILE", EMFILE },
        { "ENOENT", ENOENT }, { "ENOSPC", ENOSPC }, { "EROFS", EROFS },
};

static int parse_error(const char *word) {
        for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
                if (strncmp(word, errors[i].name, strlen(errors[i].name)) == 0)
                        return errors[i].number;
        return atoi(word);
}

/* The rule for `call` in one line, which ends at a line feed, a semicolon or a NUL. */
static Rule parse_rule(const char *line, const char *call) {
        size_t n_call = strlen(call);

        if (strncmp(line, call, n_call) != 0 || line[n_call] != ' ')
                return (Rule){ .action = RULE_NONE };
        line += n_call + 1;
        if (strncmp(line, "fail ", 5) == 0)
                return (Rule){ .action = RULE_FAIL, .value = parse_error(line + 5) };
        if (strncmp(line, "delay ", 6) == 0)
                return (Rule){ .action = RULE_DELAY, .value = atoi(line + 6) };
        if (strncmp(line, "hang", 4) == 0)
                return (Rule){ .action = RULE_HANG };
        return (Rule){ .action = RULE_NONE };
}

static Rule find_rule(const char *rules, const char *call) {
        while (*rules) {
                Rule rule = parse_rule(rules, call);

                if (rule.action != RULE_NONE)
                        return rule;
                rules += strcspn(rules, "\n;");
                rules += strspn(rules, "\n; ");
        }
        return (Rule){ .action = RULE_NONE };
}

static Rule get_rule(const char *call) {
        const char *rules = getenv("PRELOAD_DISK_RULES");
        const char *control = getenv("PRELOAD_DISK_CONTROL");
        char text[RULES_MAX] = "";
        long fd;

        if (rules)
                return find_rule(rules, call);
        fd = control ? syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC) : -1;
        if (fd < 0)
                return (Rule){ .action = RULE_NONE };
        if (syscall(SYS_read, fd, text, sizeof text - 1) < 0)
                text[0] = '\0';
        syscall(SYS_close, fd);
        return find_rule(text, call);
}

static void sleep_nsec(long seconds, long nsec) {
        struct timespec left = { .tv_sec = seconds, .tv_nsec = nsec };

        while (nanosleep(&left, &left) < 0 && errno == EINTR)
                ;
}

/* Does as the rule for `call` says. 0: go on with the call; else the errno with which it fails. */
static int obey(const char *call) {
        int saved = errno;
        Rule rule = get_rule(call);
        int error = 0;

        while (rule.action == RULE_HANG) {
                sleep_nsec(0, HANG_NSEC);
                rule = get_rule(call);
        }
        if (rule.action == RULE_DELAY)
                sleep_nsec(rule.value / 1000, rule.value % 1000 * 1000000L);
        else if (rule.action == RULE_FAIL)
                error = rule.value;
        errno = saved;
        return error;
}

static bool is_matching_path(const char *path) {
        const char *match = getenv("PRELOAD_DISK_MATCH");

        return match && *match && path && strstr(path, match);
}

static bool is_matching_fd(int fd) {
        char link[64], path[PATH_MAX];
        int saved = errno;
        ssize_t n;

        if (!getenv("PRELOAD_DISK_MATCH"))
                return false;
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        n = readlink(link, path, sizeof path - 1);
        errno = saved;
        if (n < 0)
                return false;
        path[n] = '\0';
        return is_matching_path(path);
}

/* True if the call may go on; else errno says why not. */
static bool may_go_on(bool matches, const char *call) {
        int error = matches ? obey(call) : 0;

        if (error != 0)
                errno = error;
        return error == 0;
}

/* --- the calls ------------------------------------------------------------------------------ */

/* The next function of that name: `NEXT(fsync)(fd)`. */
#define NEXT(function) ((typeof(&function))next_of(#function))

static void *next_of(const char *name) {
        void *next = dlsym(RTLD_NEXT, name);

        if (!next)
                abort();
        return next;
}

#define TAKE_MODE(flags, mode)                                               \
        do {                                                                 \
                if ((flags) & (O_CREAT | __O_TMPFILE)) {                     \
                        va_list arguments;                                   \
                        va_start(arguments, flags);                          \
                        (mode) = va_arg(arguments, mode_t);                  \
                        va_end(arguments);                                   \
                }                                                            \
        } while (0)

int open(const char *path, int flags, ...) {
        mode_t mode = 0;

        TAKE_MODE(flags, mode);
        return may_go_on(is_matching_path(path), "open") ? NEXT(open)(path, flags, mode) : -1;
}

int open64(const char *path, int flags, ...) {
        mode_t mode = 0;

        TAKE_MODE(flags, mode);
        return may_go_on(is_matching_path(path), "open") ? NEXT(open64)(path, flags, mode) : -1;
}

int openat(int directory_fd, const char *path, int flags, ...) {
        mode_t mode = 0;

        TAKE_MODE(flags, mode);
        return may_go_on(is_matching_path(path), "open")
                       ? NEXT(openat)(directory_fd, path, flags, mode)
                       : -1;
}

int openat64(int directory_fd, const char *path, int flags, ...) {
        mode_t mode = 0;

        TAKE_MODE(flags, mode);
        return may_go_on(is_matching_path(path), "open")
                       ? NEXT(openat64)(directory_fd, path, flags, mode)
                       : -1;
}

ssize_t write(int fd, const void *data, size_t n_data) {
        return may_go_on(is_matching_fd(fd), "write") ? NEXT(write)(fd, data, n_data) : -1;
}

ssize_t pwrite(int fd, const void *data, size_t n_data, off_t at) {
        return may_go_on(is_matching_fd(fd), "write") ? NEXT(pwrite)(fd, data, n_data, at) : -1;
}

ssize_t pwrite64(int fd, const void *data, size_t n_data, off64_t at) {
        return may_go_on(is_matching_fd(fd), "write") ? NEXT(pwrite64)(fd, data, n_data, at) : -1;
}

int fsync(int fd) {
        return may_go_on(is_matching_fd(fd), "sync") ? NEXT(fsync)(fd) : -1;
}

int fdatasync(int fd) {
        return may_go_on(is_matching_fd(fd), "sync") ? NEXT(fdatasync)(fd) : -1;
}
