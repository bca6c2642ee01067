/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows who watches, what each has been told, and up to where all may be told. Does not know the bytes of a node
 * (serve/records), which nodes a watcher selects (serve/filter), nor when a change is on disk (serve/ledger).
 *
 * What is told is always a step from what the registry was at one revision to what it was at another: all there was
 * (a snapshot), or every change between. A snapshot is encoded at once, while the registry is at its revision, and
 * leaves when that may be told; so nobody hears of what a power cut could undo (P1).
 *
 * The first trap: a watcher that reads slowly. He has one block of bytes on its way at most; what happens meanwhile waits
 * in the memory of changes, which all share, or is forgotten there, and then he gets a snapshot (P6). If he takes nothing
 * he is cut off, at the end of a record and with a word, and goes on from the last SYNCED.
 *
 * The second: a node's state changes, and with it whether it is selected. So a change says what the state was before,
 * and one that leads out of the selection is told as well.
 */

#include "serve/watch.h"

#include <string.h>

#include "core/changes.h"
#include "log.h"
#include "serve/answer.h"
#include "serve/filter.h"
#include "serve/records.h"

/* P6: of the changes that are remembered, of those in one block, and of all snapshots that slow readers hold. Beyond
 * the last the readers of the oldest are dropped. */
#define CHANGES_BYTES_MAX ((size_t)8 * 1024 * 1024)
#define BATCH_BYTES_MAX ((size_t)32 * 1024)
#define SNAPSHOT_BYTES_MAX ((size_t)64 * 1024 * 1024)

#define HEARTBEAT_MSEC_MIN UINT64_C(1000)
#define HEARTBEAT_MSEC_MAX UINT64_C(3600000)

/* Lives as long as somebody reads it. */
typedef struct Snapshot {
        struct Snapshot *older;
        Blob *blob; /* a reference */
        uint64_t revision;
        Filter *filter; /* a reference: what is in it */
        RecordsForm form;
        bool is_good; /* it still holds, for every watcher who asks for the same */
} Snapshot;

typedef struct Watcher {
        struct Watcher *next, *previous;
        Watch *watch;
        Conn *conn;
        uint64_t revision; /* all up to here is told, or on its way */
        Blob *snapshot;    /* a reference: of `revision`, leaves when that may be told. NULL: none waits */
        const Blob *reading; /* a snapshot that is on its way */
        const Blob *sending; /* whatever is */
        bool is_greeted;   /* the head of the answer is sent */
        bool is_stale;     /* what it knows does not hold any more */
        bool is_to_hear;   /* is to be told SYNCED, though nothing has changed for him */
        RecordsForm form;
        Filter *filter;    /* a reference */
} Watcher;

struct Watch {
        const Registry *registry;
        uint64_t epoch;
        uint64_t tellable; /* the revision up to which changes may be told */
        Changes *changes;
        bool is_wanted; /* somebody has watched once: changes are remembered */
        Watcher *first;
        size_t n_watchers;
        Snapshot *newest;
        Blob *head; /* of every answer */
        ControlBuffer scratch;
};

/* --- records ---------------------------------------------------------------------------------- */

static void put_mark(ControlBuffer *buffer, ControlKind kind, uint64_t epoch, uint64_t revision) {
        control_put_record_begin(buffer, kind);
        if (epoch != 0)
                control_put_u64(buffer, CONTROL_TAG_EPOCH, epoch);
        control_put_u64(buffer, CONTROL_TAG_REVISION, revision);
        control_put_record_end(buffer);
}

static void put_synced(ControlBuffer *buffer, uint64_t revision) {
        put_mark(buffer, CONTROL_SYNCED_RECORD, 0, revision);
}

/* A record whose private fields come last. Returns how many bytes of it are public. */
static size_t put_change(ControlBuffer *buffer, ControlKind kind, const LedgerNews *news) {
        size_t begin = buffer->n_data, n_public;

        control_put_record_begin(buffer, kind);
        if (kind == CONTROL_GONE_RECORD)
                records_put_public_tenure_fields(buffer, news->node, node_end_to_string(news->end));
        else
                records_put_public_fields(buffer, news->node);
        control_put_u64(buffer, CONTROL_TAG_REVISION, news->revision);
        n_public = buffer->n_data - begin;
        if (kind == CONTROL_GONE_RECORD)
                records_put_private_tenure_fields(buffer, news->node, news->by);
        else
                records_put_private_fields(buffer, news->node);
        control_put_record_end(buffer);
        return n_public;
}

/* The buffer that all use in turn, empty. */
static ControlBuffer *watch_scratch(Watch *watch) {
        watch->scratch.n_data = 0;
        watch->scratch.error = 0;
        return &watch->scratch;
}

/* --- snapshots -------------------------------------------------------------------------------- */

/* Drops those that nobody but this list holds. Returns the bytes of the others. */
static size_t watch_collect(Watch *watch) {
        Snapshot **link = &watch->newest;
        size_t n_bytes = 0;

        while (*link) {
                Snapshot *snapshot = *link;

                if (snapshot->blob->n_refs > 1) {
                        n_bytes += snapshot->blob->n_data;
                        link = &snapshot->older;
                        continue;
                }
                *link = snapshot->older;
                blob_unref(snapshot->blob);
                filter_unref(snapshot->filter);
                free(snapshot);
        }
        return n_bytes;
}

static Blob *watch_encode(Watch *watch, const Filter *filter, RecordsForm form) {
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };
        uint64_t revision = registry_revision(watch->registry);
        FilterWalk walk = filter_walk(filter, watch->registry);
        Node *node;

        watch_put_epoch(watch, &buffer);
        while ((node = filter_walk_next(&walk)))
                records_put_node_as(&buffer, node, form, revision);
        put_synced(&buffer, revision);
        return buffer.error < 0 ? NULL : blob_new(buffer.data, buffer.n_data);
}

static Snapshot *snapshot_new(Watch *watch, const Watcher *watcher) {
        Snapshot *snapshot = calloc(1, sizeof *snapshot);
        Blob *blob = snapshot ? watch_encode(watch, watcher->filter, watcher->form) : NULL;

        if (!blob) {
                free(snapshot);
                return NULL;
        }
        *snapshot = (Snapshot){
                .blob = blob,
                .revision = registry_revision(watch->registry),
                .filter = filter_ref(watcher->filter),
                .form = watcher->form,
                .is_good = true,
        };
        return snapshot;
}

static bool snapshot_is_for(const Snapshot *snapshot, const Watcher *watcher, uint64_t revision) {
        return snapshot->is_good && snapshot->revision == revision && snapshot->form == watcher->form &&
               filter_equal(snapshot->filter, watcher->filter);
}

/* Of the registry as it is now; shared among those who ask for the same. One reference, the caller's; NULL on ENOMEM. */
static Blob *watch_take_snapshot(Watch *watch, const Watcher *watcher) {
        uint64_t revision = registry_revision(watch->registry);
        Snapshot *snapshot;

        watch_collect(watch);
        for (snapshot = watch->newest; snapshot; snapshot = snapshot->older)
                if (snapshot_is_for(snapshot, watcher, revision))
                        return blob_ref(snapshot->blob);
        snapshot = snapshot_new(watch, watcher);
        if (!snapshot)
                return NULL;
        snapshot->older = watch->newest;
        watch->newest = snapshot;
        return blob_ref(snapshot->blob);
}

/* --- watchers --------------------------------------------------------------------------------- */

static Watcher *watcher_free(Watcher *watcher) {
        Watch *watch = watcher->watch;

        if (watcher->previous)
                watcher->previous->next = watcher->next;
        else
                watch->first = watcher->next;
        if (watcher->next)
                watcher->next->previous = watcher->previous;
        watch->n_watchers--;
        blob_unref(watcher->snapshot);
        filter_unref(watcher->filter);
        free(watcher);
        return NULL;
}

/* Where the record ends that is on its way: of a block of records, or of the head, which is none. */
static size_t watcher_find_boundary(const Watcher *watcher) {
        const Blob *blob = watcher->sending;
        size_t n_sent = conn_stream_n_sent(watcher->conn), at = 0;

        while (at < n_sent) {
                const uint8_t *fields;
                size_t n, n_fields;
                uint8_t kind;

                if (control_next_record(blob->data + at, blob->n_data - at, &n, &kind, &fields, &n_fields) != 1)
                        return blob->n_data;
                at += n;
        }
        return at;
}

/* With a last word, as far as the socket takes it. */
static void watcher_cut(Watcher *watcher, ControlError error, const char *text, const char *why) {
        ControlBuffer *last = watch_scratch(watcher->watch);
        size_t upto = conn_stream_is_idle(watcher->conn) ? 0 : watcher_find_boundary(watcher);

        log_event(LOG_WARNING, LOG_EVENT_SHED, &(LogFields){ .peer = conn_peer_text(watcher->conn) },
                  "A watcher (%s) is cut off: %s", conn_peer_text(watcher->conn), why);
        if (!watcher->is_greeted)
                control_put_answer_head(last);
        control_put_error(last, error, text);
        conn_stream_cut(watcher->conn, upto, last->data, last->error < 0 ? 0 : last->n_data);
        watcher_free(watcher);
}

static void watcher_cut_slow(Watcher *watcher, const char *why) {
        watcher_cut(watcher, CONTROL_E_TOO_SLOW, "You read too slowly; go on from the last SYNCED.", why);
}

static void watcher_cut_without_memory(Watcher *watcher) {
        watcher_cut(watcher, CONTROL_E_INTERNAL, "There is no memory for what you are to be told.",
                    "there is no memory for what it is to be told");
}

static size_t watch_drop_readers_of(Watch *watch, const Blob *blob) {
        size_t n_dropped = 0;

        for (Watcher *watcher = watch->first, *next; watcher; watcher = next) {
                next = watcher->next;
                if (watcher->reading != blob && watcher->snapshot != blob)
                        continue;
                watcher_cut_slow(watcher, "it reads too slowly, and others need the memory");
                n_dropped++;
        }
        return n_dropped;
}

/* Called when nobody walks the list of watchers. The newest may be as long as it is. */
static void watch_shed_excess(Watch *watch) {
        while (watch->newest && watch->newest->older && watch_collect(watch) > SNAPSHOT_BYTES_MAX) {
                Snapshot *oldest = watch->newest;

                while (oldest->older)
                        oldest = oldest->older;
                if (oldest == watch->newest || watch_drop_readers_of(watch, oldest->blob) == 0)
                        return;
        }
}

/* --- telling ---------------------------------------------------------------------------------- */

static void watcher_send(Watcher *watcher, Blob *blob) {
        watcher->sending = blob;
        conn_stream_send(watcher->conn, blob);
}

static void watcher_send_snapshot(Watcher *watcher) {
        if (watcher->revision > watcher->watch->tellable)
                return;
        watcher->reading = watcher->snapshot;
        watcher->is_to_hear = false;
        watcher_send(watcher, TAKE_PTR(watcher->snapshot));
}

/* A change that begins or ends outside of the selection is told if the other end is within; so who leaves it is told of
 * once. */
static bool watcher_is_to_hear_of(const Watcher *watcher, const ChangeRecord *change) {
        const Filter *filter = watcher->filter;

        if (!(change->was_there && filter_wants_state(filter, change->state_before)) &&
            !(change->is_there && filter_wants_state(filter, change->state)))
                return false;
        return filter_matches(filter, change->name, change->n_name, &change->scope, change->is_hidden);
}

static size_t watcher_length_of(const Watcher *watcher, const ChangeRecord *change) {
        return watcher->form == RECORDS_FULL ? change->n_record : change->n_public;
}

/* How many bytes of changes there are for the watcher, up to which revision: all that may be told, or as much as
 * goes into one block. */
static size_t watcher_measure(const Watcher *watcher, uint64_t *ret_upto) {
        const Watch *watch = watcher->watch;
        size_t n_bytes = 0;

        *ret_upto = watch->tellable;
        for (uint64_t revision = watcher->revision + 1; revision <= watch->tellable; revision++) {
                const ChangeRecord *change = changes_get(watch->changes, revision);

                if (!watcher_is_to_hear_of(watcher, change))
                        continue;
                if (n_bytes > 0 && n_bytes + change->n_record > BATCH_BYTES_MAX) {
                        *ret_upto = revision - 1;
                        break;
                }
                n_bytes += watcher_length_of(watcher, change);
        }
        return n_bytes;
}

/* Those changes, and SYNCED. NULL on ENOMEM. */
static Blob *watcher_gather(Watcher *watcher, size_t n_bytes, uint64_t upto) {
        Watch *watch = watcher->watch;
        ControlBuffer *synced = watch_scratch(watch);
        Blob *blob;
        uint8_t *end;

        put_synced(synced, upto);
        blob = synced->error < 0 ? NULL : blob_new(NULL, n_bytes + synced->n_data);
        if (!blob)
                return NULL;
        end = blob->data;
        for (uint64_t revision = watcher->revision + 1; n_bytes > 0 && revision <= upto; revision++) {
                const ChangeRecord *change = changes_get(watch->changes, revision);
                size_t n = watcher_length_of(watcher, change);

                if (!watcher_is_to_hear_of(watcher, change))
                        continue;
                memcpy(end, change->record, n);
                control_set_record_length(end, n);
                end += n;
        }
        memcpy(end, synced->data, synced->n_data);
        return blob;
}

static void watcher_send_changes(Watcher *watcher) {
        uint64_t upto;
        size_t n_bytes = watcher_measure(watcher, &upto);
        Blob *blob;

        if (n_bytes == 0 && !watcher->is_to_hear) {
                watcher->revision = upto;
                return;
        }
        blob = watcher_gather(watcher, n_bytes, upto);
        if (!blob) {
                watcher_cut_without_memory(watcher);
                return;
        }
        watcher->revision = upto;
        watcher->is_to_hear = false;
        watcher_send(watcher, blob);
}

static int watcher_prepare_snapshot(Watcher *watcher) {
        watcher->snapshot = watch_take_snapshot(watcher->watch, watcher);
        if (!watcher->snapshot)
                return -ENOMEM;
        watcher->revision = registry_revision(watcher->watch->registry);
        watcher->is_stale = false;
        return 0;
}

static bool watcher_wants_snapshot(const Watcher *watcher) {
        if (watcher->snapshot)
                return false;
        return watcher->is_stale || !changes_reach_back_to(watcher->watch->changes, watcher->revision);
}

/* Whatever comes next for this watcher, if it may be told and he has taken what came before. May free him. */
static void watcher_advance(Watcher *watcher) {
        Watch *watch = watcher->watch;

        if (!conn_stream_is_idle(watcher->conn))
                return;
        if (!watcher->is_greeted) {
                watcher->is_greeted = true;
                watcher_send(watcher, blob_ref(watch->head));
                return;
        }
        if (watcher_wants_snapshot(watcher) && watcher_prepare_snapshot(watcher) < 0) {
                watcher_cut_without_memory(watcher);
                return;
        }
        if (watcher->snapshot)
                watcher_send_snapshot(watcher);
        else if (watcher->revision < watch->tellable ||
                 (watcher->is_to_hear && watcher->revision == watch->tellable))
                watcher_send_changes(watcher);
}

void watch_tell(Watch *watch, uint64_t revision) {
        if (revision <= watch->tellable)
                return;
        watch->tellable = revision;
        for (Watcher *watcher = watch->first, *next; watcher; watcher = next) {
                next = watcher->next;
                watcher_advance(watcher);
        }
        watch_shed_excess(watch);
}

static void watcher_on_idle(void *userdata, Conn *conn) {
        Watcher *watcher = userdata;
        Watch *watch = watcher->watch;

        (void)conn;
        if (watcher->reading)
                watch_collect(watch);
        watcher->reading = NULL;
        watcher_advance(watcher);
        watch_shed_excess(watch);
}

/* He is to know that we are there. */
static void watcher_on_rested(void *userdata, Conn *conn) {
        Watcher *watcher = userdata;
        Watch *watch = watcher->watch;

        (void)conn;
        watcher->is_to_hear = true;
        watcher_advance(watcher);
        watch_shed_excess(watch);
}

static void watcher_on_slow(void *userdata, Conn *conn) {
        (void)conn;
        watcher_cut_slow(userdata, "it takes nothing of what it is sent");
}

static void watcher_on_left(void *userdata, Conn *conn) {
        (void)conn;
        watcher_free(userdata);
}

/* --- changes ---------------------------------------------------------------------------------- */

/* Nobody who goes on from before needs what was never remembered: without watchers a change costs nothing. */
void watch_note(Watch *watch, const LedgerNews *news) {
        ControlBuffer *buffer = watch_scratch(watch);
        const Node *node = news->node;
        size_t n_public;

        if (!watch->is_wanted) {
                changes_forget(watch->changes, news->revision);
                return;
        }
        n_public = put_change(buffer, news->kind == CHANGE_END ? CONTROL_GONE_RECORD : CONTROL_NODE_RECORD, news);
        if (buffer->error < 0 || changes_add(watch->changes, &(ChangeRecord){
                                                                     .revision = news->revision,
                                                                     .scope = node->scope,
                                                                     .was_there = news->kind != CHANGE_REGISTER,
                                                                     .is_there = news->kind != CHANGE_END,
                                                                     .state_before = news->state_before,
                                                                     .state = node->state,
                                                                     .is_hidden = filter_is_hidden(node),
                                                                     .name = node->info.name,
                                                                     .n_name = node->info.n_name,
                                                                     .record = buffer->data,
                                                                     .n_record = buffer->n_data,
                                                                     .n_public = n_public,
                                                             }) < 0)
                changes_forget(watch->changes, news->revision);
}

/* Of 53 bits, which every reader of JSON has for an integer. */
static uint64_t new_epoch(void) {
        uint64_t epoch;

        do
                epoch = random_u64() >> 11;
        while (epoch == 0);
        return epoch;
}

static void watcher_forget(Watcher *watcher) {
        watcher->snapshot = blob_unref(watcher->snapshot);
        watcher->is_stale = true;
        watcher_advance(watcher);
}

void watch_begin_anew(Watch *watch) {
        watch->epoch = new_epoch();
        changes_forget(watch->changes, registry_revision(watch->registry));
        for (Snapshot *snapshot = watch->newest; snapshot; snapshot = snapshot->older)
                snapshot->is_good = false;
        for (Watcher *watcher = watch->first, *next; watcher; watcher = next) {
                next = watcher->next;
                watcher_forget(watcher);
        }
        watch_shed_excess(watch);
}

void watch_review(Watch *watch, bool (*may_watch)(void *userdata, Conn *conn), void *userdata) {
        for (Watcher *watcher = watch->first, *next; watcher; watcher = next) {
                next = watcher->next;
                if (watcher->form == RECORDS_PUBLIC && !may_watch(userdata, watcher->conn))
                        watcher_cut(watcher, CONTROL_E_DENIED, "You may not ask that any more.",
                                    "the settings do not name it any more");
        }
}

/* --- requests --------------------------------------------------------------------------------- */

/* True if the one who asks knows what there was at `*ret_revision`, and all since then is remembered. */
static bool watch_may_resume(const Watch *watch, const ControlRequest *request, uint64_t *ret_revision) {
        ControlField epoch, revision;

        if (!control_find_field(request->fields, request->n_fields, CONTROL_TAG_EPOCH, &epoch) ||
            !control_find_field(request->fields, request->n_fields, CONTROL_TAG_REVISION, &revision))
                return false;
        *ret_revision = control_field_u64(&revision);
        return control_field_u64(&epoch) == watch->epoch && changes_reach_back_to(watch->changes, *ret_revision);
}

/* 0: none. */
static uint64_t parse_heartbeat(const ControlRequest *request) {
        ControlField field;
        uint64_t msec = 0;

        if (control_find_field(request->fields, request->n_fields, CONTROL_TAG_HEARTBEAT, &field))
                msec = control_field_u64(&field);
        if (msec == 0)
                return 0;
        return min_u64(max_u64(msec, HEARTBEAT_MSEC_MIN), HEARTBEAT_MSEC_MAX) * USEC_PER_MSEC;
}

/* In the list, but not greeted yet. Takes `*filter` on success; on failure `conn` is as it was. */
static int watcher_new(Watch *watch, Conn *conn, Filter **filter, uint64_t heartbeat_usec, Watcher **ret) {
        Watcher *watcher;
        int r;

        watcher = calloc(1, sizeof *watcher);
        if (!watcher)
                return -ENOMEM;
        r = conn_stream_begin(conn, &(ConnStream){
                                            .on_idle = watcher_on_idle,
                                            .on_left = watcher_on_left,
                                            .on_slow = watcher_on_slow,
                                            .on_rested = watcher_on_rested,
                                            .rest_usec = heartbeat_usec,
                                            .n_max = WATCHERS_MAX,
                                            .userdata = watcher,
                                    });
        if (r < 0) {
                free(watcher);
                return r;
        }
        watcher->watch = watch;
        watcher->conn = conn;
        watcher->form = conn_kind(conn) == CONN_CONTROL ? RECORDS_FULL : RECORDS_PUBLIC;
        watcher->filter = TAKE_PTR(*filter);
        watcher->next = watch->first;
        if (watch->first)
                watch->first->previous = watcher;
        watch->first = watcher;
        watch->n_watchers++;
        *ret = watcher;
        return 0;
}

static void answer_failure(Conn *conn, int error) {
        if (error == -EBUSY)
                answer_error(conn, CONTROL_E_BUSY, "Too many watch already.");
        else
                answer_error(conn, CONTROL_E_INTERNAL, "There is no memory for that.");
}

/* The request's body is gone once the watcher is there. */
void watch_on_request(Watch *watch, Conn *conn, const ControlRequest *request) {
        _cleanup_(filter_unrefp) Filter *filter = NULL;
        uint64_t revision = 0, heartbeat_usec = parse_heartbeat(request);
        bool is_resumed = watch_may_resume(watch, request, &revision);
        const char *wrong = NULL;
        Watcher *watcher = NULL;
        int r = filter_new(&filter, request, &wrong);

        if (r > 0) {
                answer_error(conn, CONTROL_E_MALFORMED, wrong);
                return;
        }
        if (r == 0)
                r = watcher_new(watch, conn, &filter, heartbeat_usec, &watcher);
        if (r < 0) {
                answer_failure(conn, r);
                return;
        }
        watch->is_wanted = true;
        watcher->is_to_hear = is_resumed;
        watcher->revision = revision;
        if (!is_resumed && watcher_prepare_snapshot(watcher) < 0)
                watcher_cut_without_memory(watcher);
        else
                watcher_advance(watcher);
        watch_shed_excess(watch);
}

void watch_remember(Watch *watch) {
        watch->is_wanted = true;
}

/* --- life ------------------------------------------------------------------------------------- */

static Blob *encode_head(void) {
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };

        control_put_answer_head(&buffer);
        return buffer.error < 0 ? NULL : blob_new(buffer.data, buffer.n_data);
}

int watch_new(Watch **ret, const Registry *registry) {
        _cleanup_(watch_freep) Watch *watch = calloc(1, sizeof *watch);
        int r;

        if (!watch)
                return -ENOMEM;
        watch->registry = registry;
        watch->epoch = new_epoch();
        watch->head = encode_head();
        if (!watch->head)
                return -ENOMEM;
        r = changes_new(&watch->changes, WATCH_CHANGES_MAX, CHANGES_BYTES_MAX, registry_revision(registry));
        if (r < 0)
                return r;
        *ret = TAKE_PTR(watch);
        return 0;
}

Watch *watch_free(Watch *watch) {
        if (!watch)
                return NULL;
        while (watch->first) {
                conn_finish(watch->first->conn);
                watcher_free(watch->first);
        }
        watch_collect(watch);
        changes_free(watch->changes);
        blob_unref(watch->head);
        control_buffer_done(&watch->scratch);
        free(watch);
        return NULL;
}

size_t watch_n(const Watch *watch) {
        return watch->n_watchers;
}

uint64_t watch_epoch(const Watch *watch) {
        return watch->epoch;
}

void watch_put_epoch(const Watch *watch, ControlBuffer *buffer) {
        put_mark(buffer, CONTROL_EPOCH_RECORD, watch->epoch, registry_revision(watch->registry));
}
