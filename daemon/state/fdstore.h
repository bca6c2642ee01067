/* SPDX-License-Identifier: Apache-2.0 */
/* Registering connections in systemd's fd store, where they outlive this process. The only FDSTORE. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "util.h"

/* A connection is stored when it is this old, so that nodes that come and go do not touch PID 1. */
#define FDSTORE_AGE_USEC (1 * USEC_PER_SEC)
/* Room for an FDNAME, which is 255 bytes at most, and a NUL. */
#define FDSTORE_NAME_MAX 256

/* Which registration a connection is of: what tells a row from every other one, before and after. */
typedef struct FdstoreKey {
        uint64_t serial;
        uint64_t since_usec;
} FdstoreKey;

/* "node-SERIAL-SINCE", of digits, and "-LABEL" where `label`, which is cut if it is too long, is not ""; returns
 * `name`. */
const char *fdstore_format_name(const FdstoreKey *key, const char *label, char name[static FDSTORE_NAME_MAX]);
/* 0, or -EINVAL where `name` is none of ours. `ret_label` points into it; NULL: not wanted. */
int fdstore_parse_name(const char *name, FdstoreKey *ret, const char **ret_label);

typedef struct Fdstore Fdstore;
/* A connection that is in the store or waits for its time. */
typedef struct FdstoreEntry FdstoreEntry;

typedef struct FdstoreStatus {
        size_t n_max;     /* 0: there is no store */
        size_t n_stored;
        size_t n_waiting; /* too young, beyond n_max, or PID 1 does not read */
} FdstoreStatus;

/* `notify_path`: systemd's notify socket (NOTIFY_SOCKET); NULL, or `n_max` 0: there is no store, and nothing
 * below does anything. The socket is non-blocking and its own; what PID 1 does not take is sent when it does.
 * Borrows `event`. 0 or negative errno. */
int fdstore_new(Fdstore **ret, sd_event *event, const char *notify_path, size_t n_max);
/* What is stored stays with systemd. Entries that were not dropped become invalid. */
Fdstore *fdstore_free(Fdstore *fdstore);
DEFINE_CLEANUP(Fdstore *, fdstore_free)

/* `fd` is to be stored by that name once it is FDSTORE_AGE_USEC old and there is room, the oldest first. Borrows it
 * until fdstore_drop(). NULL: there is no store, or no memory (then it is not stored). */
FdstoreEntry *fdstore_add(Fdstore *fdstore, const char *name, int fd);
/* The same for one that systemd has handed back to us: it is in the store. */
FdstoreEntry *fdstore_adopt(Fdstore *fdstore, const char *name, int fd);
/* The registration has ended: it is not stored any more, or removed. Takes NULL. The caller shuts the socket
 * down: closing it tells the peer nothing while PID 1 has it too. */
void fdstore_drop(Fdstore *fdstore, FdstoreEntry *entry);
/* It is in the store. Takes NULL. */
bool fdstore_is_stored(const FdstoreEntry *entry);
/* systemd was given it, and may have it also where it waits again, since a namesake is being removed. Takes NULL. */
bool fdstore_was_given(const FdstoreEntry *entry);
/* Removes by its FDNAME one that systemd has handed back and that nobody wants. */
void fdstore_discard(Fdstore *fdstore, const char *name);
/* On the way out: what still waits is stored now, however young, as far as there is room and PID 1 takes it. */
void fdstore_flush(Fdstore *fdstore);
void fdstore_get_status(const Fdstore *fdstore, FdstoreStatus *ret);

/* --- what systemd has handed back at start -------------------------------------------------------- */

typedef struct FdstoreKept {
        char *name; /* its FDNAME; owned */
        int fd;     /* owned; -1 once somebody has taken it */
} FdstoreKept;

typedef struct FdstoreKeptList {
        FdstoreKept *kept; /* sorted by name */
        size_t n_kept;
} FdstoreKeptList;

/* Takes `*fd` (made non-blocking and close-on-exec) on success. 0 or negative errno. */
int fdstore_kept_add(FdstoreKeptList *list, const char *name, int *fd);
/* Whatever its label. NULL: none, or it was taken. */
FdstoreKept *fdstore_kept_find(const FdstoreKeptList *list, const FdstoreKey *key);
/* Closes what nobody has taken. */
void fdstore_kept_done(FdstoreKeptList *list);
