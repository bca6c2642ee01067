/* SPDX-License-Identifier: Apache-2.0 */
/* Damaged registry files are set aside under names of their own, never deleted but for the oldest
 * of many. */
#pragma once

#include <limits.h>
#include <time.h>

/* So many sets are kept beside the registry file (P6: a disk that damages files must not fill up,
 * too). */
#define ASIDE_SETS_MAX 5

/* Renames PATH, PATH-wal and PATH-shm to PATH.corrupt-20251121T011203Z (with "-2", "-3", ... if
 * that is taken), PATH.corrupt-20251121T011203Z-wal and so on, which sqlite3 opens as one database.
 * Nobody of this process may have them open. 0 and the new name; negative errno: the main file is
 * still in its place. */
int aside_set(const char *path, time_t now, char ret_name[static PATH_MAX]);

/* Deletes the oldest sets of PATH beyond ASIDE_SETS_MAX. */
void aside_prune(const char *path);
