/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows which connection belongs to which row, by the name it has in the fd store. Does not know how systemd is
 * spoken to (state/fdstore) nor what a row is worth (core/reconcile).
 *
 * The trap: systemd holds a duplicate. A stored connection that is only closed here stays open for its node, which
 * would then never come back: it must be removed from the store, and shut down. The same with one whose answer has not
 * left yet: who adopts it knows of none, and its node waits in vain.
 */

#include "serve/keeper.h"

#include <assert.h>
#include <sys/socket.h>

#include "core/label.h"
#include "log.h"

struct Keeper {
        sd_event *event;
        Fdstore *fdstore;
        Conns *conns;
        uint16_t port;
        FdstoreKeptList kept;
        sd_event_source *grace; /* of what no row wants yet */
};

static FdstoreKey key_of(const Node *node) {
        return (FdstoreKey){ .serial = node->serial, .since_usec = node->since_usec };
}

/* Most nodes that come and go never got there: then nobody else has their connection, and to close it is enough. */
static void keeper_drop(Keeper *keeper, Conn *conn) {
        if (fdstore_was_given(conn_stored(conn)))
                conn_set_shared(conn);
        fdstore_drop(keeper->fdstore, conn_stored(conn));
        conn_set_stored(conn, NULL);
}

static void keeper_discard_rest(Keeper *keeper) {
        size_t n = 0;

        for (size_t i = 0; i < keeper->kept.n_kept; i++) {
                FdstoreKept *kept = keeper->kept.kept + i;

                if (kept->fd < 0)
                        continue;
                fdstore_discard(keeper->fdstore, kept->name);
                shutdown(kept->fd, SHUT_RDWR);
                n++;
        }
        fdstore_kept_done(&keeper->kept);
        if (n > 0)
                log_event(LOG_NOTICE, LOG_EVENT_FD_STORE, NULL,
                          "%zu connection%s in the fd store belonged to no node and %s closed", n,
                          n == 1 ? "" : "s", n == 1 ? "was" : "were");
}

static int keeper_on_grace(sd_event_source *source, uint64_t usec, void *userdata) {
        (void)source;
        (void)usec;
        keeper_discard_rest(userdata);
        return 0;
}

int keeper_new(Keeper **ret, sd_event *event, Fdstore *fdstore, Conns *conns, FdstoreKeptList *kept, uint16_t port) {
        Keeper *keeper = calloc(1, sizeof *keeper);

        if (!keeper)
                return -ENOMEM;
        *keeper = (Keeper){ .event = event, .fdstore = fdstore, .conns = conns, .port = port, .kept = *kept };
        *kept = (FdstoreKeptList){ 0 };
        *ret = keeper;
        return 0;
}

Keeper *keeper_free(Keeper *keeper) {
        if (!keeper)
                return NULL;
        sd_event_source_disable_unref(keeper->grace);
        fdstore_kept_done(&keeper->kept);
        free(keeper);
        return NULL;
}

/* A registered node has nothing to say: whatever can be read is its end. That the kernel is short of memory is not. */
static bool has_ended(int fd) {
        uint8_t byte;
        ssize_t n;

        do
                n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        while (n < 0 && errno == EINTR);
        return !(n < 0 && (errno == EAGAIN || errno == ENOMEM || errno == ENOBUFS));
}

ConnectionEvidence keeper_evidence_of(Keeper *keeper, const Node *node) {
        FdstoreKey key = key_of(node);
        const FdstoreKept *kept;

        if (keeper->kept.n_kept == 0)
                return CONNECTION_NONE;
        kept = fdstore_kept_find(&keeper->kept, &key);
        if (!kept)
                return CONNECTION_NONE;
        return has_ended(kept->fd) ? CONNECTION_ENDED : CONNECTION_OPEN;
}

static int keeper_take(Keeper *keeper, FdstoreKept *kept, Node *node) {
        Conn *conn;
        int r = conns_adopt(keeper->conns, &kept->fd, keeper->port, node, &conn);
        if (r < 0)
                return r;
        node->connection = conn;
        node->connection_fd = conn_fd(conn);
        conn_set_stored(conn, fdstore_adopt(keeper->fdstore, kept->name, conn_fd(conn)));
        return 0;
}

int keeper_adopt(Keeper *keeper, Node *node) {
        FdstoreKey key = key_of(node);
        FdstoreKept *kept = fdstore_kept_find(&keeper->kept, &key);

        assert(kept);
        return keeper_take(keeper, kept, node);
}

static Node *node_of(const FdstoreKept *kept) {
        Node *node = NULL;
        const char *label;
        FdstoreKey key;

        if (kept->fd < 0 || fdstore_parse_name(kept->name, &key, &label) < 0 || label_parse(label, &node) < 0)
                return NULL;
        node->serial = key.serial;
        node->since_usec = key.since_usec;
        return node;
}

Node *keeper_take_rowless(Keeper *keeper) {
        for (size_t i = 0; i < keeper->kept.n_kept; i++) {
                _cleanup_(node_freep) Node *node = node_of(keeper->kept.kept + i);

                if (node && !has_ended(keeper->kept.kept[i].fd) &&
                    keeper_take(keeper, keeper->kept.kept + i, node) == 0)
                        return TAKE_PTR(node);
        }
        return NULL;
}

void keeper_give_up(Keeper *keeper, Conn *conn) {
        keeper_drop(keeper, conn);
        conn_finish(conn);
}

void keeper_release_rest(Keeper *keeper, bool is_final) {
        int r;

        if (is_final || keeper->kept.n_kept == 0) {
                keeper_discard_rest(keeper);
                return;
        }
        if (keeper->grace)
                return;
        r = sd_event_add_time_relative(keeper->event, &keeper->grace, CLOCK_MONOTONIC, KEEPER_GRACE_USEC,
                                       USEC_PER_SEC, keeper_on_grace, keeper);
        if (r < 0)
                keeper_discard_rest(keeper);
}

static void keeper_keep(Keeper *keeper, const Node *node) {
        char name[FDSTORE_NAME_MAX], label[LABEL_MAX];
        FdstoreKey key = key_of(node);
        Conn *conn = node->connection;

        fdstore_format_name(&key, label_format(node, label), name);
        conn_set_stored(conn, fdstore_add(keeper->fdstore, name, conn_fd(conn)));
}

void keeper_on_answered(Keeper *keeper, Conn *conn) {
        keeper_keep(keeper, conn_node(conn));
}

void keeper_on_news(Keeper *keeper, const LedgerNews *news) {
        Conn *conn = news->node->connection, *before = news->connection_before;

        switch (news->kind) {
        case CHANGE_RETURN:
                /* A connection that turns out to be of another row gets that one's name. */
                if (conn_stored(conn)) {
                        keeper_drop(keeper, conn);
                        keeper_keep(keeper, news->node);
                }
                break;
        case CHANGE_END:
                if (before)
                        keeper_drop(keeper, before);
                break;
        case CHANGE_FACTS:
                if (before && !conn)
                        keeper_drop(keeper, before);
                break;
        case CHANGE_REGISTER: /* it is to be answered first, or was adopted */
        case CHANGE_NONE:
                break;
        }
}
