/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows who waits for the disk with which answer. Does not know what is in it.
 *
 * The trap: the registry goes on while an answer waits. So it was encoded before, of one moment, and leaves when that
 * moment is on disk; whoever encoded it then might wait for ever.
 */

#include "serve/pending.h"

#include "serve/answer.h"

typedef struct Waiting {
        struct Waiting *next;
        Pending *pending;
        Conn *conn;
        uint64_t revision;
        ControlBuffer buffer;
        size_t n_bytes; /* of the buffer, as it was counted: with its end it may grow */
} Waiting;

struct Pending {
        PendingParts parts;
        Waiting *first, *last; /* by revision */
        size_t n_waiting, n_bytes;
};

static void waiting_free(Waiting *waiting) {
        Pending *pending = waiting->pending;
        Waiting *before = NULL;

        for (Waiting *other = pending->first; other != waiting; other = other->next)
                before = other;
        if (before)
                before->next = waiting->next;
        else
                pending->first = waiting->next;
        if (pending->last == waiting)
                pending->last = before;
        pending->n_waiting--;
        pending->n_bytes -= waiting->n_bytes;
        control_buffer_done(&waiting->buffer);
        free(waiting);
}

static void waiting_on_left(void *userdata, Conn *conn) {
        (void)conn;
        waiting_free(userdata);
}

/* What one user, or address, has made us keep is bounded, too. */
static bool pending_has_room(const Pending *pending, Conn *conn, size_t n_more) {
        Party party = conn_find_party(conn);
        size_t n_own = 0;

        for (const Waiting *waiting = pending->first; waiting; waiting = waiting->next) {
                Party other = conn_find_party(waiting->conn);

                if (party_equal(&party, &other))
                        n_own += waiting->n_bytes;
        }
        return shares_allow(n_own, pending->n_bytes + n_more, PENDING_BYTES_MAX);
}

static int pending_add(Pending *pending, Conn *conn, uint64_t revision, ControlBuffer *buffer, PlaceKind kind,
                       size_t n_max) {
        Waiting *waiting;
        int r;

        if (!pending_has_room(pending, conn, buffer->n_room))
                return -EBUSY;
        waiting = calloc(1, sizeof *waiting);
        if (!waiting)
                return -ENOMEM;
        r = conn_hold(conn, kind, n_max, &(ConnHolder){ waiting_on_left, waiting });
        if (r < 0) {
                free(waiting);
                return r;
        }
        *waiting = (Waiting){ .pending = pending, .conn = conn, .revision = revision, .buffer = *buffer,
                               .n_bytes = buffer->n_room };
        *buffer = (ControlBuffer){ 0 };
        pending->n_waiting++;
        pending->n_bytes += waiting->n_bytes;
        if (pending->last)
                pending->last->next = waiting;
        else
                pending->first = waiting;
        pending->last = waiting;
        return 0;
}

int pending_answer(Pending *pending, Conn *conn, ControlBuffer *buffer, PlaceKind kind, size_t n_max) {
        uint64_t revision = registry_revision(pending->parts.registry);

        if (buffer->error < 0)
                return buffer->error;
        if (revision > ledger_tellable_revision(pending->parts.ledger))
                return pending_add(pending, conn, revision, buffer, kind, n_max);
        answer_listed(conn, pending->parts.listings, buffer);
        control_buffer_done(buffer);
        return 0;
}

void pending_tell(Pending *pending, uint64_t revision) {
        while (pending->first && pending->first->revision <= revision) {
                answer_listed(pending->first->conn, pending->parts.listings, &pending->first->buffer);
                waiting_free(pending->first);
        }
}

size_t pending_n(const Pending *pending) {
        return pending->n_waiting;
}

int pending_new(Pending **ret, const PendingParts *parts) {
        Pending *pending = calloc(1, sizeof *pending);

        if (!pending)
                return -ENOMEM;
        pending->parts = *parts;
        *ret = pending;
        return 0;
}

Pending *pending_free(Pending *pending) {
        if (!pending)
                return NULL;
        while (pending->first)
                waiting_free(pending->first);
        free(pending);
        return NULL;
}
