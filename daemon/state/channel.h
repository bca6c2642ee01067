/* SPDX-License-Identifier: Apache-2.0 */
/* What the loop and the writer thread tell each other. Never waits for the disk, on either side. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "state/questions.h"
#include "state/store.h"
#include "state/write.h"
#include "util.h"

/* Losses. Whenever changes cannot reach the file in their order (the queue overflowed, memory ran
 * out, the file was lost with what had been committed), that is a loss, and they are counted. From
 * then on the file is not what the registry says, and no revision is committed, until all nodes
 * have been written whole by a WRITE_WHOLE that was submitted after the last loss. */
typedef struct Channel Channel;

/* See StoreOptions. */
typedef struct HistoryBounds {
        unsigned days;
        unsigned rows;
        unsigned per_name;
} HistoryBounds;

/* Has two owners, the loop's side and the thread; the last one to leave frees it. 0 or negative
 * errno. */
int channel_new(Channel **ret, const char *path);
Channel *channel_ref(Channel *channel);
Channel *channel_unref(Channel *channel);
DEFINE_CLEANUP(Channel *, channel_unref)

/* --- the loop's side ------------------------------------------------------------------------ */

/* Takes the change, or NULL for one that there was no memory for: a loss, -ENOMEM. */
int channel_submit(Channel *channel, Write *write);
/* As those of the store. */
void channel_gather(Channel *channel);
bool channel_has_gathered(const Channel *channel);
void channel_let_go(Channel *channel);
/* Takes a WRITE_REFUSAL, or leaves it out where too many of them wait. */
void channel_submit_refusal(Channel *channel, Write *write);
void channel_set_bounds(Channel *channel, const HistoryBounds *bounds);
/* To be answered after all that was submitted before it. 0 and its number; -ENODATA: there is no file that can
 * be read now; -EBUSY: too many wait; -ENOMEM. */
int channel_ask(Channel *channel, const StoreQuery *query, uint64_t *ret_number);
/* The same for an order; -ENODATA also where the disk hangs. */
int channel_order(Channel *channel, const StoreOrder *order, uint64_t *ret_number);
void channel_cancel(Channel *channel, uint64_t number);
StoreAnswer *channel_take_answer(Channel *channel);
/* Where there is no file: `revision` is as good as committed. */
void channel_commit_at_once(Channel *channel, uint64_t revision);
bool channel_wants_whole(const Channel *channel);
int channel_event_fd(const Channel *channel);
void channel_clear_event(Channel *channel);
uint64_t channel_committed_revision(const Channel *channel);
StoreHealth channel_health(const Channel *channel);
void channel_set_hanging(Channel *channel, bool hanging);
void channel_poke(Channel *channel);
void channel_get_status(const Channel *channel, StoreStatus *ret);
bool channel_take_notice(Channel *channel, char notice[static STORE_NOTICE_MAX]);
StoreLoaded *channel_take_loaded(Channel *channel);
/* True once the thread has said how it fared with the lock: `*ret_result`, 0 or negative errno. */
bool channel_wait_locked(Channel *channel, uint64_t timeout_usec, int *ret_result,
                         pid_t *ret_holder_pid);
bool channel_wait_loaded(Channel *channel, uint64_t timeout_usec);
/* Tells the thread to write what there is and to end. True once it has: `*ret_all_written`. */
bool channel_stop(Channel *channel, uint64_t timeout_usec, bool *ret_all_written);

/* --- the thread's side ---------------------------------------------------------------------- */

/* A group of changes: owned by the thread, kept until it is on disk. */
typedef struct Group {
        Write *first;
        size_t n_writes;
        size_t n_nodes; /* rows to be touched, for counting */
        uint64_t revision;
        uint32_t reserved_until; /* the latest in it, 0: none */
        bool has_whole;
        uint64_t n_losses; /* that its last WRITE_WHOLE makes good */
} Group;

typedef struct Wake {
        bool stop;
        bool poked; /* since the last time */
        bool has_bounds; /* there are new ones since the last time: */
        HistoryBounds bounds;
} Wake;

/* Waits until `until_usec` (CLOCK_MONOTONIC), a poke, new bounds, the first sight of stop or, if `for_changes`,
 * a change or a question. Then moves what is queued (a bounded number) into `group`, if that is empty. */
void channel_wait(Channel *channel, uint64_t until_usec, bool for_changes, Group *group,
                  Wake *wake);
bool channel_has_changes(Channel *channel);
/* True if something waits for the thread: a reason to cut short what can wait. */
bool channel_is_pressing(Channel *channel);
/* The group is on disk, in the file at its path, but for `n_refused` changes. Frees them all. */
void channel_publish_commit(Channel *channel, Group *group, size_t n_refused);
/* The group's changes are given up, and counted as dropped: a loss, which is told later. */
void channel_drop_group(Channel *channel, Group *group);
/* Gives up the group and all that is queued, where there is no memory to write it with: a loss. */
void channel_shed(Channel *channel, Group *group);
/* A question that may be answered now: the changes before it are on disk, or given up. Borrowed until it is
 * published. NULL: none. */
Question *channel_take_question(Channel *channel);
void channel_publish_answer(Channel *channel, Question *question);
/* Nobody waits for a file that fails. */
void channel_refuse_questions(Channel *channel, int error);
void channel_publish_lock(Channel *channel, int result, pid_t holder_pid);
/* Takes what was loaded, in place of what the loop has not yet taken. */
void channel_publish_loaded(Channel *channel, StoreLoaded *loaded);
void channel_publish_health(Channel *channel, StoreHealth health, const char *detail);
void channel_publish_failure(Channel *channel, StoreHealth health, const char *detail);
void channel_publish_file(Channel *channel, uint64_t file_bytes, uint64_t wal_bytes,
                          uint32_t version);
void channel_publish_loss(Channel *channel);
/* Once more, in case the loop could not answer (-ENOMEM) when it was told of a loss. */
void channel_remind(Channel *channel);
void channel_publish_end(Channel *channel, bool all_written);
/* For the log: what happened to the file, and what was done about it. */
void channel_notice(Channel *channel, const char *format, ...) PRINTF_LIKE(2, 3);
