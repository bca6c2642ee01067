/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows which connections systemd holds for us, which are to come and which are to go, and tells it so. Does
 * not know what is sent on them, nor whether they live.
 *
 * The trap: a removal goes by name and takes every connection of that name, and PID 1 neither answers nor tells
 * what it refused. So removals go first, a place counts as taken until its removal has left, and what shared
 * a removed name is stored anew.
 */

#include "state/fdstore.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>

#include "notify_socket.h"
#include "timer.h"

/* Told in one turn of the loop, so that a burst keeps nobody from being answered. */
#define BATCH 8
/* How late a connection may be stored: a timer that need not be exact wakes the machine less often. */
#define ACCURACY_USEC (100 * USEC_PER_MSEC)
/* When nobody listens, or the machine is short of something: tried again after so long. */
#define REST_USEC (1 * USEC_PER_SEC)
typedef enum Place {
        PLACE_WAITING, /* not in the store; the oldest first */
        PLACE_STORED,
        PLACE_LEAVING, /* its owner has dropped it, and its removal was not sent yet */
        _PLACE_N,
} Place;

struct FdstoreEntry {
        TAILQ_ENTRY(FdstoreEntry) link;
        Place place;
        int fd; /* borrowed; -1: leaving */
        bool was_given; /* systemd may have a duplicate, wherever the entry is now */
        uint64_t due_usec;
        char name[];
};

typedef struct EntryList {
        TAILQ_HEAD(, FdstoreEntry) entries;
        size_t n;
} EntryList;

struct Fdstore {
        sd_event *event;
        NotifySocket *socket; /* NULL: there is no store */
        size_t n_max;
        EntryList lists[_PLACE_N];
        bool is_resting;
        sd_event_source *writable; /* on while something is to be sent now */
        sd_event_source *timer;    /* on while something is to be sent later */
};

/* --- names ------------------------------------------------------------------------------------ */

const char *fdstore_format_name(const FdstoreKey *key, const char *label, char name[static FDSTORE_NAME_MAX]) {
        size_t n_label = strlen(label), at = 5;

        memcpy(name, "node-", at);
        at += put_number(name + at, key->serial);
        name[at++] = '-';
        at += put_number(name + at, key->since_usec);
        if (n_label > 0)
                name[at++] = '-';
        n_label = n_label < FDSTORE_NAME_MAX - at ? n_label : FDSTORE_NAME_MAX - at - 1;
        memcpy(name + at, label, n_label);
        name[at + n_label] = 0;
        return name;
}

/* Only what we would have written ourselves: no sign, no leading zero, nothing beyond 64 bits. */
int fdstore_parse_name(const char *name, FdstoreKey *ret, const char **ret_label) {
        char again[FDSTORE_NAME_MAX];
        FdstoreKey key = { 0 };
        const char *label = "";
        char *end;

        if (strncmp(name, "node-", 5) != 0)
                return -EINVAL;
        key.serial = strtoull(name + 5, &end, 10);
        if (*end != '-')
                return -EINVAL;
        key.since_usec = strtoull(end + 1, &end, 10);
        if (*end == '-')
                label = end + 1;
        if (strcmp(fdstore_format_name(&key, label, again), name) != 0)
                return -EINVAL;
        *ret = key;
        if (ret_label)
                *ret_label = label;
        return 0;
}

/* --- entries ---------------------------------------------------------------------------------- */

static FdstoreEntry *entry_new(const char *name, int fd) {
        size_t n_name = strlen(name);
        FdstoreEntry *entry = calloc(1, sizeof *entry + n_name + 1);

        if (!entry)
                return NULL;
        entry->fd = fd;
        memcpy(entry->name, name, n_name + 1);
        return entry;
}

static void fdstore_insert(Fdstore *fdstore, FdstoreEntry *entry, Place place) {
        EntryList *list = fdstore->lists + place;

        entry->place = place;
        TAILQ_INSERT_TAIL(&list->entries, entry, link);
        list->n++;
}

static void fdstore_unlink(Fdstore *fdstore, FdstoreEntry *entry) {
        EntryList *list = fdstore->lists + entry->place;

        TAILQ_REMOVE(&list->entries, entry, link);
        list->n--;
}

static void fdstore_forget(Fdstore *fdstore, FdstoreEntry *entry) {
        fdstore_unlink(fdstore, entry);
        free(entry);
}

static size_t fdstore_n_taken(const Fdstore *fdstore) {
        return fdstore->lists[PLACE_STORED].n + fdstore->lists[PLACE_LEAVING].n;
}

/* A removal of `name` is to be sent: whoever else has that name and stays waits again, before all others. */
static void fdstore_restore_namesakes(Fdstore *fdstore, const char *name) {
        FdstoreEntry *entry = TAILQ_FIRST(&fdstore->lists[PLACE_STORED].entries);
        EntryList *waiting = fdstore->lists + PLACE_WAITING;

        while (entry) {
                FdstoreEntry *next = TAILQ_NEXT(entry, link);

                if (strcmp(entry->name, name) == 0) {
                        fdstore_unlink(fdstore, entry);
                        entry->place = PLACE_WAITING;
                        entry->due_usec = 0;
                        TAILQ_INSERT_HEAD(&waiting->entries, entry, link);
                        waiting->n++;
                }
                entry = next;
        }
}

/* --- when to send ----------------------------------------------------------------------------- */

static uint64_t fdstore_now(const Fdstore *fdstore) {
        uint64_t now = 0;

        sd_event_now(fdstore->event, CLOCK_MONOTONIC, &now);
        return now;
}

static FdstoreEntry *fdstore_find_candidate(const Fdstore *fdstore) {
        return fdstore_n_taken(fdstore) < fdstore->n_max ? TAILQ_FIRST(&fdstore->lists[PLACE_WAITING].entries)
                                                         : NULL;
}

/* Of whom systemd is to be told next, or NULL. Removals first: they make room, and no later entry of that name
 * can be meant. */
static FdstoreEntry *fdstore_find_next(const Fdstore *fdstore, uint64_t now_usec) {
        FdstoreEntry *entry = TAILQ_FIRST(&fdstore->lists[PLACE_LEAVING].entries);

        if (entry)
                return entry;
        entry = fdstore_find_candidate(fdstore);
        return entry && entry->due_usec <= now_usec ? entry : NULL;
}

/* A timer that runs is left alone, also if its entry has gone: it is early at worst, and nodes that come and go
 * cost nothing. */
static void fdstore_schedule(Fdstore *fdstore) {
        const FdstoreEntry *candidate = fdstore_find_candidate(fdstore);
        bool has_work = fdstore_find_next(fdstore, fdstore_now(fdstore));
        int enabled = SD_EVENT_OFF;

        sd_event_source_set_enabled(fdstore->writable,
                                    has_work && !fdstore->is_resting ? SD_EVENT_ON : SD_EVENT_OFF);
        if (has_work || !candidate)
                return;
        if (sd_event_source_get_enabled(fdstore->timer, &enabled) >= 0 && enabled == SD_EVENT_OFF)
                timer_arm(fdstore->timer, candidate->due_usec);
}

static void fdstore_rest(Fdstore *fdstore) {
        fdstore->is_resting = true;
        timer_arm(fdstore->timer, fdstore_now(fdstore) + REST_USEC);
}

/* --- sending ---------------------------------------------------------------------------------- */

/* FDPOLL stays as it is: PID 1 lets go of a connection that was reset by itself. */
static int fdstore_tell(Fdstore *fdstore, FdstoreEntry *entry) {
        bool is_leaving = entry->place == PLACE_LEAVING;
        char text[FDSTORE_NAME_MAX + 32];
        int n = snprintf(text, sizeof text, "%s=1\nFDNAME=%s", is_leaving ? "FDSTOREREMOVE" : "FDSTORE",
                         entry->name);
        int r = notify_socket_send(fdstore->socket, text, (size_t)n, entry->fd);

        if (r < 0)
                return r;
        if (is_leaving)
                fdstore_forget(fdstore, entry);
        else {
                entry->was_given = true;
                fdstore_unlink(fdstore, entry);
                fdstore_insert(fdstore, entry, PLACE_STORED);
        }
        return 0;
}

/* Until nothing is left that was due at `now_usec`, or `n_max` are told, or systemd takes no more. */
static int fdstore_tell_next(Fdstore *fdstore, uint64_t now_usec, size_t n_max) {
        int r = 0;

        for (size_t i = 0; i < n_max && r >= 0; i++) {
                FdstoreEntry *entry = fdstore_find_next(fdstore, now_usec);

                if (!entry)
                        break;
                r = fdstore_tell(fdstore, entry);
        }
        return r;
}

static int fdstore_on_writable(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        Fdstore *fdstore = userdata;
        int r = fdstore_tell_next(fdstore, fdstore_now(fdstore), BATCH);

        (void)source;
        (void)fd;
        (void)events;
        if (r < 0 && r != -EAGAIN)
                fdstore_rest(fdstore);
        fdstore_schedule(fdstore);
        return 0;
}

static int fdstore_on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        Fdstore *fdstore = userdata;

        (void)source;
        (void)usec;
        fdstore->is_resting = false;
        fdstore_schedule(fdstore);
        return 0;
}

/* --- life ------------------------------------------------------------------------------------- */

static int fdstore_connect(Fdstore *fdstore, const char *notify_path) {
        int r = notify_socket_new(&fdstore->socket, notify_path);

        if (r >= 0)
                r = sd_event_add_io(fdstore->event, &fdstore->writable, notify_socket_fd(fdstore->socket),
                                    EPOLLOUT, fdstore_on_writable, fdstore);
        if (r >= 0)
                r = sd_event_source_set_enabled(fdstore->writable, SD_EVENT_OFF);
        if (r >= 0)
                r = timer_new(&fdstore->timer, fdstore->event, ACCURACY_USEC, fdstore_on_timer, fdstore);
        return r;
}

int fdstore_new(Fdstore **ret, sd_event *event, const char *notify_path, size_t n_max) {
        _cleanup_(fdstore_freep) Fdstore *fdstore = calloc(1, sizeof *fdstore);
        int r;

        if (!fdstore)
                return -ENOMEM;
        fdstore->event = event;
        for (Place place = 0; place < _PLACE_N; place++)
                TAILQ_INIT(&fdstore->lists[place].entries);
        if (notify_path && n_max > 0) {
                fdstore->n_max = n_max;
                r = fdstore_connect(fdstore, notify_path);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(fdstore);
        return 0;
}

Fdstore *fdstore_free(Fdstore *fdstore) {
        if (!fdstore)
                return NULL;
        for (Place place = 0; place < _PLACE_N; place++)
                while (!TAILQ_EMPTY(&fdstore->lists[place].entries))
                        fdstore_forget(fdstore, TAILQ_FIRST(&fdstore->lists[place].entries));
        sd_event_source_disable_unref(fdstore->timer);
        sd_event_source_disable_unref(fdstore->writable);
        notify_socket_free(fdstore->socket);
        free(fdstore);
        return NULL;
}

/* --- what the keeper of the connections asks for ---------------------------------------------- */

static FdstoreEntry *fdstore_take_in(Fdstore *fdstore, const char *name, int fd, Place place) {
        FdstoreEntry *entry;

        assert(fd >= 0);
        if (!fdstore->socket)
                return NULL;
        entry = entry_new(name, fd);
        if (!entry)
                return NULL;
        entry->was_given = place == PLACE_STORED;
        entry->due_usec = fdstore_now(fdstore) + FDSTORE_AGE_USEC;
        fdstore_insert(fdstore, entry, place);
        fdstore_schedule(fdstore);
        return entry;
}

FdstoreEntry *fdstore_add(Fdstore *fdstore, const char *name, int fd) {
        return fdstore_take_in(fdstore, name, fd, PLACE_WAITING);
}

FdstoreEntry *fdstore_adopt(Fdstore *fdstore, const char *name, int fd) {
        return fdstore_take_in(fdstore, name, fd, PLACE_STORED);
}

bool fdstore_is_stored(const FdstoreEntry *entry) {
        return entry && entry->place == PLACE_STORED;
}

bool fdstore_was_given(const FdstoreEntry *entry) {
        return entry && entry->was_given;
}

/* The entry itself is the note that a removal is due, so that no lack of memory loses it. */
void fdstore_drop(Fdstore *fdstore, FdstoreEntry *entry) {
        if (!entry)
                return;
        assert(entry->place != PLACE_LEAVING);
        if (entry->place == PLACE_WAITING)
                fdstore_forget(fdstore, entry);
        else {
                fdstore_unlink(fdstore, entry);
                entry->fd = -1;
                fdstore_insert(fdstore, entry, PLACE_LEAVING);
                fdstore_restore_namesakes(fdstore, entry->name);
        }
        fdstore_schedule(fdstore);
}

void fdstore_discard(Fdstore *fdstore, const char *name) {
        FdstoreEntry *entry;

        if (!fdstore->socket || strlen(name) >= FDSTORE_NAME_MAX)
                return;
        entry = entry_new(name, -1);
        if (!entry)
                return; /* the next start discards it */
        fdstore_insert(fdstore, entry, PLACE_LEAVING);
        fdstore_restore_namesakes(fdstore, name);
        fdstore_schedule(fdstore);
}

void fdstore_flush(Fdstore *fdstore) {
        if (fdstore->socket)
                (void)fdstore_tell_next(fdstore, USEC_INFINITE, SIZE_MAX);
}

void fdstore_get_status(const Fdstore *fdstore, FdstoreStatus *ret) {
        *ret = (FdstoreStatus){
                .n_max = fdstore->n_max,
                .n_stored = fdstore_n_taken(fdstore),
                .n_waiting = fdstore->lists[PLACE_WAITING].n,
        };
}

/* --- what systemd has handed back --------------------------------------------------------------- */

/* Where the first of that name is, or would be. */
static size_t fdstore_kept_position(const FdstoreKeptList *list, const char *name) {
        size_t low = 0, high = list->n_kept;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (strcmp(list->kept[middle].name, name) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static int set_nonblocking_cloexec(int fd) {
        int flags = fcntl(fd, F_GETFL);

        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
                return -errno;
        return 0;
}

int fdstore_kept_add(FdstoreKeptList *list, const char *name, int *fd) {
        _cleanup_(freep) char *copy = strdup(name);
        FdstoreKept *grown;
        size_t position;
        int r;

        if (!copy)
                return -ENOMEM;
        r = set_nonblocking_cloexec(*fd);
        if (r < 0)
                return r;
        grown = reallocarray(list->kept, list->n_kept + 1, sizeof *grown);
        if (!grown)
                return -ENOMEM;
        list->kept = grown;
        position = fdstore_kept_position(list, name);
        memmove(grown + position + 1, grown + position, (list->n_kept - position) * sizeof *grown);
        grown[position] = (FdstoreKept){ .name = TAKE_PTR(copy), .fd = TAKE_FD(*fd) };
        list->n_kept++;
        return 0;
}

/* In order of names, labels or longer numbers follow. */
FdstoreKept *fdstore_kept_find(const FdstoreKeptList *list, const FdstoreKey *key) {
        char name[FDSTORE_NAME_MAX];
        size_t n_name = strlen(fdstore_format_name(key, "", name));

        for (size_t i = fdstore_kept_position(list, name);
             i < list->n_kept && strncmp(list->kept[i].name, name, n_name) == 0; i++) {
                char next = list->kept[i].name[n_name];

                if (list->kept[i].fd >= 0 && (next == 0 || next == '-'))
                        return list->kept + i;
        }
        return NULL;
}

/* No shutdown(): at a start that fails they stay with systemd for the next one. */
void fdstore_kept_done(FdstoreKeptList *list) {
        for (size_t i = 0; i < list->n_kept; i++) {
                close_fdp(&list->kept[i].fd);
                free(list->kept[i].name);
        }
        free(list->kept);
        *list = (FdstoreKeptList){ 0 };
}
