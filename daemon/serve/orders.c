/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows who may order what, and that an answer waits for the disk. Does not know what follows for the node
 * (core/registry).
 *
 * The trap: whoever asks over TCP is known by the kernel's word on the other end of the connection only; where that
 * cannot be had, nobody is believed. And at that end there may be a proxy, root's more often than not, with somebody of
 * another machine behind it (P7): so root's word counts on the control socket only.
 */

#include "serve/orders.h"

#include <stdio.h>
#include <string.h>

#include "log.h"
#include "serve/answer.h"
#include "serve/records.h"
#include "serve/said.h"
#include "serve/selection.h"

struct Orders {
        OrdersParts parts;
};

/* Where nobody can wait for the disk (P1), the answer leaves at once: the order was carried out. */
static void orders_answer(Orders *orders, Conn *conn, ControlBuffer *buffer) {
        if (pending_answer(orders->parts.pending, conn, buffer, PLACE_HELD, 0) < 0)
                answer_buffer(conn, buffer);
}

/* --- who asks --------------------------------------------------------------------------------- */

static uid_t orders_find_uid(Orders *orders, Conn *conn) {
        uid_t uid;
        int r = conn_kind(conn) == CONN_CONTROL ? conn_get_peer_uid(conn, &uid)
                                                : vigil_find_uid(orders->parts.vigil, conn, &uid);

        return r < 0 ? NODE_UID_UNKNOWN : uid;
}

static void orders_deny(Conn *conn, const Node *node, uid_t uid, const char *text) {
        LogFields fields = { .node = node->info.name, .n_node = node->info.n_name, .unit = node->unit };

        log_event(LOG_NOTICE, LOG_EVENT_ANNOUNCEMENT, &fields, "An order for %s by uid %d was not carried out: %s",
                  node->info.name, (int)uid, text);
        answer_error(conn, CONTROL_E_DENIED, text);
}

/* --- announcements ---------------------------------------------------------------------------- */

/* Of several nodes of one name: the one with that creation, or the one of that user. */
static int announcement_find(const SaidAnnouncement *announcement, const Registry *registry, uid_t uid, Node **ret,
                             char *text, size_t n_text) {
        Node *found = NULL, *node = NULL;
        size_t n_found = 0;

        while ((node = selection_next(&announcement->selection, registry, node)))
                if (announcement->has_creation ? node->creation == announcement->creation : node->peer.uid == uid) {
                        found = node;
                        n_found++;
                }
        if (n_found != 1)
                return selection_find_one(&announcement->selection, registry, ret, text, n_text);
        *ret = found;
        return 0;
}

static const char *announcement_judge(const SaidAnnouncement *announcement, const Node *node, uid_t uid, ConnKind kind) {
        if (uid == NODE_UID_UNKNOWN)
                return "It cannot be told who asks.";
        if (uid != node->peer.uid && kind == CONN_EPMD)
                return "Over TCP only the user who registered the name may announce for it.";
        if (uid != node->peer.uid && uid != 0)
                return "Only the user who registered the name, or root, may announce for it.";
        if (node_is_elsewhere(node))
                return "That node is on another machine: nobody here knows what becomes of it.";
        if (announcement->has_creation && announcement->creation != node->creation)
                return "That is the creation of an earlier node of this name.";
        return NULL;
}

/* A script that says "ready" while the node from before is still going means the one to come: it asks again. A node
 * that speaks for itself says which one it is. */
static bool is_meant_for_successor(const SaidAnnouncement *announcement, const Node *node) {
        return announcement->announced == NODE_ANNOUNCED_READY && !announcement->has_creation &&
               node_is_going(&node->facts);
}

static int merge(Orders *orders, Node *node, const SaidAnnouncement *announcement) {
        return ledger_carry(orders->parts.ledger,
                            &(Event){
                                    .kind = EVENT_ANNOUNCED,
                                    .node = node,
                                    .now_usec = now_usec(CLOCK_REALTIME),
                                    .announced = announcement->announced,
                                    .profile = &announcement->profile,
                            },
                            NULL);
}

void orders_announce(Orders *orders, Conn *conn, const ControlRequest *request) {
        _cleanup_(said_announcement_done) SaidAnnouncement announcement = { 0 };
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };
        const char *wrong = said_announcement_parse(request, &announcement);
        uid_t uid = orders_find_uid(orders, conn);
        char text[512];
        Node *node;
        int r;

        if (wrong) {
                answer_error(conn, CONTROL_E_MALFORMED, wrong);
                return;
        }
        r = announcement_find(&announcement, orders->parts.registry, uid, &node, text, sizeof text);
        if (r > 0) {
                answer_error(conn, (ControlError)r, text);
                return;
        }
        wrong = announcement_judge(&announcement, node, uid, conn_kind(conn));
        if (wrong) {
                orders_deny(conn, node, uid, wrong);
                return;
        }
        if (is_meant_for_successor(&announcement, node)) {
                answer_error(conn, CONTROL_E_NOT_FOUND, "The node of that name is going, and the next is not registered yet.");
                return;
        }
        r = merge(orders, node, &announcement);
        if (r == -E2BIG)
                answer_error(conn, CONTROL_E_MALFORMED, "A node can announce 32 pairs at most.");
        else if (r < 0)
                answer_error(conn, CONTROL_E_INTERNAL, "There is no memory for that.");
        if (r < 0)
                return;
        control_put_answer_head(&buffer);
        records_put_node(&buffer, node);
        orders_answer(orders, conn, &buffer);
}

/* --- release ---------------------------------------------------------------------------------- */

void orders_release(Orders *orders, Conn *conn, const ControlRequest *request) {
        _cleanup_(control_buffer_done) ControlBuffer buffer = { 0 };
        uid_t uid = orders_find_uid(orders, conn);
        char text[512], by[32];
        Selection selection;
        const char *wrong = selection_parse(request, true, &selection);
        Node *node;
        int r;

        if (wrong) {
                answer_error(conn, CONTROL_E_MALFORMED, wrong);
                return;
        }
        r = selection_find_one(&selection, orders->parts.registry, &node, text, sizeof text);
        if (r > 0) {
                answer_error(conn, (ControlError)r, text);
                return;
        }
        if (uid == NODE_UID_UNKNOWN || (uid != 0 && uid != geteuid())) {
                orders_deny(conn, node, uid, "Only root and the daemon's own user may release a name.");
                return;
        }
        if (node_is_static(node)) {
                orders_deny(conn, node, uid, "It is there by its static entry: remove that (rollcall remove, or nodes.d).");
                return;
        }
        snprintf(by, sizeof by, "uid %u", uid);
        /* The record tells what was released: as it was. */
        control_put_answer_head(&buffer);
        records_put_node(&buffer, node);
        ledger_carry(orders->parts.ledger,
                     &(Event){ .kind = EVENT_RELEASE, .node = node, .by = by, .now_usec = now_usec(CLOCK_REALTIME) },
                     NULL);
        orders_answer(orders, conn, &buffer);
}

/* --- life ------------------------------------------------------------------------------------- */

int orders_new(Orders **ret, const OrdersParts *parts) {
        Orders *orders = calloc(1, sizeof *orders);

        if (!orders)
                return -ENOMEM;
        orders->parts = *parts;
        *ret = orders;
        return 0;
}

Orders *orders_free(Orders *orders) {
        free(orders);
        return NULL;
}
