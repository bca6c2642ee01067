/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows where the files of a database are and whether they are still those that were opened. Does
 * not know what is in them, and never opens them while SQLite has them open.
 *
 * The trap: a path says nothing about an open file. Device and inode do.
 */

#include "state/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "util.h"

#define FILE_MODE 0640

static const char *const suffixes[_PLACE_N] = { "", "-wal", "-shm" };

void place_done(Place *place) {
        for (size_t i = 0; i < _PLACE_N; i++)
                free(place->files[i]);
        free(place->path);
        *place = (Place){ .path = NULL };
}

static int name_files(Place *place, const char *main_file) {
        for (size_t i = 0; i < _PLACE_N; i++)
                if (asprintf(&place->files[i], "%s%s", main_file, suffixes[i]) < 0) {
                        place->files[i] = NULL;
                        return -ENOMEM;
                }
        return 0;
}

int place_find(Place *place, const char *path, bool *ret_is_there) {
        _cleanup_(freep) char *resolved = realpath(path, NULL);
        struct stat facts;
        int r;

        *ret_is_there = false;
        if (!resolved && errno != ENOENT)
                return -errno;
        place_done(place);
        place->path = strdup(path);
        if (!place->path)
                return -ENOMEM;
        r = name_files(place, resolved ? resolved : path);
        if (r < 0)
                return r;
        if (stat(place->files[PLACE_MAIN], &facts) < 0)
                return errno == ENOENT ? 0 : -errno;
        *ret_is_there = true;
        return S_ISREG(facts.st_mode) ? 0 : -ENOTSUP;
}

int place_create(Place *place) {
        _cleanup_(close_fdp) int fd = -1;

        unlink(place->files[PLACE_WAL]);
        unlink(place->files[PLACE_SHM]);
        fd = open(place->files[PLACE_MAIN], O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);
        return fd < 0 || fchmod(fd, FILE_MODE) < 0 ? -errno : 0;
}

int place_note(Place *place) {
        for (size_t i = 0; i < _PLACE_N; i++) {
                struct stat facts;

                if (stat(place->files[i], &facts) < 0)
                        return -errno;
                place->ids[i].device = facts.st_dev;
                place->ids[i].inode = facts.st_ino;
                place->bytes[i] = (uint64_t)facts.st_size;
        }
        place_forgive_touch(place);
        return 0;
}

int place_sync(const Place *place) {
        _cleanup_(freep) char *directory = strdup(place->files[PLACE_MAIN]);
        _cleanup_(close_fdp) int fd = -1;
        char *slash;

        if (!directory)
                return -ENOMEM;
        slash = strrchr(directory, '/');
        if (slash)
                slash[slash == directory ? 1 : 0] = '\0';
        fd = open(slash ? directory : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static bool is_noted(const Place *place, PlaceFile file, const struct stat *facts) {
        return place->ids[file].device == facts->st_dev && place->ids[file].inode == facts->st_ino;
}

/* By the path that was given: a symbolic link may lead elsewhere by now. */
static const char *path_of(const Place *place, PlaceFile file) {
        return file == PLACE_MAIN ? place->path : place->files[file];
}

const char *place_check(Place *place, const char **ret_file) {
        for (PlaceFile i = 0; i < _PLACE_N; i++) {
                struct stat facts;

                *ret_file = path_of(place, i);
                if (stat(*ret_file, &facts) < 0)
                        return errno == ENOENT ? "was deleted" : "is out of reach";
                if (!is_noted(place, i, &facts))
                        return "was replaced";
                /* We never do that: somebody's VACUUM, or it was emptied. Either way it is opened
                 * anew. */
                if (i == PLACE_MAIN && (uint64_t)facts.st_size < place->bytes[i])
                        return "was made smaller";
                place->bytes[i] = (uint64_t)facts.st_size;
        }
        return NULL;
}

bool place_take_touch(Place *place) {
        struct timespec before = place->changed;

        place_forgive_touch(place);
        return place->changed.tv_sec != before.tv_sec || place->changed.tv_nsec != before.tv_nsec;
}

void place_forgive_touch(Place *place) {
        struct stat facts;

        if (stat(place->files[PLACE_MAIN], &facts) == 0)
                place->changed = facts.st_mtim;
}

static bool is_ours(const Place *place, PlaceFile file) {
        struct stat facts;

        return stat(path_of(place, file), &facts) == 0 && is_noted(place, file, &facts);
}

void place_sweep(const Place *place) {
        bool has_main = is_ours(place, PLACE_MAIN);
        bool has_wal = is_ours(place, PLACE_WAL);

        /* Beside our own file, our log is a part of it. */
        if (!has_main && has_wal)
                unlink(place->files[PLACE_WAL]);
        if ((!has_main || !has_wal) && is_ours(place, PLACE_SHM))
                unlink(place->files[PLACE_SHM]);
}
