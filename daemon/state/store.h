/* SPDX-License-Identifier: Apache-2.0 */
/* The registry file: loaded at start, written by one thread in groups. The only user of SQLite and
 * of threads. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/entries.h"
#include "core/node.h"
#include "core/refusals.h"
#include "util.h"

/* How long a registration waits for its commit before it is answered all the same (P2). */
#define STORE_COMMIT_PATIENCE_USEC (2 * USEC_PER_SEC)
/* What may wait for a disk that does not answer; beyond it the queue is dropped and the file will
 * be written whole (P6). The bytes of a whole write are not counted. */
#define STORE_QUEUE_MAX 100000
#define STORE_QUEUE_BYTES_MAX (64 * 1024 * 1024)

#define STORE_NOTICE_MAX 512

typedef struct StoreOptions {
        const char *path;    /* the file, or NULL: nothing is kept; absolute, if the process ever
                              * changes its    directory. Copied. */
        const char *boot_id; /* of this boot, or NULL: unknown. Copied. */
        /* If another daemon has the file: go on without, and take it if that one ends within a minute, or when
         * poked. */
        bool waits_for_lock;
        /* Bounds of history. 0 in any of them: none is kept but what P5 needs. */
        unsigned history_days;
        unsigned history_rows;
        unsigned history_per_name;
} StoreOptions;

/* Of those that are not OK, the first that applies. */
typedef enum StoreHealth {
        STORE_OK,
        STORE_NO_FILE, /* no path was given: memory only */
        STORE_OPENING, /* the disk has not yet let us read the file */
        STORE_HANGING, /* a commit takes longer than STORE_COMMIT_PATIENCE_USEC
                          (store_set_hanging()) */
        STORE_TOO_NEW, /* the file is not for us to write, a newer daemon's or another program's: it
                        * is left untouched, and what is submitted is dropped; looked at again every
                        * 5 s */
        STORE_FAILING, /* the last attempt to open or to commit failed; tried again */
        _STORE_HEALTH_N,
} StoreHealth;

const char *store_health_to_string(StoreHealth health); /* "ok", "no-file", "opening", ... */

/* What was in the file. Owned by whoever took it with store_take_loaded(). All zero but for
 * `first_creation` where no file could be read. */
typedef struct StoreLoaded {
        Node **nodes; /* in order of registration. Their facts are those of the awaited, with what their units
                       * and they themselves had said; state, source and since when are as they were
                       * written, so that node_set_facts(), which is due, keeps the time where the state
                       * stays the same */
        size_t n_nodes;
        Node **formers; /* last holders of names that are not registered, oldest first,
                         * at most REGISTRY_FORMERS_MAX */
        size_t n_formers;
        Refused *refused; /* the last refusal of each name, oldest first, at most REFUSALS_MAX */
        size_t n_refused;
        Entries entries, pins; /* static entries, and pinned ports; at most ENTRIES_STATICS_MAX, ENTRIES_PINS_MAX */
        uint32_t first_creation; /* P5: none at or above it was ever given; see core/creation.h */
        uint64_t last_serial;
        char *boot_id; /* of the boot the rows are of, or NULL */
} StoreLoaded;

StoreLoaded *store_loaded_free(StoreLoaded *loaded);
DEFINE_CLEANUP(StoreLoaded *, store_loaded_free)

/* A registration that has ended, as history has it. */
typedef struct Tenure {
        uint64_t id;
        Node *node;  /* with `until_usec`; its state is the last one. Owned by whoever owns the tenure */
        char *how;   /* node_end_to_string(), or what a later daemon wrote; owned */
        char *by;    /* who did it, or NULL; owned */
} Tenure;

typedef struct StoreQuery {
        const char *name; /* not terminated; NULL: every name */
        size_t n_name;
        /* Those that were registered at some time from `from_usec` to `to_usec` (CLOCK_REALTIME, both
         * included); equal: at that moment. */
        uint64_t from_usec, to_usec;
        uint64_t cursor; /* only those with a smaller id; 0: from the newest */
        size_t n_max;    /* at most so many, newest first; 1 to STORE_ANSWER_MAX. An answer is bounded in time,
                          * too, and may have less than that, even nothing, and a cursor */
} StoreQuery;

#define STORE_ANSWER_MAX 500
#define STORE_QUERIES_MAX 128 /* that wait for their answer (P6), half of them of one user; orders among them */

/* What an operator orders about names: kept for good, or not at all. */
typedef enum StoreOrderKind {
        STORE_ADD_ENTRY, /* or put in place of the one with its name and address */
        STORE_REMOVE_ENTRY,
        STORE_ADD_PIN, /* likewise */
        STORE_REMOVE_PIN,
} StoreOrderKind;

typedef struct StoreOrder {
        StoreOrderKind kind;
        Entry entry; /* of what is removed the name, and the address of an entry */
} StoreOrder;

typedef struct StoreAnswer {
        uint64_t query; /* as store_query() or store_order() numbered it */
        int error;      /* 0, or negative errno: the file cannot be read; of an order: nothing was written */
        Tenure *tenures; /* newest first */
        size_t n_tenures;
        uint64_t cursor; /* where the next query goes on; 0: there are no more */
} StoreAnswer;

StoreAnswer *store_answer_free(StoreAnswer *answer);
DEFINE_CLEANUP(StoreAnswer *, store_answer_free)

typedef struct StoreStatus {
        StoreHealth health;
        char detail[256]; /* what went wrong, in words; "" if nothing */
        char path[4096];  /* "" if none */
        uint64_t n_commits;
        uint64_t n_changes;  /* written in them */
        uint64_t n_failures; /* commits and attempts to open that failed */
        uint64_t n_dropped;  /* changes dropped from a full queue; the file was or will be written
                                whole */
        size_t n_queued;
        uint64_t file_bytes;
        uint64_t wal_bytes;
        uint32_t schema_version;
        uint64_t committed_revision;
} StoreStatus;

typedef struct Store Store;

/* Starts the thread, which takes the lock file beside options->path (`PATH.lock`, which names our
 * pid), opens, migrates and loads. Creates missing directories (0750); files are 0640, the lock 0600. 0; -EBUSY:
 * another daemon holds the lock, its pid in `*ret_holder_pid` (0: unknown); negative errno where
 * not even a thread could be had. Waits for the lock for 2 s at most. A directory that cannot be
 * used is no error: the store is STORE_FAILING and tries again. */
int store_new(Store **ret, const StoreOptions *options, pid_t *ret_holder_pid);
/* Gives the thread `timeout_usec` to write what is queued, then leaves it behind (a hung disk keeps
 * nobody from stopping; the process is about to end). Leaves -wal and -shm in place, so that
 * read-only access works afterwards. 0, or -ETIMEDOUT: something was not written. Only store_free()
 * may follow. */
int store_stop(Store *store, uint64_t timeout_usec);
/* Without store_stop() before it, as store_stop() with no time. Takes NULL. */
Store *store_free(Store *store);
DEFINE_CLEANUP(Store *, store_free)

/* Waits until the file is loaded or cannot be, at most `timeout_usec`. 0: ask store_take_loaded();
 * -ETIMEDOUT. */
int store_wait_loaded(Store *store, uint64_t timeout_usec);
/* What was loaded; NULL if nothing new is there. The caller owns it. Comes once where all goes
 * well. Where the file could not be read at first it comes a second time, late, with the rows and
 * the higher creations that the file had: those nodes are restored then as at start, and those
 * whose name has been taken meanwhile (registry_restore() says -EEXIST) are ended
 * (store_submit_end()), which leaves the taker's row alone. To be asked before store_wants_whole(),
 * lest the whole write loses them. */
StoreLoaded *store_take_loaded(Store *store);

/* --- writing: called by the loop, never waits for the disk ---------------------------------- */

/* From now on what is submitted does not wake the thread before it is let go, by one who does that before he waits for
 * anything: otherwise the first of many changes begins a transaction, and each transaction costs as much as several
 * changes do. (A thread that is awake takes what there is.) */
void store_gather(Store *store);
bool store_has_gathered(const Store *store);
void store_let_go(Store *store);

/* Each takes a place in the queue; what is queued is committed in order. `revision` is the
 * registry's; when it is on disk, store_committed_revision() has reached it. -ENOMEM: the change is
 * lost to the queue, and the file will be written whole (store_wants_whole()). */
int store_submit_put(Store *store, uint64_t revision, const Node *node); /* insert or update */
/* `by`: who did it, or NULL; copied. */
int store_submit_end(Store *store, uint64_t revision, const Node *node, NodeEnd end, const char *by,
                     uint64_t now_usec);
/* The last refusal of its name. Not tied to a revision, and not worth a whole write if it is lost; left out where
 * REFUSALS_MAX of them wait for the disk. 0 or -ENOMEM. */
int store_submit_refusal(Store *store, const Refused *refused);
/* A change that is not in the file: when all before it is on disk, `revision` is reached. */
int store_submit_mark(Store *store, uint64_t revision);
/* Durable against a power cut (FULL), as is all that is committed with it. The first of a run also
 * notes the boot id in the file, that is: from here on its rows are of this boot. So at start the
 * ends of those that were not come first, and no registration may come before it. */
int store_submit_creations(Store *store, uint64_t revision, uint32_t reserved_until);
/* All nodes there are, in place of what the file has; with them, entries and pins as they were ordered. `nodes` is
 * copied. */
int store_submit_whole(Store *store, uint64_t revision, Node *const *nodes, size_t n_nodes,
                       uint32_t reserved_until);

/* Bounds of history from now on (see StoreOptions). A lower one per name holds for each name from its next end
 * on. */
void store_set_history_bounds(Store *store, unsigned days, unsigned rows, unsigned per_name);

/* --- reading history: by the writer thread, after what is queued already --------------------------- */

/* Asks; store_take_answer() has the answer later. 0 and its number (never 0); -EBUSY: too many wait;
 * -ENODATA: no file is kept, or it cannot be used now; -ENOMEM. A file that fails meanwhile is an answer with an
 * error. A disk that hangs leaves it unanswered: the asker gives up by himself and
 * cancels. */
int store_query(Store *store, const StoreQuery *query, uint64_t *ret_number);
/* Orders: to be written by itself and durably (FULL), after what is queued already; store_take_answer() says what has
 * become of it, however late. Until then nothing of it holds. 0 and its number; -ENODATA: there is no file, or none
 * that takes writes now; -EBUSY; -ENOMEM. Copies `order`. */
int store_order(Store *store, const StoreOrder *order, uint64_t *ret_number);
/* Nobody waits for that answer any more. Not for orders. */
void store_cancel_query(Store *store, uint64_t number);
/* The next answer, or NULL; the caller owns it. */
StoreAnswer *store_take_answer(Store *store);

/* Readable when something below has changed, or something was loaded; the loop then reads all of
 * it. */
int store_event_fd(const Store *store);
void store_clear_event(Store *store);
uint64_t store_committed_revision(const Store *store);
StoreHealth store_health(const Store *store);
/* True where the file must be written whole: it was lost or replaced, or the queue overflowed. The
 * loop answers with store_submit_whole(). */
bool store_wants_whole(const Store *store);
/* The loop's word that a commit takes too long, or that it has ended; part of store_health(). */
void store_set_hanging(Store *store, bool hanging);
/* Looks at once whether the file is still the one that was opened, and retries what failed
 * (SIGHUP). */
void store_poke(Store *store);
void store_get_status(Store *store, StoreStatus *ret);
/* What happened to the file and what was done about it (set aside, made anew, ...), for the log:
 * one sentence each, oldest first. False: no more. */
bool store_take_notice(Store *store, char notice[static STORE_NOTICE_MAX]);
