/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: a library that a program is started with (LD_PRELOAD) and that makes its disk slow, full, broken
 * or dead, while the program runs. It concerns the files whose paths contain a given string, and no others.
 *
 *     PRELOAD_DISK_MATCH    the string, such as "registry.db"; without it nothing is done
 *     PRELOAD_DISK_RULES    rules that always hold, or
 *     PRELOAD_DISK_CONTROL  a file of rules, read again at each call; if it is missing, nothing is done
 *     PRELOAD_DISK_COUNTS   a file into which the calls are counted: a number of 32 bits for each CALL, in the order
 *                           below
 *
 * A rule is "CALL ACTION", one on a line (in the environment also separated by ";"), and may end with "at NUMBER" or
 * "beyond OFFSET":
 *
 *     CALL    open      open(), openat() and their likes
 *             read      pread(), read()
 *             write     pwrite(), write()
 *             sync      fsync(), fdatasync()
 *             truncate  ftruncate()
 *             map       mmap()
 *             lock      fcntl() that takes a record lock
 *             stat      stat(), fstat(), lstat()
 *             unlink    unlink()
 *     ACTION  fail ENOSPC  the call fails, with any of the names below or a number
 *             short        of what is read or written, only the first half is
 *             delay 500    it comes half a second later
 *             hang         it does not return until the rule is gone
 *     NUMBER  of the one call that is meant, counted from the program's start: 1, 2, ...
 *     OFFSET  in the file, of pread() and pwrite(): only from there on
 *
 * The trap: everything here may be called from any thread, and from within what it wraps. So there is no state
 * but what the loader made and counters, and the control file is read by plain system calls.
 */

#undef _FORTIFY_SOURCE /* its inline functions would be taken for ours */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define RULES_MAX 1024
/* How often a call that hangs looks whether its rule is gone. */
#define HANG_NSEC 5000000L

typedef enum Call {
        CALL_OPEN,
        CALL_READ,
        CALL_WRITE,
        CALL_SYNC,
        CALL_TRUNCATE,
        CALL_MAP,
        CALL_LOCK,
        CALL_STAT,
        CALL_UNLINK,
        _CALL_N,
} Call;

static const char *const call_names[_CALL_N] = {
        [CALL_OPEN] = "open", [CALL_READ] = "read", [CALL_WRITE] = "write",
        [CALL_SYNC] = "sync", [CALL_TRUNCATE] = "truncate", [CALL_MAP] = "map",
        [CALL_LOCK] = "lock", [CALL_STAT] = "stat", [CALL_UNLINK] = "unlink",
};

static atomic_uint own_counts[_CALL_N];
static atomic_uint *counts = own_counts;

typedef struct Rule {
        enum { RULE_NONE, RULE_FAIL, RULE_SHORT, RULE_DELAY, RULE_HANG } action;
        int value; /* errno, or milliseconds */
        unsigned at;    /* 0: always */
        off64_t beyond; /* 0: everywhere */
} Rule;

static const struct {
        const char *name;
        int number;
} errors[] = {
        { "EACCES", EACCES }, { "EAGAIN", EAGAIN }, { "EDQUOT", EDQUOT }, { "EINTR", EINTR },
        { "EIO", EIO },       { "EMFILE", EMFILE }, { "ENOENT", ENOENT }, { "ENOLCK", ENOLCK },
        { "ENOMEM", ENOMEM }, { "ENOSPC", ENOSPC }, { "EROFS", EROFS },
};

static int parse_error(const char *word) {
        for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
                if (strncmp(word, errors[i].name, strlen(errors[i].name)) == 0)
                        return errors[i].number;
        return atoi(word);
}

/* The rule for `call` in one line, which ends at a line feed, a semicolon or a NUL. */
static Rule parse_rule(const char *line, const char *call) {
        size_t n_call = strlen(call), n_line = strcspn(line, "\n;");
        const char *at = memmem(line, n_line, " at ", 4), *beyond = memmem(line, n_line, " beyond ", 8);
        Rule rule = {
                .action = RULE_NONE,
                .at = at ? (unsigned)atoi(at + 4) : 0,
                .beyond = beyond ? atoll(beyond + 8) : 0,
        };

        if (strncmp(line, call, n_call) != 0 || line[n_call] != ' ')
                return rule;
        line += n_call + 1;
        if (strncmp(line, "fail ", 5) == 0) {
                rule.action = RULE_FAIL;
                rule.value = parse_error(line + 5);
        } else if (strncmp(line, "delay ", 6) == 0) {
                rule.action = RULE_DELAY;
                rule.value = atoi(line + 6);
        } else if (strncmp(line, "short", 5) == 0)
                rule.action = RULE_SHORT;
        else if (strncmp(line, "hang", 4) == 0)
                rule.action = RULE_HANG;
        return rule;
}

static Rule find_rule(const char *rules, const char *call, unsigned number, off64_t offset) {
        while (*rules) {
                Rule rule = parse_rule(rules, call);

                if (rule.action != RULE_NONE && (rule.at == 0 || rule.at == number) && offset >= rule.beyond)
                        return rule;
                rules += strcspn(rules, "\n;");
                rules += strspn(rules, "\n; ");
        }
        return (Rule){ .action = RULE_NONE };
}

static Rule get_rule(const char *call, unsigned number, off64_t offset) {
        const char *rules = getenv("PRELOAD_DISK_RULES");
        const char *control = getenv("PRELOAD_DISK_CONTROL");
        char text[RULES_MAX] = "";
        long fd;

        if (rules)
                return find_rule(rules, call, number, offset);
        fd = control ? syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC) : -1;
        if (fd < 0)
                return (Rule){ .action = RULE_NONE };
        if (syscall(SYS_read, fd, text, sizeof text - 1) < 0)
                text[0] = '\0';
        syscall(SYS_close, fd);
        return find_rule(text, call, number, offset);
}

/* Into the file that is asked for, so that they can be read when we have ended. */
__attribute__((constructor)) static void share_counts(void) {
        const char *path = getenv("PRELOAD_DISK_COUNTS");
        long fd = path ? syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
        long shared;

        if (fd < 0)
                return;
        shared = syscall(SYS_mmap, NULL, sizeof own_counts, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0L);
        syscall(SYS_close, fd);
        if (shared != -1)
                counts = (atomic_uint *)shared;
}

static void sleep_nsec(long seconds, long nsec) {
        struct timespec left = { .tv_sec = seconds, .tv_nsec = nsec };

        while (nanosleep(&left, &left) < 0 && errno == EINTR)
                ;
}

/* Does as the rule for `call` says. 0: go on with the call, with half of it if `is_short`; else the errno with which
 * it fails. */
static int obey(Call call, off64_t offset, bool *is_short) {
        unsigned number = atomic_fetch_add(&counts[call], 1) + 1;
        int saved = errno;
        Rule rule = get_rule(call_names[call], number, offset);
        int error = 0;

        while (rule.action == RULE_HANG) {
                sleep_nsec(0, HANG_NSEC);
                rule = get_rule(call_names[call], number, offset);
        }
        if (rule.action == RULE_DELAY)
                sleep_nsec(rule.value / 1000, rule.value % 1000 * 1000000L);
        else if (rule.action == RULE_FAIL)
                error = rule.value;
        *is_short = rule.action == RULE_SHORT;
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
static bool may_go_on(bool matches, Call call) {
        bool is_short;
        int error = matches ? obey(call, 0, &is_short) : 0;

        if (error != 0)
                errno = error;
        return error == 0;
}

/* The same for a call that transfers `*n` bytes at `offset`. */
static bool may_transfer(bool matches, Call call, off64_t offset, size_t *n) {
        bool is_short = false;
        int error = matches ? obey(call, offset, &is_short) : 0;

        if (error != 0)
                errno = error;
        if (is_short && *n > 1)
                *n /= 2;
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
        return may_go_on(is_matching_path(path), CALL_OPEN) ? NEXT(open)(path, flags, mode) : -1;
}

int open64(const char *path, int flags, ...) {
        mode_t mode = 0;

        TAKE_MODE(flags, mode);
        return may_go_on(is_matching_path(path), CALL_OPEN) ? NEXT(open64)(path, flags, mode) : -1;
}

int openat(int directory_fd, const char *path, int flags, ...) {
        mode_t mode = 0;

        TAKE_MODE(flags, mode);
        return may_go_on(is_matching_path(path), CALL_OPEN)
                       ? NEXT(openat)(directory_fd, path, flags, mode)
                       : -1;
}

int openat64(int directory_fd, const char *path, int flags, ...) {
        mode_t mode = 0;

        TAKE_MODE(flags, mode);
        return may_go_on(is_matching_path(path), CALL_OPEN)
                       ? NEXT(openat64)(directory_fd, path, flags, mode)
                       : -1;
}

ssize_t read(int fd, void *data, size_t n_data) {
        return may_transfer(is_matching_fd(fd), CALL_READ, 0, &n_data) ? NEXT(read)(fd, data, n_data) : -1;
}

ssize_t pread(int fd, void *data, size_t n_data, off_t at) {
        return may_transfer(is_matching_fd(fd), CALL_READ, at, &n_data) ? NEXT(pread)(fd, data, n_data, at) : -1;
}

ssize_t pread64(int fd, void *data, size_t n_data, off64_t at) {
        return may_transfer(is_matching_fd(fd), CALL_READ, at, &n_data) ? NEXT(pread64)(fd, data, n_data, at) : -1;
}

ssize_t write(int fd, const void *data, size_t n_data) {
        return may_transfer(is_matching_fd(fd), CALL_WRITE, 0, &n_data) ? NEXT(write)(fd, data, n_data) : -1;
}

ssize_t pwrite(int fd, const void *data, size_t n_data, off_t at) {
        return may_transfer(is_matching_fd(fd), CALL_WRITE, at, &n_data) ? NEXT(pwrite)(fd, data, n_data, at) : -1;
}

ssize_t pwrite64(int fd, const void *data, size_t n_data, off64_t at) {
        return may_transfer(is_matching_fd(fd), CALL_WRITE, at, &n_data) ? NEXT(pwrite64)(fd, data, n_data, at) : -1;
}

int fsync(int fd) {
        return may_go_on(is_matching_fd(fd), CALL_SYNC) ? NEXT(fsync)(fd) : -1;
}

int fdatasync(int fd) {
        return may_go_on(is_matching_fd(fd), CALL_SYNC) ? NEXT(fdatasync)(fd) : -1;
}

int ftruncate(int fd, off_t n) {
        return may_go_on(is_matching_fd(fd), CALL_TRUNCATE) ? NEXT(ftruncate)(fd, n) : -1;
}

int ftruncate64(int fd, off64_t n) {
        return may_go_on(is_matching_fd(fd), CALL_TRUNCATE) ? NEXT(ftruncate64)(fd, n) : -1;
}

void *mmap(void *where, size_t n, int protection, int flags, int fd, off_t at) {
        return may_go_on(fd >= 0 && is_matching_fd(fd), CALL_MAP) ? NEXT(mmap)(where, n, protection, flags, fd, at)
                                                                  : MAP_FAILED;
}

void *mmap64(void *where, size_t n, int protection, int flags, int fd, off64_t at) {
        return may_go_on(fd >= 0 && is_matching_fd(fd), CALL_MAP) ? NEXT(mmap64)(where, n, protection, flags, fd, at)
                                                                  : MAP_FAILED;
}

/* Whatever the third argument is, it is passed on as it came. */
#define TAKE_ARGUMENT(command, argument)             \
        do {                                         \
                va_list arguments;                   \
                va_start(arguments, command);        \
                (argument) = va_arg(arguments, void *); \
                va_end(arguments);                   \
        } while (0)

static bool may_control(int fd, int command, const void *argument) {
        bool is_lock = (command == F_SETLK || command == F_SETLKW) && ((const struct flock *)argument)->l_type != F_UNLCK;

        return may_go_on(is_lock && is_matching_fd(fd), CALL_LOCK);
}

int fcntl(int fd, int command, ...) {
        void *argument;

        TAKE_ARGUMENT(command, argument);
        return may_control(fd, command, argument) ? NEXT(fcntl)(fd, command, argument) : -1;
}

int fcntl64(int fd, int command, ...) {
        void *argument;

        TAKE_ARGUMENT(command, argument);
        return may_control(fd, command, argument) ? NEXT(fcntl64)(fd, command, argument) : -1;
}

int stat(const char *path, struct stat *facts) {
        return may_go_on(is_matching_path(path), CALL_STAT) ? NEXT(stat)(path, facts) : -1;
}

int stat64(const char *path, struct stat64 *facts) {
        return may_go_on(is_matching_path(path), CALL_STAT) ? NEXT(stat64)(path, facts) : -1;
}

int lstat(const char *path, struct stat *facts) {
        return may_go_on(is_matching_path(path), CALL_STAT) ? NEXT(lstat)(path, facts) : -1;
}

int lstat64(const char *path, struct stat64 *facts) {
        return may_go_on(is_matching_path(path), CALL_STAT) ? NEXT(lstat64)(path, facts) : -1;
}

int fstat(int fd, struct stat *facts) {
        return may_go_on(is_matching_fd(fd), CALL_STAT) ? NEXT(fstat)(fd, facts) : -1;
}

int fstat64(int fd, struct stat64 *facts) {
        return may_go_on(is_matching_fd(fd), CALL_STAT) ? NEXT(fstat64)(fd, facts) : -1;
}

int unlink(const char *path) {
        return may_go_on(is_matching_path(path), CALL_UNLINK) ? NEXT(unlink)(path) : -1;
}
