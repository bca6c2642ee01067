/* SPDX-License-Identifier: Apache-2.0 */
/* From a cgroup's id to the systemd unit that it is, without privilege and without D-Bus. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "util.h"

/* Where cgroup v2 is mounted, found once, and a small cache of id -> unit. */
typedef struct Cgroups Cgroups;

/* 0; -ENOENT: no cgroup v2 on this machine; other negative errno. */
int cgroups_new(Cgroups **ret);
/* The same for a tree elsewhere; any directory will do. */
int cgroups_new_at(Cgroups **ret, const char *root);
Cgroups *cgroups_free(Cgroups *cgroups);
DEFINE_CLEANUP(Cgroups *, cgroups_free)

/* The unit of the cgroup directory whose inode is `cgroup_id`. `*ret_unit` is owned by `cgroups`
 * and good until the next call; `*ret_is_own` as below. 0; -ENOENT: there is no such directory (any
 * more), or it belongs to no unit; -EAGAIN: not known, and walks have lately taken all the time that
 * they may (P6): ask later; -ENOMEM. Walks the tree below the mount point on a miss (some 5 us for each group,
 * bounded). */
int cgroups_find_unit(Cgroups *cgroups, uint64_t cgroup_id, const char **ret_unit, bool *ret_is_own);

/* The unit in a cgroup path as systemd lays them out: slices are skipped, the first component after
 * them is the unit ("/system.slice/epmd.service/x" -> "epmd.service"; "/user.slice/user-1.slice/
 * user@1.service/app.slice/a.service" -> "user@1.service"); systemd's escape ("_" before a name) is
 * undone. `*ret_is_own` is false where a unit's name comes after it: that is the unit of another
 * manager, a user's or a container's, and what systemd says of `unit` is said of that manager. Pure.
 * `unit` has room for 256 bytes. 0 or -ENOENT. */
int cgroup_path_to_unit(const char *path, char unit[static 256], bool *ret_is_own);
