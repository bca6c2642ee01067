/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows the loop's side of the registry file: what is handed to the writer thread, and what that
 * has told. Does not touch the disk, nor wait for it but where its header says so.
 *
 * The trap: a thread that hangs in the kernel cannot be ended. It is left behind with all that it
 * uses, so nothing that it may touch belongs to the Store alone.
 */

#include "state/store.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "state/channel.h"
#include "core/creation.h"
#include "state/writer.h"

/* store_new() waits so long to learn whether another daemon holds the lock. */
#define LOCK_PATIENCE_USEC (2 * USEC_PER_SEC)

struct Store {
        Channel *channel;
        pthread_t thread;
        bool has_thread;
        bool has_file;
};

static const char *const health_words[_STORE_HEALTH_N] = {
        [STORE_OK] = "ok",           [STORE_NO_FILE] = "no-file", [STORE_OPENING] = "opening",
        [STORE_HANGING] = "hanging", [STORE_TOO_NEW] = "too-new", [STORE_FAILING] = "failing",
};

const char *store_health_to_string(StoreHealth health) {
        assert(health >= 0 && health < _STORE_HEALTH_N);
        return health_words[health];
}

StoreLoaded *store_loaded_free(StoreLoaded *loaded) {
        if (loaded) {
                for (size_t i = 0; i < loaded->n_nodes; i++)
                        node_free(loaded->nodes[i]);
                for (size_t i = 0; i < loaded->n_formers; i++)
                        node_free(loaded->formers[i]);
                free(loaded->nodes);
                for (size_t i = 0; i < loaded->n_refused; i++)
                        refused_done(&loaded->refused[i]);
                entries_done(&loaded->entries);
                entries_done(&loaded->pins);
                free(loaded->formers);
                free(loaded->refused);
                free(loaded->boot_id);
        }
        free(loaded);
        return NULL;
}

/* --- life ----------------------------------------------------------------------------------- */

/* Signals are the loop's: the thread is born with all of them blocked. */
static int start_thread(Store *store, Writer **writer) {
        sigset_t all, former;
        int r;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &former);
        r = pthread_create(&store->thread, NULL, writer_run, *writer);
        pthread_sigmask(SIG_SETMASK, &former, NULL);
        if (r != 0)
                return -r;
        *writer = NULL; /* the thread's */
        store->has_thread = true;
        pthread_setname_np(store->thread, "registry-writer");
        return 0;
}

static int load_nothing(Store *store) {
        StoreLoaded *loaded = calloc(1, sizeof *loaded);

        if (!loaded)
                return -ENOMEM;
        loaded->first_creation = creation_first(0, (uint64_t)time(NULL));
        channel_publish_loaded(store->channel, loaded);
        return 0;
}

static int start_writer(Store *store, const StoreOptions *options, pid_t *ret_holder_pid) {
        _cleanup_(writer_freep) Writer *writer = NULL;
        pid_t holder_pid;
        int locked;
        int r = writer_new(&writer, store->channel, options);

        if (r == 0)
                r = start_thread(store, &writer);
        if (r < 0)
                return r;
        /* Whatever else is wrong with the lock is the writer's to retry. */
        if (channel_wait_locked(store->channel, LOCK_PATIENCE_USEC, &locked, &holder_pid) &&
            locked == -EBUSY && !options->waits_for_lock) {
                (void)store_stop(store, LOCK_PATIENCE_USEC);
                *ret_holder_pid = holder_pid;
                return -EBUSY;
        }
        return 0;
}

int store_new(Store **ret, const StoreOptions *options, pid_t *ret_holder_pid) {
        _cleanup_(store_freep) Store *store = calloc(1, sizeof *store);
        int r;

        if (!store)
                return -ENOMEM;
        r = channel_new(&store->channel, options->path);
        if (r < 0)
                return r;
        store->has_file = options->path;
        r = store->has_file ? start_writer(store, options, ret_holder_pid) : load_nothing(store);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(store);
        return 0;
}

int store_stop(Store *store, uint64_t timeout_usec) {
        bool all_written;

        if (!store->has_thread)
                return 0;
        store->has_thread = false;
        if (!channel_stop(store->channel, timeout_usec, &all_written)) {
                pthread_detach(store->thread);
                return -ETIMEDOUT;
        }
        pthread_join(store->thread, NULL);
        return all_written ? 0 : -ETIMEDOUT;
}

Store *store_free(Store *store) {
        if (store) {
                if (store->has_thread)
                        (void)store_stop(store, 0);
                channel_unref(store->channel);
        }
        free(store);
        return NULL;
}

int store_wait_loaded(Store *store, uint64_t timeout_usec) {
        return channel_wait_loaded(store->channel, timeout_usec) ? 0 : -ETIMEDOUT;
}

StoreLoaded *store_take_loaded(Store *store) {
        return channel_take_loaded(store->channel);
}

/* --- writing -------------------------------------------------------------------------------- */

/* Takes the change, NULL for one that there was no memory for. */
static int submit(Store *store, Write *write) {
        return channel_submit(store->channel, write);
}

void store_gather(Store *store) {
        channel_gather(store->channel);
}

bool store_has_gathered(const Store *store) {
        return channel_has_gathered(store->channel);
}

void store_let_go(Store *store) {
        channel_let_go(store->channel);
}

int store_submit_put(Store *store, uint64_t revision, const Node *node) {
        /* A const Node is copied, never changed; an array of nodes just is not const in its depth. */
        Node *nodes[] = { (Node *)(uintptr_t)node };

        if (!store->has_file) {
                channel_commit_at_once(store->channel, revision);
                return 0;
        }
        return submit(store, write_new(WRITE_PUT, revision, nodes, 1));
}

int store_submit_end(Store *store, uint64_t revision, const Node *node, NodeEnd end, const char *by,
                     uint64_t now_usec) {
        if (!store->has_file) {
                channel_commit_at_once(store->channel, revision);
                return 0;
        }
        return submit(store, write_new_end(revision, node, end, by, now_usec));
}

int store_submit_mark(Store *store, uint64_t revision) {
        if (!store->has_file) {
                channel_commit_at_once(store->channel, revision);
                return 0;
        }
        return submit(store, write_new(WRITE_MARK, revision, NULL, 0));
}

int store_submit_refusal(Store *store, const Refused *refused) {
        Write *write;

        if (!store->has_file)
                return 0;
        write = write_new_refusal(refused);
        if (!write)
                return -ENOMEM;
        channel_submit_refusal(store->channel, write);
        return 0;
}

static int submit_creations(Store *store, WriteKind kind, uint64_t revision, Node *const *nodes,
                            size_t n_nodes, uint32_t reserved_until) {
        Write *write;

        if (!store->has_file) {
                channel_commit_at_once(store->channel, revision);
                return 0;
        }
        write = write_new(kind, revision, nodes, n_nodes);
        /* It stays wanted, and the thread reminds of it with each tick: to be woken for it at once would leave the loop no
         * time for anything else (P2). */
        if (!write && kind == WRITE_WHOLE)
                return -ENOMEM;
        if (write)
                write->reserved_until = reserved_until;
        return submit(store, write);
}

int store_submit_creations(Store *store, uint64_t revision, uint32_t reserved_until) {
        return submit_creations(store, WRITE_CREATIONS, revision, NULL, 0, reserved_until);
}

int store_submit_whole(Store *store, uint64_t revision, Node *const *nodes, size_t n_nodes,
                       uint32_t reserved_until) {
        return submit_creations(store, WRITE_WHOLE, revision, nodes, n_nodes, reserved_until);
}

void store_set_history_bounds(Store *store, unsigned days, unsigned rows, unsigned per_name) {
        channel_set_bounds(store->channel,
                           &(HistoryBounds){ .days = days, .rows = rows, .per_name = per_name });
}

/* --- reading history ------------------------------------------------------------------------ */

StoreAnswer *store_answer_free(StoreAnswer *answer) {
        if (answer) {
                for (size_t i = 0; i < answer->n_tenures; i++) {
                        node_free(answer->tenures[i].node);
                        free(answer->tenures[i].how);
                        free(answer->tenures[i].by);
                }
                free(answer->tenures);
        }
        free(answer);
        return NULL;
}

int store_query(Store *store, const StoreQuery *query, uint64_t *ret_number) {
        assert(query->n_max > 0 && query->n_max <= STORE_ANSWER_MAX);
        return channel_ask(store->channel, query, ret_number);
}

int store_order(Store *store, const StoreOrder *order, uint64_t *ret_number) {
        return channel_order(store->channel, order, ret_number);
}

void store_cancel_query(Store *store, uint64_t number) {
        channel_cancel(store->channel, number);
}

StoreAnswer *store_take_answer(Store *store) {
        return channel_take_answer(store->channel);
}

/* --- what the writer tells ------------------------------------------------------------------ */

int store_event_fd(const Store *store) {
        return channel_event_fd(store->channel);
}

void store_clear_event(Store *store) {
        channel_clear_event(store->channel);
}

uint64_t store_committed_revision(const Store *store) {
        return channel_committed_revision(store->channel);
}

StoreHealth store_health(const Store *store) {
        return channel_health(store->channel);
}

bool store_wants_whole(const Store *store) {
        return channel_wants_whole(store->channel);
}

void store_set_hanging(Store *store, bool hanging) {
        channel_set_hanging(store->channel, hanging);
}

void store_poke(Store *store) {
        channel_poke(store->channel);
}

void store_get_status(Store *store, StoreStatus *ret) {
        channel_get_status(store->channel, ret);
}

bool store_take_notice(Store *store, char notice[static STORE_NOTICE_MAX]) {
        return channel_take_notice(store->channel, notice);
}
