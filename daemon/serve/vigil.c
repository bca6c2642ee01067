/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows which evidence bears on which node, and when to ask for it: announcements, a question before somebody
 * registers, a look at all, a grace that is over. Does not know the rules (core/), how the kernel is asked (evidence/),
 * who a newcomer is (vigil_examine.c) nor what a row is worth (vigil_reconcile.c).
 *
 * The trap: an announcement can be about a listener whose node has meanwhile been ended or replaced; only
 * the cookie says which.
 */

#include "serve/vigil.h"

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "log.h"
#include "serve/twins.h"
#include "serve/vigil_private.h"
#include "timer.h"

/* How long a node is awaited whose connection has ended and may have been its twin's: what ended for good closes
 * its listener within milliseconds. */
#define TWIN_GRACE_USEC (1 * USEC_PER_SEC)

/* A kernel that did not answer is asked again after so long, then after twice that, and so on. */
#define SIGHT_RETRY_MIN_USEC (1 * USEC_PER_SEC)
#define SIGHT_RETRY_MAX_USEC (64 * USEC_PER_SEC)

/* Listeners asked for in one turn of the loop (1.4 us each), and how soon the next ones are. */
#define REVIEW_BATCH 500
#define REVIEW_NEXT_USEC (1 * USEC_PER_SEC)

/* For those whose grace is over, and for a review: each may have many twins (P6). */
#define TURN_USEC (1 * USEC_PER_MSEC)

/* Announcements handled in one turn of the loop. */
#define ANNOUNCEMENT_BATCH 256

uint64_t vigil_now(const Vigil *vigil, clockid_t clock) {
        uint64_t now = 0;

        sd_event_now(vigil->event, clock, &now);
        return now;
}

void vigil_tell(Vigil *vigil, EventKind kind, Node *node) {
        ledger_carry(vigil->ledger,
                     &(Event){ .kind = kind, .node = node, .now_usec = vigil_now(vigil, CLOCK_REALTIME) },
                     NULL);
}

/* --- can we see ------------------------------------------------------------------------------- */

static void vigil_set_blind(Vigil *vigil, const char *reason) {
        bool was_blind = vigil->blind_reason;

        vigil->blind_reason = reason;
        if (reason && !was_blind)
                log_event(LOG_WARNING, LOG_EVENT_BLIND, NULL,
                          "The kernel's word on listening sockets cannot be had: %s. "
                          "Connections alone count as evidence of life",
                          reason);
        else if (!reason && was_blind)
                log_event(LOG_NOTICE, LOG_EVENT_BLIND, NULL,
                          "The kernel's word on listening sockets can be had again");
}

void vigil_look_again_later(Vigil *vigil) {
        sd_event_source_set_time(vigil->sight, vigil_now(vigil, CLOCK_MONOTONIC) + vigil->sight_retry_usec);
        sd_event_source_set_enabled(vigil->sight, SD_EVENT_ONESHOT);
}

static void vigil_test_sight(Vigil *vigil) {
        int r;

        if (!vigil->listeners) {
                vigil_set_blind(vigil, "sock_diag is not available");
                vigil_look_again_later(vigil);
                return;
        }
        if (vigil->listener_fd < 0)
                return;
        r = listeners_self_test(vigil->listeners, vigil->listener_fd);
        if (r == -ENOENT)
                vigil_set_blind(vigil, "the daemon is in another network namespace than its sockets");
        else
                vigil_set_blind(vigil, r < 0 ? "the kernel does not answer" : NULL);
        if (r < 0 && r != -ENOENT)
                vigil_look_again_later(vigil);
}

const char *vigil_blind_reason(const Vigil *vigil) {
        return vigil->blind_reason;
}

bool vigil_knows_units(const Vigil *vigil) {
        return vigil->cgroups != NULL;
}

const char *vigil_describe_evidence(const Vigil *vigil, char *text, size_t n_text) {
        if (vigil->blind_reason)
                snprintf(text, n_text, "connections only (%s)", vigil->blind_reason);
        else
                snprintf(text, n_text, "connections and listening sockets");
        return text;
}

/* --- listeners that close --------------------------------------------------------------------- */

/* Two nodes of one owner that listen on one port at two addresses cannot be told apart when they register: the
 * match may have been crosswise. Of one that is connected, and whose owner still listens there at another
 * address, nothing is known. */
static bool vigil_may_be_mismatched(Vigil *vigil, const Node *node) {
        NodeListener other;

        if (node->facts.is_awaited || node->facts.is_listener_gone || node_is_static(node))
                return false;
        return listeners_find_listener(vigil->listeners, node->info.port, node->listener.ipv6,
                                       &node->peer, NULL, NULL, NULL, &other) == 0 &&
               !address_equal(&other.address, &node->listener.address);
}

int vigil_asks_listener(Vigil *vigil, const Node *node) {
        if (vigil->blind_reason)
                return -ENOTCONN;
        if (node->listener.cookie == 0)
                return -ENOENT;
        return listeners_is_alive(vigil->listeners, &node->listener, node->info.port);
}

/* `node`, whose listener lives, is the one behind the connection of `twin`, whose listener has closed. */
static void vigil_uncross(Vigil *vigil, Node *node, Node *twin) {
        ledger_carry(vigil->ledger,
                     &(Event){
                             .kind = EVENT_CONNECTION_FOUND,
                             .node = node,
                             .twin = twin,
                             .now_usec = vigil_now(vigil, CLOCK_REALTIME),
                     },
                     NULL);
        vigil_tell(vigil, EVENT_CONNECTION_ENDED, twin);
}

/* The first twin of `node`, with or without a connection, whose listener is as `is_open` says; NULL: none. */
static Node *vigil_find_twin(Vigil *vigil, const Node *node, bool is_connected, bool is_open) {
        Node *twin = NULL;

        while ((twin = twins_next(vigil->registry, node, is_connected, twin)))
                if (vigil_asks_listener(vigil, twin) == is_open)
                        return twin;
        return NULL;
}

void vigil_on_connection_ended(Vigil *vigil, Node *node) {
        Node *bare;

        if (!twins_next(vigil->registry, node, true, NULL) || vigil_asks_listener(vigil, node) != 1) {
                vigil_tell(vigil, EVENT_CONNECTION_ENDED, node);
                return;
        }
        ledger_carry(vigil->ledger,
                     &(Event){
                             .kind = EVENT_CONNECTION_LOST,
                             .node = node,
                             .now_usec = vigil_now(vigil, CLOCK_REALTIME),
                             .await_until_usec = vigil_now(vigil, CLOCK_MONOTONIC) + TWIN_GRACE_USEC,
                     },
                     NULL);
        bare = vigil_find_twin(vigil, node, true, false);
        if (bare)
                vigil_uncross(vigil, node, bare);
        else
                vigil_arm_expiry(vigil);
}

/* What the end of a listener means for one of those it was matched to. */
static void vigil_on_node_bare(Vigil *vigil, Node *node) {
        Node *twin = node->connection ? vigil_find_twin(vigil, node, false, true) : NULL;

        if (twin)
                vigil_uncross(vigil, twin, node);
        else if (!vigil_may_be_mismatched(vigil, node))
                vigil_tell(vigil, EVENT_LISTENER_GONE, node);
}

static void vigil_on_listener_gone(Vigil *vigil, uint64_t cookie) {
        Node *node = registry_find_by_cookie(vigil->registry, cookie), *next;

        for (; node; node = next) {
                next = registry_next_by_cookie(vigil->registry, node);
                vigil_on_node_bare(vigil, node);
        }
}

/* One dump of all listeners, and a second question about those that it did not show. */
static void vigil_check_all(Vigil *vigil) {
        _cleanup_(freep) SocketFacts *snapshot = NULL;
        size_t n_snapshot;
        Node *older;
        int r;

        if (vigil->blind_reason)
                return;
        r = listeners_snapshot(vigil->listeners, &snapshot, &n_snapshot);
        if (r < 0) {
                log_event(LOG_WARNING, LOG_EVENT_EVIDENCE_LOST, NULL,
                          "The kernel does not tell who listens: %s", strerror(-r));
                vigil_look_again_later(vigil);
                return;
        }
        for (Node *node = registry_newest(vigil->registry); node; node = older) {
                older = node->older;
                if (node->listener.cookie == 0 ||
                    listeners_snapshot_find(snapshot, n_snapshot, node->listener.cookie))
                        continue;
                if (vigil_asks_listener(vigil, node) == 0)
                        vigil_on_node_bare(vigil, node);
        }
}

static int vigil_on_announcement(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        Vigil *vigil = userdata;

        (void)source;
        (void)fd;
        (void)events;
        for (unsigned i = 0; i < ANNOUNCEMENT_BATCH; i++) {
                uint64_t cookie;
                int r = listeners_read_event(vigil->listeners, &cookie);

                if (r == -EAGAIN)
                        break;
                if (r == 0) {
                        vigil_on_listener_gone(vigil, cookie);
                        continue;
                }
                vigil->counters->n_evidence_lost++;
                log_event(LOG_NOTICE, LOG_EVENT_EVIDENCE_LOST, NULL,
                          "Some of the kernel's announcements were lost (%s): asking about every node",
                          strerror(-r));
                vigil_check_all(vigil);
                if (r != -ENOBUFS)
                        break;
        }
        return 0;
}

/* --- awaited nodes ---------------------------------------------------------------------------- */

void vigil_arm_expiry(Vigil *vigil) {
        uint64_t first = USEC_INFINITE;

        for (Node *node = registry_newest(vigil->registry); node; node = node->older)
                if (node->facts.is_awaited)
                        first = min_u64(first, node->await_until_usec);
        if (first == USEC_INFINITE)
                return;
        timer_arm(vigil->expiry, first);
}

/* P3: the kernel's word on the listener of a twin may come later than the grace ends; when it is asked, it knows.
 * True if `node` turned out to be the one behind the connection of a twin, who is gone. */
static bool vigil_finds_awaited(Vigil *vigil, Node *node) {
        Node *bare = vigil_asks_listener(vigil, node) == 1 ? vigil_find_twin(vigil, node, true, false) : NULL;

        if (bare)
                vigil_uncross(vigil, node, bare);
        return bare;
}

static int vigil_on_expiry(sd_event_source *source, uint64_t usec, void *userdata) {
        Vigil *vigil = userdata;
        uint64_t now = vigil_now(vigil, CLOCK_MONOTONIC);
        uint64_t until = now_usec(CLOCK_MONOTONIC) + TURN_USEC;
        Node *next;

        (void)source;
        (void)usec;
        for (Node *node = registry_newest(vigil->registry); node; node = next) {
                next = node->older;
                if (!node->facts.is_awaited || node->await_until_usec > now)
                        continue;
                if (vigil_finds_awaited(vigil, node))
                        next = registry_newest(vigil->registry); /* who was next may be the one who is gone */
                else
                        vigil_tell(vigil, EVENT_AWAIT_EXPIRED, node);
                if (now_usec(CLOCK_MONOTONIC) >= until)
                        break; /* the timer is set to those that are left */
        }
        vigil_arm_expiry(vigil);
        return 0;
}

/* --- looking again ---------------------------------------------------------------------------- */

/* P3: those that were given the grace because nobody could say whether their listeners live. What has become of those
 * that do not is seen with all others. */
static void vigil_ask_about_rows(Vigil *vigil) {
        for (Node *node = registry_newest(vigil->registry); node; node = node->older)
                if (node->facts.is_awaited && node->await_until_usec == vigil->grace_until_usec &&
                    vigil_asks_listener(vigil, node) > 0)
                        node->await_until_usec = USEC_INFINITE;
}

static void vigil_open_evidence(Vigil *vigil);

void vigil_look_again(Vigil *vigil) {
        vigil_open_evidence(vigil);
        vigil_test_sight(vigil);
        vigil_ask_about_rows(vigil);
        vigil_check_all(vigil);
}

static int vigil_on_sight(sd_event_source *source, uint64_t usec, void *userdata) {
        Vigil *vigil = userdata;

        (void)source;
        (void)usec;
        vigil->sight_retry_usec = min_u64(vigil->sight_retry_usec * 2, SIGHT_RETRY_MAX_USEC);
        vigil_look_again(vigil);
        if (!vigil->blind_reason)
                vigil->sight_retry_usec = SIGHT_RETRY_MIN_USEC;
        return 0;
}

/* --- before somebody registers ------------------------------------------------------------------ */

void vigil_settle_name(Vigil *vigil, const NodeInfo *info) {
        Node *node = NULL, *next;

        for (next = registry_find_name(vigil->registry, info->name, info->n_name, NULL); (node = next);) {
                next = registry_find_name(vigil->registry, info->name, info->n_name, node);
                if (node->connection && conn_has_ended(node->connection)) {
                        vigil_on_connection_ended(vigil, node);
                        next = registry_find_name(vigil->registry, info->name, info->n_name, NULL);
                }
        }
        for (next = registry_find_name(vigil->registry, info->name, info->n_name, NULL); (node = next);) {
                next = registry_find_name(vigil->registry, info->name, info->n_name, node);
                if (vigil_asks_listener(vigil, node) == 0)
                        vigil_on_node_bare(vigil, node);
        }
}

/* False where the kernel does not say: then nothing follows. */
static bool vigil_knows_gone(Vigil *vigil, const Node *node) {
        return vigil_asks_listener(vigil, node) == 0 && !vigil_may_be_mismatched(vigil, node);
}

/* True if the registry is not as it was, and what stands in the way must be looked for anew. */
static bool vigil_settle(Vigil *vigil, Node *holder) {
        bool leaves = holder->facts.is_awaited || node_is_static(holder);

        if (holder->connection && conn_has_ended(holder->connection)) {
                vigil_on_connection_ended(vigil, holder);
                return true;
        }
        if (vigil_knows_gone(vigil, holder)) {
                vigil_tell(vigil, EVENT_LISTENER_GONE, holder);
                return leaves;
        }
        return false;
}

void vigil_settle_holders(Vigil *vigil, const char *name, size_t n_name, const Address *scope) {
        Node *holder = NULL;

        /* One that has left cannot be stepped on from. */
        while ((holder = registry_find_conflict(vigil->registry, name, n_name, scope, holder)))
                if (vigil_settle(vigil, holder))
                        holder = NULL;
}

/* --- without an announcement --------------------------------------------------------------------- */

/* P3: the kernel makes announcements in a queue of its own, and none where it has no memory for one. That one was lost
 * nobody tells then. By cookie, an order in which those who come and go move nobody else. */
static int vigil_on_review(sd_event_source *source, uint64_t usec, void *userdata) {
        Vigil *vigil = userdata;
        uint64_t until = now_usec(CLOCK_MONOTONIC) + TURN_USEC;
        Node *node = registry_find_after_cookie(vigil->registry, vigil->review_cookie);

        (void)source;
        (void)usec;
        for (unsigned n = 0; node && n < REVIEW_BATCH; n++) {
                vigil->review_cookie = node->listener.cookie;
                if (vigil_asks_listener(vigil, node) == 0)
                        vigil_on_listener_gone(vigil, vigil->review_cookie);
                node = registry_find_after_cookie(vigil->registry, vigil->review_cookie);
                if (now_usec(CLOCK_MONOTONIC) >= until)
                        break;
        }
        if (!node)
                vigil->review_cookie = 0;
        timer_arm(vigil->review,
                  vigil_now(vigil, CLOCK_MONOTONIC) + (node ? REVIEW_NEXT_USEC : vigil->review_usec));
        return 0;
}

/* --- life ------------------------------------------------------------------------------------- */

static int vigil_subscribe(Vigil *vigil) {
        int r = listeners_subscribe(vigil->listeners);

        if (r < 0)
                return r;
        return sd_event_add_io(vigil->event, &vigil->announcements,
                               listeners_event_fd(vigil->listeners), EPOLLIN, vigil_on_announcement,
                               vigil);
}

static void vigil_open_listeners(Vigil *vigil) {
        int r = listeners_new(&vigil->listeners);

        /* Announcements first: what closes after the first look must not be missed. */
        if (r >= 0) {
                r = vigil_subscribe(vigil);
                if (r < 0)
                        vigil->listeners = listeners_free(vigil->listeners);
        }
        if (r < 0)
                log_debug("sock_diag cannot be opened: %s", strerror(-r));
}

/* As far as it is not open. */
static void vigil_open_evidence(Vigil *vigil) {
        if (!vigil->listeners)
                vigil_open_listeners(vigil);
        if (!vigil->cgroups && cgroups_new(&vigil->cgroups) < 0)
                log_debug("There is no cgroup v2 here: the units of nodes stay unknown");
}

int vigil_new(Vigil **ret, sd_event *event, Registry *registry, Ledger *ledger, Counters *counters,
              int listener_fd, uint64_t review_usec) {
        _cleanup_(vigil_freep) Vigil *vigil = calloc(1, sizeof *vigil);
        int r;

        if (!vigil)
                return -ENOMEM;
        *vigil = (Vigil){
                .event = event,
                .registry = registry,
                .ledger = ledger,
                .counters = counters,
                .listener_fd = listener_fd,
                .review_usec = review_usec,
        };
        r = timer_new(&vigil->expiry, event, 100 * USEC_PER_MSEC, vigil_on_expiry, vigil);
        if (r < 0)
                return r;
        r = timer_new(&vigil->review, event, 100 * USEC_PER_MSEC, vigil_on_review, vigil);
        if (r < 0)
                return r;
        timer_arm(vigil->review, now_usec(CLOCK_MONOTONIC) + review_usec);
        r = sd_event_add_time(event, &vigil->sight, CLOCK_MONOTONIC, 0, 100 * USEC_PER_MSEC, vigil_on_sight, vigil);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(vigil->sight, SD_EVENT_OFF);
        if (r < 0)
                return r;
        vigil->sight_retry_usec = SIGHT_RETRY_MIN_USEC;
        vigil_open_evidence(vigil);
        vigil_test_sight(vigil);
        *ret = TAKE_PTR(vigil);
        return 0;
}

Vigil *vigil_free(Vigil *vigil) {
        if (!vigil)
                return NULL;
        sd_event_source_disable_unref(vigil->sight);
        sd_event_source_disable_unref(vigil->review);
        sd_event_source_disable_unref(vigil->expiry);
        sd_event_source_disable_unref(vigil->announcements);
        cgroups_free(vigil->cgroups);
        listeners_free(vigil->listeners);
        free(vigil);
        return NULL;
}
