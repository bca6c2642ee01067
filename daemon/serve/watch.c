/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows who watches, what each has been told, and up to where all may be told. Does not know the bytes of a node
 * (serve/records) nor when a change is on disk (serve/ledger).
 *
 * What is told is always a step from what the registry was at one revision to what it was at another: all there was
 * (a snapshot), or every change between. A snapshot is encoded at once, while the registry is at its revision, and
 * leaves when that may be told; so nobody hears of what a power cut could undo (P1).
 *
 * The trap: a watcher that reads slowly. He has one block of bytes on its way at most; what happens meanwhile waits in
 * the memory of changes, which all share, or is forgotten there, and then he gets a snapshot (P6).
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

/* Lives as long as somebody reads it. */
typedef struct Snapshot {
        struct Snapshot *older;
        Blob *blob; /* a reference */
        uint64_t revision;
        bool is_open; /* of all nodes, and it still holds: for every watcher without a filter */
} Snapshot;

typedef struct Watcher {
        struct Watcher *next, *previous;
        Watch *watch;
        Conn *conn;
        uint64_t revision; /* all up to here is told, or on its way */
        Blob *snapshot;    /* a reference: of `revision`, leaves when that may be told. NULL: none waits */
        const Blob *reading; /* a snapshot that is on its way */
        bool is_greeted;   /* the head of the answer is sent */
        bool is_stale;     /* what it knows does not hold any more */
        bool is_resumed;   /* and is to hear that he is up to date, though nothing has changed */
        Filter filter;
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

static void put_node(ControlBuffer *buffer, const Node *node, uint64_t revision) {
        control_put_record_begin(buffer, CONTROL_NODE_RECORD);
        records_put_node_fields(buffer, node);
        control_put_u64(buffer, CONTROL_TAG_REVISION, revision);
        control_put_record_end(buffer);
}

static void put_gone(ControlBuffer *buffer, const LedgerNews *news) {
        control_put_record_begin(buffer, CONTROL_GONE_RECORD);
        records_put_tenure_fields(buffer, news->node, node_end_to_string(news->end), news->by);
        control_put_u64(buffer, CONTROL_TAG_REVISION, news->revision);
        control_put_record_end(buffer);
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
                free(snapshot);
        }
        return n_bytes;
}

static Blob *watch_encode(Watch *watch, const Filter *filter) {
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };
        uint64_t revision = registry_revision(watch->registry);

        put_mark(&buffer, CONTROL_EPOCH_RECORD, watch->epoch, revision);
        for (Node *node = NULL; (node = filter_next(filter, watch->registry, node));)
                put_node(&buffer, node, revision);
        put_synced(&buffer, revision);
        return buffer.error < 0 ? NULL : blob_new(buffer.data, buffer.n_data);
}

/* Of the registry as it is now; shared among those who want all. One reference, the caller's; NULL on ENOMEM. */
static Blob *watch_take_snapshot(Watch *watch, const Filter *filter) {
        uint64_t revision = registry_revision(watch->registry);
        Snapshot *snapshot;

        watch_collect(watch);
        for (snapshot = watch->newest; snapshot && filter_is_open(filter); snapshot = snapshot->older)
                if (snapshot->is_open && snapshot->revision == revision)
                        return blob_ref(snapshot->blob);
        snapshot = calloc(1, sizeof *snapshot);
        if (!snapshot)
                return NULL;
        *snapshot = (Snapshot){
                .older = watch->newest,
                .blob = watch_encode(watch, filter),
                .revision = revision,
                .is_open = filter_is_open(filter),
        };
        if (!snapshot->blob) {
                free(snapshot);
                return NULL;
        }
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
        free(watcher);
        return NULL;
}

static void watcher_drop(Watcher *watcher, const char *why) {
        log_event(LOG_WARNING, LOG_EVENT_SHED, NULL, "A watcher is dropped: %s", why);
        conn_finish(watcher->conn);
        watcher_free(watcher);
}

static size_t watch_drop_readers_of(Watch *watch, const Blob *blob) {
        size_t n_dropped = 0;

        for (Watcher *watcher = watch->first, *next; watcher; watcher = next) {
                next = watcher->next;
                if (watcher->reading != blob && watcher->snapshot != blob)
                        continue;
                watcher_drop(watcher, "it reads too slowly, and others need the memory");
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

static void watcher_send_snapshot(Watcher *watcher) {
        if (watcher->revision > watcher->watch->tellable)
                return;
        watcher->reading = watcher->snapshot;
        watcher->is_resumed = false;
        conn_stream_send(watcher->conn, TAKE_PTR(watcher->snapshot));
}

/* How many bytes of changes there are for the watcher, up to which revision: all that may be told, or as much as
 * goes into one block. */
static size_t watcher_measure(const Watcher *watcher, uint64_t *ret_upto) {
        const Watch *watch = watcher->watch;
        size_t n_bytes = 0;

        *ret_upto = watch->tellable;
        for (uint64_t revision = watcher->revision + 1; revision <= watch->tellable; revision++) {
                const ChangeRecord *change = changes_get(watch->changes, revision);

                if (!filter_matches(&watcher->filter, change->name, change->n_name, &change->scope))
                        continue;
                if (n_bytes > 0 && n_bytes + change->n_record > BATCH_BYTES_MAX) {
                        *ret_upto = revision - 1;
                        break;
                }
                n_bytes += change->n_record;
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
        for (uint64_t revision = watcher->revision + 1; revision <= upto; revision++) {
                const ChangeRecord *change = changes_get(watch->changes, revision);

                if (!filter_matches(&watcher->filter, change->name, change->n_name, &change->scope))
                        continue;
                memcpy(end, change->record, change->n_record);
                end += change->n_record;
        }
        memcpy(end, synced->data, synced->n_data);
        return blob;
}

static void watcher_send_changes(Watcher *watcher) {
        uint64_t upto;
        size_t n_bytes = watcher_measure(watcher, &upto);
        Blob *blob;

        if (n_bytes == 0 && !watcher->is_resumed) {
                watcher->revision = upto;
                return;
        }
        blob = watcher_gather(watcher, n_bytes, upto);
        if (!blob) {
                watcher_drop(watcher, "there is no memory for what it is to be told");
                return;
        }
        watcher->revision = upto;
        watcher->is_resumed = false;
        conn_stream_send(watcher->conn, blob);
}

static int watcher_prepare_snapshot(Watcher *watcher) {
        watcher->snapshot = watch_take_snapshot(watcher->watch, &watcher->filter);
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
                conn_stream_send(watcher->conn, blob_ref(watch->head));
                return;
        }
        if (watcher_wants_snapshot(watcher) && watcher_prepare_snapshot(watcher) < 0) {
                watcher_drop(watcher, "there is no memory for what it is to be told");
                return;
        }
        if (watcher->snapshot)
                watcher_send_snapshot(watcher);
        else if (watcher->revision < watch->tellable || watcher->is_resumed)
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

static void watcher_on_left(void *userdata, Conn *conn) {
        (void)conn;
        watcher_free(userdata);
}

/* --- changes ---------------------------------------------------------------------------------- */

/* Nobody who goes on from before needs what was never remembered: without watchers a change costs nothing. */
void watch_note(Watch *watch, const LedgerNews *news) {
        ControlBuffer *buffer = watch_scratch(watch);
        const Node *node = news->node;

        if (!watch->is_wanted) {
                changes_forget(watch->changes, news->revision);
                return;
        }
        if (news->kind == CHANGE_END)
                put_gone(buffer, news);
        else
                put_node(buffer, node, news->revision);
        if (buffer->error < 0 || changes_add(watch->changes, &(ChangeRecord){
                                                                     .revision = news->revision,
                                                                     .scope = node->scope,
                                                                     .name = node->info.name,
                                                                     .n_name = node->info.n_name,
                                                                     .record = buffer->data,
                                                                     .n_record = buffer->n_data,
                                                             }) < 0)
                changes_forget(watch->changes, news->revision);
}

static uint64_t new_epoch(void) {
        uint64_t epoch;

        do
                epoch = (uint64_t)random_u32() << 32 | random_u32();
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
                snapshot->is_open = false;
        for (Watcher *watcher = watch->first, *next; watcher; watcher = next) {
                next = watcher->next;
                watcher_forget(watcher);
        }
        watch_shed_excess(watch);
}

/* --- requests --------------------------------------------------------------------------------- */

/* True if the one who asks knows what there was at `*ret_revision`, and all since then is remembered. */
static bool watch_may_resume(const Watch *watch, const ControlRequest *request, uint64_t *ret_revision) {
        ControlField epoch, revision;

        if (!control_find_field(request->fields, request->n_fields, CONTROL_TAG_EPOCH, &epoch) ||
            !control_find_field(request->fields, request->n_fields, CONTROL_TAG_REVISION, &revision))
                return false;
        *ret_revision = control_field_u64(&revision);
        return control_field_u64(&epoch) == watch->epoch && *ret_revision <= watch->tellable &&
               changes_reach_back_to(watch->changes, *ret_revision);
}

/* In the list, but not greeted yet. On failure `conn` is as it was. */
static int watcher_new(Watch *watch, Conn *conn, const Filter *filter, Watcher **ret) {
        Watcher *watcher;
        int r;

        if (watch->n_watchers >= WATCHERS_MAX)
                return -EBUSY;
        watcher = calloc(1, sizeof *watcher);
        if (!watcher)
                return -ENOMEM;
        r = conn_stream_begin(conn, &(ConnStream){ watcher_on_idle, watcher_on_left, watcher });
        if (r < 0) {
                free(watcher);
                return r;
        }
        watcher->watch = watch;
        watcher->conn = conn;
        watcher->filter = *filter;
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

void watch_on_request(Watch *watch, Conn *conn, const ControlRequest *request) {
        uint64_t revision = 0;
        bool is_resumed = watch_may_resume(watch, request, &revision);
        Watcher *watcher;
        Filter filter;
        const char *wrong = filter_parse(request, &filter);
        int r;

        if (wrong) {
                answer_error(conn, CONTROL_E_MALFORMED, wrong);
                return;
        }
        r = watcher_new(watch, conn, &filter, &watcher);
        if (r < 0) {
                answer_failure(conn, r);
                return;
        }
        watch->is_wanted = true;
        watcher->is_resumed = is_resumed;
        watcher->revision = revision;
        if (!is_resumed && watcher_prepare_snapshot(watcher) < 0)
                watcher_drop(watcher, "there is no memory for what it is to be told");
        else
                watcher_advance(watcher);
        watch_shed_excess(watch);
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
