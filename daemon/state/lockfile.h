/* SPDX-License-Identifier: Apache-2.0 */
/* PATH.lock: keeps a second daemon from the registry file, and remembers creations if that file is
 * lost. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "util.h"

/* Two lines of text, padded so that they never change their length:
 *     pid 812
 *     creations 1763687473        no creation at or above it was ever given (P5); 0: not known
 * The file stays when the daemon ends; what counts is the lock (flock), which ends by itself. */
typedef struct Lockfile Lockfile;

/* Creates missing directories (0750, their parents 0755) and the file (0600), whatever the umask,
 * takes the lock and writes our pid. 0; -EBUSY: somebody holds the lock, whose pid is in
 * `*ret_holder_pid` (0: unknown); other negative errno. A file that may only be read is locked all
 * the same. Touches the disk. */
int lockfile_acquire(Lockfile **ret, const char *path, pid_t *ret_holder_pid);
/* Gives the lock back; the file stays. Takes NULL. */
Lockfile *lockfile_release(Lockfile *lock);
DEFINE_CLEANUP(Lockfile *, lockfile_release)

/* True while the file at its path is the one that is locked. */
bool lockfile_is_in_place(const Lockfile *lock);
uint32_t lockfile_creations(const Lockfile *lock);
/* Remembers `reserved_until` durably, if it is later than what it has. 0 or negative errno. */
int lockfile_raise_creations(Lockfile *lock, uint32_t reserved_until);
