/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows how two threads share a queue and a few facts. Does not know what a disk is: the mutex is
 * held for memory work only, which is why the loop may take it.
 *
 * The trap: "committed" is only true for a file that misses nothing. See "Losses" in channel.h.
 */

#include "state/channel.h"

#include <assert.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

/* Changes of one transaction; 5000 take some 50 ms. */
#define GROUP_MAX 5000
/* Beyond it the oldest are forgotten: the loop does not read. */
#define NOTICES_MAX 8

struct Channel {
        int event_fd;
        bool is_gathering, has_gathered; /* the loop's alone */

        pthread_mutex_t mutex;
        pthread_cond_t work; /* for the thread */
        pthread_cond_t news; /* for those who wait for the thread */
        /* All below is the mutex's. */
        unsigned n_owners;

        /* To the thread */
        Write *first;
        Write **end; /* where the next one is appended */
        size_t n_queued;
        size_t n_queued_bytes; /* but for WRITE_WHOLE, which the registry's own limits bound */
        size_t n_taken;        /* by the thread, and not yet on disk */
        size_t n_queued_refusals;
        uint64_t n_submitted; /* ever: what is neither queued nor taken is done */
        bool stop;
        bool poked;
        bool has_bounds;
        HistoryBounds bounds;
        Questions questions;

        /* Losses: that there were, that a queued or written WRITE_WHOLE makes good, that one has
         * made good */
        uint64_t n_losses, n_losses_asked, n_losses_repaired;

        /* From the thread */
        bool lock_is_known;
        int lock_result;
        pid_t lock_holder_pid;
        bool load_is_known;
        StoreLoaded *loaded;
        bool has_ended;
        bool all_written;
        bool is_hanging; /* the loop's word */
        StoreStatus status;
        char notices[NOTICES_MAX][STORE_NOTICE_MAX];
        size_t n_notices;
};

static struct timespec to_timespec(uint64_t usec) {
        return (struct timespec){ .tv_sec = (time_t)(usec / USEC_PER_SEC),
                                  .tv_nsec = (long)(usec % USEC_PER_SEC) * 1000 };
}

/* `_cleanup_(unlockp) Channel *guard = lock(channel);` */
static Channel *lock(const Channel *channel) {
        /* What is const to a caller who asks is not the mutex. */
        Channel *guard = (Channel *)(uintptr_t)channel;

        pthread_mutex_lock(&guard->mutex);
        return guard;
}

static void unlockp(Channel **guard) {
        pthread_mutex_unlock(&(*guard)->mutex);
}

static void wake_loop(Channel *channel) {
        /* It is readable already if this fails. */
        (void)eventfd_write(channel->event_fd, 1);
}

static void free_list(Write *first) {
        while (first) {
                Write *next = first->next;

                write_free(first);
                first = next;
        }
}

/* --- life ----------------------------------------------------------------------------------- */

int channel_new(Channel **ret, const char *path) {
        pthread_condattr_t attributes;
        Channel *channel = calloc(1, sizeof *channel);

        if (!channel)
                return -ENOMEM;
        channel->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (channel->event_fd < 0) {
                int r = -errno;

                free(channel);
                return r;
        }
        pthread_mutex_init(&channel->mutex, NULL);
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&channel->work, &attributes);
        pthread_cond_init(&channel->news, &attributes);
        pthread_condattr_destroy(&attributes);
        channel->n_owners = 1;
        channel->end = &channel->first;
        channel->status.health = path ? STORE_OPENING : STORE_NO_FILE;
        if (path)
                snprintf(channel->status.path, sizeof channel->status.path, "%s", path);
        *ret = channel;
        return 0;
}

Channel *channel_ref(Channel *channel) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        guard->n_owners++;
        return channel;
}

static unsigned release(Channel *channel) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        return --guard->n_owners;
}

Channel *channel_unref(Channel *channel) {
        if (!channel || release(channel) > 0)
                return NULL;
        free_list(channel->first);
        store_loaded_free(channel->loaded);
        questions_done(&channel->questions);
        pthread_cond_destroy(&channel->news);
        pthread_cond_destroy(&channel->work);
        pthread_mutex_destroy(&channel->mutex);
        close_fdp(&channel->event_fd);
        free(channel);
        return NULL;
}

/* --- the queue ------------------------------------------------------------------------------ */

/* Leaves nothing of a change but the creations it reserves. */
static void reduce_to_creations(Write *write) {
        for (size_t i = 0; i < write->n_nodes; i++)
                node_free(write->nodes[i]);
        write->n_nodes = 0;
        write->n_bytes = sizeof *write;
        write->kind = WRITE_CREATIONS;
}

static size_t counted_bytes(const Write *write) {
        return write->kind == WRITE_WHOLE ? 0 : write->n_bytes;
}

static void append(Channel *channel, Write *write) {
        *channel->end = write;
        channel->end = &write->next;
        channel->n_queued++;
        channel->n_queued_bytes += counted_bytes(write);
        channel->n_queued_refusals += write->kind == WRITE_REFUSAL;
}

static void lose(Channel *channel) {
        channel->n_losses++;
        wake_loop(channel);
}

/* P6. All at once and not one by one: each loss costs a whole write. What is kept is the last
 * reservation of creations, which no whole write replaces (P5). */
static void drop_queue(Channel *channel) {
        Write *next, *kept = NULL;

        for (Write *write = channel->first; write; write = next) {
                next = write->next;
                write->next = NULL;
                if (write->kind != WRITE_CREATIONS && write->kind != WRITE_REFUSAL)
                        channel->status.n_dropped++;
                if (write->reserved_until == 0) {
                        write_free(write);
                        continue;
                }
                write_free(kept);
                kept = write;
        }
        channel->first = NULL;
        channel->end = &channel->first;
        channel->n_queued = channel->n_queued_bytes = channel->n_queued_refusals = 0;
        if (kept) {
                reduce_to_creations(kept);
                append(channel, kept);
        }
        lose(channel);
}

static void submit(Channel *channel, Write *write) {
        channel->n_submitted++;
        append(channel, write);
        if (channel->is_gathering)
                channel->has_gathered = true;
        else if (channel->n_queued == 1)
                pthread_cond_signal(&channel->work);
}

void channel_gather(Channel *channel) {
        channel->is_gathering = true;
}

bool channel_has_gathered(const Channel *channel) {
        return channel->has_gathered;
}

void channel_let_go(Channel *channel) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        guard->has_gathered = false;
        pthread_cond_signal(&guard->work);
}

int channel_submit(Channel *channel, Write *write) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        if (!write) {
                guard->status.n_dropped++;
                lose(guard);
                return -ENOMEM;
        }
        if (guard->n_queued >= STORE_QUEUE_MAX ||
            guard->n_queued_bytes + counted_bytes(write) > STORE_QUEUE_BYTES_MAX)
                drop_queue(guard);
        if (write->kind == WRITE_WHOLE)
                guard->n_losses_asked = write->n_losses = guard->n_losses;
        submit(guard, write);
        return 0;
}

/* P6: whoever is refused without end must not fill the queue that others' registrations need. */
void channel_submit_refusal(Channel *channel, Write *write) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        if (guard->n_queued_refusals >= REFUSALS_MAX || guard->n_queued >= STORE_QUEUE_MAX)
                write_free(write);
        else
                submit(guard, write);
}

void channel_set_bounds(Channel *channel, const HistoryBounds *bounds) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        guard->has_bounds = true;
        guard->bounds = *bounds;
        pthread_cond_signal(&guard->work);
}

void channel_commit_at_once(Channel *channel, uint64_t revision) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        guard->status.committed_revision =
                max_u64(guard->status.committed_revision, revision);
        wake_loop(guard);
}

/* Hanging says more than the failure before it, but nothing about a file that was never had. */
static StoreHealth get_health(const Channel *channel) {
        StoreHealth health = channel->status.health;

        if (channel->is_hanging && health != STORE_NO_FILE && health != STORE_OPENING)
                return STORE_HANGING;
        return health;
}

/* --- questions ------------------------------------------------------------------------------ */

int channel_ask(Channel *channel, const StoreQuery *query, uint64_t *ret_number) {
        _cleanup_(unlockp) Channel *guard = lock(channel);
        int r;

        if (guard->status.health != STORE_OK || guard->has_ended)
                return -ENODATA;
        r = questions_ask(&guard->questions, query, guard->n_submitted, ret_number);
        if (r == 0)
                pthread_cond_signal(&guard->work);
        return r;
}

int channel_order(Channel *channel, const StoreOrder *order, uint64_t *ret_number) {
        _cleanup_(unlockp) Channel *guard = lock(channel);
        int r;

        if (get_health(guard) != STORE_OK || guard->has_ended)
                return -ENODATA;
        r = questions_order(&guard->questions, order, guard->n_submitted, ret_number);
        if (r == 0)
                pthread_cond_signal(&guard->work);
        return r;
}

void channel_cancel(Channel *channel, uint64_t number) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        questions_cancel(&guard->questions, number);
}

StoreAnswer *channel_take_answer(Channel *channel) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        return questions_take_answer(&guard->questions);
}

static uint64_t n_done(const Channel *channel) {
        return channel->n_submitted - channel->n_queued - channel->n_taken;
}

static bool has_question(const Channel *channel) {
        return questions_has_next(&channel->questions, n_done(channel));
}

Question *channel_take_question(Channel *channel) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        return questions_take_next(&guard->questions, n_done(guard));
}

void channel_publish_answer(Channel *channel, Question *question) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        if (questions_answer(&guard->questions, question))
                wake_loop(guard);
}

void channel_refuse_questions(Channel *channel, int error) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        if (questions_refuse_all(&guard->questions, error))
                wake_loop(guard);
}

/* --- the thread's side of the queue --------------------------------------------------------- */

/* Moves the head of the queue into `group`. */
static void take_group(Channel *channel, Group *group) {
        Write **end = &group->first;

        while (channel->first && group->n_writes < GROUP_MAX) {
                Write *write = channel->first;

                channel->first = write->next;
                channel->n_queued--;
                channel->n_queued_bytes -= counted_bytes(write);
                channel->n_queued_refusals -= write->kind == WRITE_REFUSAL;
                *end = write;
                end = &write->next;
                write->next = NULL;
                group->n_writes++;
                group->n_nodes += write->n_nodes + (write->kind == WRITE_REFUSAL);
                group->revision = max_u64(group->revision, write->revision);
                if (write->reserved_until != 0)
                        group->reserved_until = write->reserved_until;
                if (write->kind == WRITE_WHOLE) {
                        group->has_whole = true;
                        group->n_losses = write->n_losses;
                }
        }
        if (!channel->first)
                channel->end = &channel->first;
        channel->n_taken = group->n_writes;
}

void channel_wait(Channel *channel, uint64_t until_usec, bool for_changes, Group *group,
                  Wake *wake) {
        _cleanup_(unlockp) Channel *guard = lock(channel);
        struct timespec until = to_timespec(until_usec);

        while (!guard->poked && !guard->has_bounds && !(guard->stop && !wake->stop) &&
               !(for_changes && (guard->first || has_question(guard))) &&
               now_usec(CLOCK_MONOTONIC) < until_usec)
                pthread_cond_timedwait(&guard->work, &guard->mutex, &until);
        *wake = (Wake){ .stop = guard->stop,
                        .poked = guard->poked,
                        .has_bounds = guard->has_bounds,
                        .bounds = guard->bounds };
        guard->poked = guard->has_bounds = false;
        if (!group->first)
                take_group(guard, group);
}

static void group_done(Channel *channel, Group *group) {
        free_list(group->first);
        *group = (Group){ .first = NULL };
        channel->n_taken = 0;
}

bool channel_has_changes(Channel *channel) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        return guard->first;
}

bool channel_is_pressing(Channel *channel) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        return guard->first || guard->stop || guard->poked || has_question(guard);
}

/* --- what the thread tells ------------------------------------------------------------------ */

void channel_publish_commit(Channel *channel, Group *group, size_t n_refused) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        guard->status.n_commits++;
        guard->status.n_changes += group->n_nodes - n_refused;
        if (group->has_whole)
                guard->n_losses_repaired = group->n_losses;
        if (guard->n_losses_repaired == guard->n_losses)
                guard->status.committed_revision =
                        max_u64(guard->status.committed_revision, group->revision);
        group_done(guard, group);
        wake_loop(guard);
}

void channel_drop_group(Channel *channel, Group *group) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        guard->status.n_dropped += group->n_writes;
        group_done(guard, group);
}

void channel_shed(Channel *channel, Group *group) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        guard->status.n_dropped += group->n_writes;
        group_done(guard, group);
        drop_queue(guard);
}

void channel_publish_loss(Channel *channel) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        lose(guard);
}

static bool wants_whole(const Channel *channel) {
        /* What was loaded belongs into the whole: first the loop must have taken it. */
        return channel->n_losses != channel->n_losses_asked && !channel->loaded;
}

void channel_remind(Channel *channel) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        if (wants_whole(guard))
                wake_loop(guard);
}

void channel_publish_lock(Channel *channel, int result, pid_t holder_pid) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        guard->lock_is_known = true;
        guard->lock_result = result;
        guard->lock_holder_pid = holder_pid;
        pthread_cond_broadcast(&guard->news);
}

void channel_publish_loaded(Channel *channel, StoreLoaded *loaded) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        store_loaded_free(guard->loaded);
        guard->loaded = loaded;
        guard->load_is_known = true;
        /* From here on a failure would be told as one. */
        if (guard->status.health == STORE_OPENING)
                guard->status.health = STORE_OK;
        pthread_cond_broadcast(&guard->news);
        wake_loop(guard);
}

static void set_health(Channel *channel, StoreHealth health, const char *detail) {
        channel->status.health = health;
        snprintf(channel->status.detail, sizeof channel->status.detail, "%s", detail);
        wake_loop(channel);
}

void channel_publish_health(Channel *channel, StoreHealth health, const char *detail) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        if (guard->status.health != health || strcmp(guard->status.detail, detail) != 0)
                set_health(guard, health, detail);
}

void channel_publish_failure(Channel *channel, StoreHealth health, const char *detail) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        guard->status.n_failures++;
        set_health(guard, health, detail);
}

void channel_publish_file(Channel *channel, uint64_t file_bytes, uint64_t wal_bytes,
                          uint32_t version) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        guard->status.file_bytes = file_bytes;
        guard->status.wal_bytes = wal_bytes;
        guard->status.schema_version = version;
}

void channel_publish_end(Channel *channel, bool all_written) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        guard->has_ended = true;
        guard->all_written = all_written && guard->n_losses_repaired == guard->n_losses;
        pthread_cond_broadcast(&guard->news);
}

void channel_notice(Channel *channel, const char *format, ...) {
        _cleanup_(unlockp) Channel *guard = lock(channel);
        va_list arguments;

        if (guard->n_notices == NOTICES_MAX)
                memmove(guard->notices[0], guard->notices[1],
                        --guard->n_notices * sizeof guard->notices[0]);
        va_start(arguments, format);
        vsnprintf(guard->notices[guard->n_notices++], STORE_NOTICE_MAX, format, arguments);
        va_end(arguments);
        wake_loop(guard);
}

/* --- what the loop asks --------------------------------------------------------------------- */

int channel_event_fd(const Channel *channel) {
        return channel->event_fd;
}

void channel_clear_event(Channel *channel) {
        eventfd_t count;

        (void)eventfd_read(channel->event_fd, &count);
}

bool channel_wants_whole(const Channel *channel) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        return wants_whole(guard);
}

uint64_t channel_committed_revision(const Channel *channel) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        return guard->status.committed_revision;
}

StoreHealth channel_health(const Channel *channel) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        return get_health(guard);
}

void channel_set_hanging(Channel *channel, bool hanging) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        guard->is_hanging = hanging;
}

void channel_poke(Channel *channel) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        guard->poked = true;
        pthread_cond_signal(&guard->work);
}

void channel_get_status(const Channel *channel, StoreStatus *ret) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        *ret = guard->status;
        ret->health = get_health(guard);
        ret->n_queued = guard->n_queued + guard->n_taken;
}

bool channel_take_notice(Channel *channel, char notice[static STORE_NOTICE_MAX]) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        if (guard->n_notices == 0)
                return false;
        memcpy(notice, guard->notices[0], STORE_NOTICE_MAX);
        memmove(guard->notices[0], guard->notices[1],
                --guard->n_notices * sizeof guard->notices[0]);
        return true;
}

StoreLoaded *channel_take_loaded(Channel *channel) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        return TAKE_PTR(guard->loaded);
}

/* Waits for news until `*fact` or the time is over. */
static bool wait_for(Channel *channel, const bool *fact, uint64_t timeout_usec) {
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        /* No farther than a time_t goes. */
        uint64_t until_usec = now + min_u64(timeout_usec, UINT64_C(1) << 50);
        struct timespec until = to_timespec(until_usec);

        while (!*fact && now_usec(CLOCK_MONOTONIC) < until_usec)
                pthread_cond_timedwait(&channel->news, &channel->mutex, &until);
        return *fact;
}

bool channel_wait_locked(Channel *channel, uint64_t timeout_usec, int *ret_result,
                         pid_t *ret_holder_pid) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        if (!wait_for(guard, &guard->lock_is_known, timeout_usec))
                return false;
        *ret_result = guard->lock_result;
        *ret_holder_pid = guard->lock_holder_pid;
        return true;
}

bool channel_wait_loaded(Channel *channel, uint64_t timeout_usec) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        return wait_for(guard, &guard->load_is_known, timeout_usec);
}

bool channel_stop(Channel *channel, uint64_t timeout_usec, bool *ret_all_written) {
        _cleanup_(unlockp) Channel *guard = lock(channel);

        guard->stop = true;
        pthread_cond_signal(&guard->work);
        if (!wait_for(guard, &guard->has_ended, timeout_usec))
                return false;
        *ret_all_written = guard->all_written;
        return true;
}
