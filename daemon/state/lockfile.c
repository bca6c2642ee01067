/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows how one daemon keeps another from its registry, and where creations are remembered beside
 * the registry file. Does not know what is in that file.
 *
 * The trap: between open() and flock() the file may be deleted by hand and made again by another
 * daemon, and both would hold "the lock". So the path is looked at again once the lock is held.
 */

#include "state/lockfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "core/creation.h"

#define DIRECTORY_MODE 0750
#define PARENTS_MODE 0755
/* Not for the group: whoever may open it may take the lock. */
#define FILE_MODE 0600
/* A file that is deleted again and again between open() and flock() is somebody's loop. */
#define ATTEMPTS_MAX 10
#define TEXT_MAX 64

struct Lockfile {
        char *path;
        int fd;
        bool is_read_only;
        dev_t device;
        ino_t inode;
        uint32_t creations;
};

Lockfile *lockfile_release(Lockfile *lock) {
        if (lock) {
                close_fdp(&lock->fd);
                free(lock->path);
        }
        free(lock);
        return NULL;
}

/* mkdir() that gives `mode` whatever the umask, and does not touch a directory that exists. */
static int make_directory(const char *path, mode_t mode) {
        if (mkdir(path, mode) == 0)
                return chmod(path, mode) == 0 ? 0 : -errno;
        return errno == EEXIST ? 0 : -errno;
}

static int make_directories_of(const char *path) {
        _cleanup_(freep) char *directory = strdup(path);
        char *end;

        if (!directory)
                return -ENOMEM;
        end = strrchr(directory, '/');
        if (!end || end == directory)
                return 0;
        *end = '\0';
        for (char *slash = strchr(directory + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
                int r;

                *slash = '\0';
                r = make_directory(directory, PARENTS_MODE);
                *slash = '/';
                if (r < 0)
                        return r;
        }
        return make_directory(directory, DIRECTORY_MODE);
}

/* Opens or creates the file; `lock->fd` on success. */
static int lockfile_open(Lockfile *lock) {
        const int flags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
        int r;

        lock->fd = open(lock->path, O_RDWR | O_CREAT | O_EXCL | flags, FILE_MODE);
        if (lock->fd >= 0)
                return fchmod(lock->fd, FILE_MODE) == 0 ? 0 : -errno;
        r = -errno;
        lock->fd = open(lock->path, O_RDWR | flags);
        if (lock->fd < 0 && (errno == EACCES || errno == EROFS)) {
                lock->is_read_only = true;
                lock->fd = open(lock->path, O_RDONLY | flags);
        }
        if (lock->fd >= 0)
                return 0;
        return errno == ENOENT && r != -EEXIST ? r : -errno; /* that it cannot be made says more */
}

static void lockfile_read(const Lockfile *lock, pid_t *ret_pid, uint32_t *ret_creations) {
        char text[TEXT_MAX + 1] = "";
        long pid;
        uint32_t creations;

        *ret_pid = 0;
        *ret_creations = 0;
        if (pread(lock->fd, text, TEXT_MAX, 0) < 0)
                return;
        if (sscanf(text, "pid %ld creations %" SCNu32, &pid, &creations) != 2)
                return;
        *ret_pid = (pid_t)pid;
        *ret_creations = creations;
}

static int lockfile_write(const Lockfile *lock, uint32_t creations) {
        char text[TEXT_MAX];
        int n = snprintf(text, sizeof text, "pid %-10ld\ncreations %-10" PRIu32 "\n",
                         (long)getpid(), creations);
        ssize_t n_written;

        if (lock->is_read_only)
                return -EROFS;
        n_written = pwrite(lock->fd, text, (size_t)n, 0);
        if (n_written != n)
                return n_written < 0 ? -errno : -EIO;
        return fdatasync(lock->fd) == 0 ? 0 : -errno;
}

/* 0: the lock is held; -EAGAIN: the file was deleted meanwhile; -EBUSY; other negative errno. */
static int lockfile_try(Lockfile *lock, pid_t *ret_holder_pid) {
        struct stat facts;
        uint32_t creations;
        int r = lockfile_open(lock);

        if (r < 0)
                return r == -ENOENT ? -EAGAIN : r;
        if (fstat(lock->fd, &facts) < 0)
                return -errno;
        if (!S_ISREG(facts.st_mode))
                return -EINVAL;
        if (flock(lock->fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno != EWOULDBLOCK)
                        return -errno;
                lockfile_read(lock, ret_holder_pid, &creations);
                return -EBUSY;
        }
        /* One that an older daemon has made for the group. */
        if (!lock->is_read_only && (facts.st_mode & 07777) != FILE_MODE)
                (void)fchmod(lock->fd, FILE_MODE);
        lock->device = facts.st_dev;
        lock->inode = facts.st_ino;
        return lockfile_is_in_place(lock) ? 0 : -EAGAIN;
}

int lockfile_acquire(Lockfile **ret, const char *path, pid_t *ret_holder_pid) {
        _cleanup_(lockfile_releasep) Lockfile *lock = calloc(1, sizeof *lock);
        pid_t former;
        int r;

        *ret_holder_pid = 0;
        if (!lock)
                return -ENOMEM;
        lock->fd = -1;
        lock->path = strdup(path);
        if (!lock->path)
                return -ENOMEM;
        for (unsigned i = 0; i < ATTEMPTS_MAX; i++) {
                r = make_directories_of(path);
                if (r == 0)
                        r = lockfile_try(lock, ret_holder_pid);
                if (r != -EAGAIN)
                        break;
                close_fdp(&lock->fd);
                lock->fd = -1;
                lock->is_read_only = false;
        }
        if (r < 0)
                return r;
        lockfile_read(lock, &former, &lock->creations);
        /* What is written is for others to read; that we cannot write it keeps nobody from us. */
        (void)lockfile_write(lock, lock->creations);
        *ret = TAKE_PTR(lock);
        return 0;
}

/* That it cannot be looked at for a moment says nothing of it: we hold the lock. */
bool lockfile_is_in_place(const Lockfile *lock) {
        struct stat facts;

        if (lstat(lock->path, &facts) < 0)
                return errno == EIO || errno == ENOMEM;
        return facts.st_dev == lock->device && facts.st_ino == lock->inode;
}

uint32_t lockfile_creations(const Lockfile *lock) {
        return lock->creations;
}

int lockfile_raise_creations(Lockfile *lock, uint32_t reserved_until) {
        uint32_t later = creation_later(lock->creations, reserved_until);
        int r;

        if (later == lock->creations)
                return 0;
        r = lockfile_write(lock, later);
        if (r == 0)
                lock->creations = later;
        return r;
}
