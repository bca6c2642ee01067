/* SPDX-License-Identifier: Apache-2.0 */
/* For the tests of daemon/state: a directory for each, nodes, and a disk that does as it is told. */
#pragma once

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <limits.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/node.h"
#include "util.h"

/* --- a directory for each test -------------------------------------------------------------- */

static char state_root[PATH_MAX];

/* Unchecked fixtures: they run in the parent, so that a failing test leaves nothing behind. */
static inline void make_root(void) {
        const char *tmp = getenv("TMPDIR");

        snprintf(state_root, sizeof state_root, "%s/rollcall-check-XXXXXX", tmp ? tmp : "/tmp");
        ck_assert_ptr_nonnull(mkdtemp(state_root));
        ck_assert_int_eq(chmod(state_root, 0755), 0);
}

static inline int remove_entry(const char *path, const struct stat *facts, int kind, struct FTW *ftw) {
        (void)facts;
        (void)kind;
        (void)ftw;
        return remove(path);
}

static inline void remove_root(void) {
        nftw(state_root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* A path below the directory of this test; the result is one of a few static buffers. */
PRINTF_LIKE(1, 2) static inline const char *in_dir(const char *format, ...) {
        static char buffers[8][PATH_MAX];
        static unsigned next;
        char *path = buffers[next++ % ELEMENTS(buffers)];
        va_list arguments;
        int n = snprintf(path, PATH_MAX, "%s/%ld", state_root, (long)getpid());

        (void)mkdir(path, 0755);
        n += snprintf(path + n, (size_t)(PATH_MAX - n), "/");
        va_start(arguments, format);
        vsnprintf(path + n, (size_t)(PATH_MAX - n), format, arguments);
        va_end(arguments);
        return path;
}

/* The registry file of this test. */
static char path[PATH_MAX];

static inline void use_path(const char *name) {
        snprintf(path, sizeof path, "%s", in_dir("%s", name));
}

static inline bool exists(const char *file) {
        return access(file, F_OK) == 0;
}

static inline void write_file(const char *file, const void *data, size_t n_data) {
        _cleanup_(close_fdp) int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(write(fd, data, n_data), (ssize_t)n_data);
}

static inline off_t file_size(const char *file) {
        struct stat facts;

        ck_assert_int_eq(stat(file, &facts), 0);
        return facts.st_size;
}

static inline mode_t file_mode(const char *file) {
        struct stat facts;

        ck_assert_int_eq(stat(file, &facts), 0);
        return facts.st_mode & 07777;
}

/* --- nodes ---------------------------------------------------------------------------------- */

static inline Node *new_node(const char *name, uint64_t serial) {
        NodeInfo info = { .name = name,
                          .n_name = strlen(name),
                          .port = (uint16_t)(40000 + serial % 20000),
                          .type = NODE_TYPE_NORMAL,
                          .highest_version = 6,
                          .lowest_version = 5 };
        Node *node = node_new(&info);

        ck_assert_ptr_nonnull(node);
        node->serial = serial;
        node->creation = (uint32_t)(1000 + serial);
        node->since_usec = UINT64_C(1763687473000000) + serial;
        return node;
}

/* --- another process's or tool's look at the file ------------------------------------------- */

/* The first column of the first row; NULL: none. On any error the test fails. */
static inline char *ask(const char *file, const char *sql) {
        sqlite3 *handle = NULL;
        sqlite3_stmt *statement = NULL;
        char *answer = NULL;

        ck_assert_int_eq(sqlite3_open_v2(file, &handle, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
        ck_assert_msg(sqlite3_prepare_v2(handle, sql, -1, &statement, NULL) == SQLITE_OK, "%s: %s",
                      sql, sqlite3_errmsg(handle));
        if (sqlite3_step(statement) == SQLITE_ROW && sqlite3_column_text(statement, 0))
                answer = strdup((const char *)sqlite3_column_text(statement, 0));
        ck_assert_msg(sqlite3_finalize(statement) == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(handle));
        sqlite3_close(handle);
        return answer;
}

static inline long ask_number(const char *file, const char *sql) {
        _cleanup_(freep) char *answer = ask(file, sql);

        ck_assert_msg(answer, "no answer to %s", sql);
        return strtol(answer, NULL, 10);
}

#define ck_assert_answer(file, sql, expected)                          \
        do {                                                           \
                _cleanup_(freep) char *answer_ = ask((file), (sql));   \
                ck_assert_pstr_eq(answer_, (expected));                \
        } while (0)

/* As a person would change the file with sqlite3: a connection of its own, gone afterwards. */
static inline void change(const char *file, const char *sql) {
        sqlite3 *handle = NULL;
        char *message = NULL;

        ck_assert_int_eq(sqlite3_open(file, &handle), SQLITE_OK);
        sqlite3_busy_timeout(handle, 5000);
        ck_assert_msg(sqlite3_exec(handle, sql, NULL, NULL, &message) == SQLITE_OK, "%s: %s", sql,
                      message ? message : "");
        sqlite3_close(handle);
}

/* Runs `check` in a process of its own; its result is the exit status. `uid` not 0: as that user, with no
 * group but `gid`. */
static inline int run_child(uid_t uid, gid_t gid, int (*check)(const char *), const char *argument) {
        int status;
        pid_t pid = fork();

        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                /* Not nested: libcheck would take a failed assertion here for the parent's. */
                if (uid != 0 &&
                    (setgroups(1, &gid) < 0 || setresgid(gid, gid, gid) < 0 ||
                     setresuid(uid, uid, uid) < 0))
                        _exit(99);
                _exit(check(argument));
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFEXITED(status));
        return WEXITSTATUS(status);
}

/* --- a disk that does as it is told --------------------------------------------------------- */

/* An SQLite VFS around the system's, as the default one. What is set is answered by the calls on all files
 * whose names contain `disk_match`. */
static atomic_int disk_write_result;  /* an SQLite code, or 0 */
static atomic_int disk_sync_result;
static atomic_int disk_open_result;
static atomic_int disk_n_syncs;       /* counted */
static const char *disk_match = "";
static int disk_hung_calls;           /* of DISK_OPEN, DISK_SYNC: they do not return */
static bool disk_is_waited_for;       /* by one that hangs */
static pthread_mutex_t disk_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t disk_change = PTHREAD_COND_INITIALIZER;

static sqlite3_vfs *disk_system;
static sqlite3_vfs disk_vfs;
static sqlite3_io_methods disk_methods;

typedef struct DiskFile {
        sqlite3_file base;
        bool matches;
        sqlite3_file *real; /* behind this struct */
} DiskFile;

static inline sqlite3_file *disk_real(sqlite3_file *file) {
        return ((DiskFile *)file)->real;
}

enum { DISK_OPEN = 1, DISK_SYNC = 2 };

static inline void disk_hang(int calls) {
        pthread_mutex_lock(&disk_mutex);
        disk_hung_calls = calls;
        pthread_cond_broadcast(&disk_change);
        pthread_mutex_unlock(&disk_mutex);
}

/* Returns when somebody hangs. */
static inline void disk_wait_until_hung(void) {
        pthread_mutex_lock(&disk_mutex);
        while (!disk_is_waited_for)
                pthread_cond_wait(&disk_change, &disk_mutex);
        pthread_mutex_unlock(&disk_mutex);
}

static inline int disk_close(sqlite3_file *file) {
        return disk_real(file)->pMethods->xClose(disk_real(file));
}

static inline int disk_read(sqlite3_file *file, void *data, int n, sqlite3_int64 at) {
        return disk_real(file)->pMethods->xRead(disk_real(file), data, n, at);
}

static inline int disk_write(sqlite3_file *file, const void *data, int n, sqlite3_int64 at) {
        if (((DiskFile *)file)->matches && disk_write_result != 0)
                return disk_write_result;
        return disk_real(file)->pMethods->xWrite(disk_real(file), data, n, at);
}

static inline int disk_truncate(sqlite3_file *file, sqlite3_int64 size) {
        return disk_real(file)->pMethods->xTruncate(disk_real(file), size);
}

static inline void disk_may_hang(int call) {
        pthread_mutex_lock(&disk_mutex);
        while (disk_hung_calls & call) {
                disk_is_waited_for = true;
                pthread_cond_broadcast(&disk_change);
                pthread_cond_wait(&disk_change, &disk_mutex);
        }
        disk_is_waited_for = false;
        pthread_mutex_unlock(&disk_mutex);
}

static inline int disk_sync(sqlite3_file *file, int flags) {
        if (!((DiskFile *)file)->matches)
                return disk_real(file)->pMethods->xSync(disk_real(file), flags);
        disk_n_syncs++;
        disk_may_hang(DISK_SYNC);
        if (disk_sync_result != 0)
                return disk_sync_result;
        return disk_real(file)->pMethods->xSync(disk_real(file), flags);
}

static inline int disk_file_size(sqlite3_file *file, sqlite3_int64 *ret) {
        return disk_real(file)->pMethods->xFileSize(disk_real(file), ret);
}

static inline int disk_lock(sqlite3_file *file, int level) {
        return disk_real(file)->pMethods->xLock(disk_real(file), level);
}

static inline int disk_unlock(sqlite3_file *file, int level) {
        return disk_real(file)->pMethods->xUnlock(disk_real(file), level);
}

static inline int disk_check_lock(sqlite3_file *file, int *ret) {
        return disk_real(file)->pMethods->xCheckReservedLock(disk_real(file), ret);
}

static inline int disk_control(sqlite3_file *file, int op, void *argument) {
        return disk_real(file)->pMethods->xFileControl(disk_real(file), op, argument);
}

static inline int disk_sector_size(sqlite3_file *file) {
        return disk_real(file)->pMethods->xSectorSize(disk_real(file));
}

static inline int disk_characteristics(sqlite3_file *file) {
        return disk_real(file)->pMethods->xDeviceCharacteristics(disk_real(file));
}

static inline int disk_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **ret) {
        return disk_real(file)->pMethods->xShmMap(disk_real(file), page, size, extend, ret);
}

static inline int disk_shm_lock(sqlite3_file *file, int offset, int n, int flags) {
        return disk_real(file)->pMethods->xShmLock(disk_real(file), offset, n, flags);
}

static inline void disk_shm_barrier(sqlite3_file *file) {
        disk_real(file)->pMethods->xShmBarrier(disk_real(file));
}

static inline int disk_shm_unmap(sqlite3_file *file, int delete) {
        return disk_real(file)->pMethods->xShmUnmap(disk_real(file), delete);
}

static inline int disk_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                            int *ret_flags) {
        DiskFile *disk_file = (DiskFile *)file;
        int rc;

        (void)vfs;
        file->pMethods = NULL;
        disk_file->matches = name && strstr(name, disk_match);
        disk_file->real = (sqlite3_file *)(disk_file + 1);
        if (disk_file->matches)
                disk_may_hang(DISK_OPEN);
        if (disk_file->matches && disk_open_result != 0)
                return disk_open_result;
        rc = disk_system->xOpen(disk_system, name, disk_file->real, flags, ret_flags);
        if (disk_file->real->pMethods)
                file->pMethods = &disk_methods;
        return rc;
}

/* Idempotent. The methods are those of version 2: with shared memory, without mmap(). */
static inline void disk_install(void) {
        if (disk_system)
                return;
        disk_system = sqlite3_vfs_find(NULL);
        disk_methods = (sqlite3_io_methods){
                .iVersion = 2,
                .xClose = disk_close,
                .xRead = disk_read,
                .xWrite = disk_write,
                .xTruncate = disk_truncate,
                .xSync = disk_sync,
                .xFileSize = disk_file_size,
                .xLock = disk_lock,
                .xUnlock = disk_unlock,
                .xCheckReservedLock = disk_check_lock,
                .xFileControl = disk_control,
                .xSectorSize = disk_sector_size,
                .xDeviceCharacteristics = disk_characteristics,
                .xShmMap = disk_shm_map,
                .xShmLock = disk_shm_lock,
                .xShmBarrier = disk_shm_barrier,
                .xShmUnmap = disk_shm_unmap,
        };
        disk_vfs = *disk_system;
        disk_vfs.zName = "told";
        disk_vfs.szOsFile = (int)sizeof(DiskFile) + disk_system->szOsFile;
        disk_vfs.xOpen = disk_open;
        ck_assert_int_eq(sqlite3_vfs_register(&disk_vfs, 1), SQLITE_OK);
}
