/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows whose connections take which places, who makes room for others, and who may have one more (P6). The rules are
 * core/shares'; how it is found out whose a connection is, is the handler's.
 *
 * The trap: to know whose one is costs system calls, and most are answered and gone before anybody could want to know. So
 * those that pass have no place until they wait for their client, and no name until places become scarce.
 */

#include "serve/conn.h"

#include <assert.h>
#include <stddef.h>

#include "log.h"
#include "serve/conn_private.h"

/* For each that comes while places are scarce so many get a name: as fast as they fill up from half. */
#define NAMED_FOR_EACH 2
/* And so many more when room has to be made before all have one. */
#define NAMED_AT_ONCE 256

static Conn *conn_of(Place *place) {
        return (Conn *)((char *)place - offsetof(Conn, place));
}

static size_t conns_n_staying(const Conns *conns) {
        return conns->n_conns - conns->passing.n_conns;
}

/* Nodes whose connections were stored, or who come back, may be more than the limit: also then lookups have their part (P6). */
size_t conns_n_passing_max(const Conns *conns) {
        size_t n_max = conns->options.n_conns_max, n_reserve = n_max / CONN_RESERVE, n_staying = conns_n_staying(conns);

        return n_staying + n_reserve < n_max ? n_max - n_staying : n_reserve;
}

Party conn_find_party(Conn *conn) {
        const ConnHandler *handler = &conn->conns->handler;
        const Party *known = place_party(&conn->place);

        if (known)
                return *known;
        return handler->find_party ? handler->find_party(handler->userdata, conn) : party_of_user(NODE_UID_UNKNOWN);
}

/* The oldest ones first. */
static void conns_give_names(Conns *conns, unsigned n_most) {
        Place *place;

        if (!conns->handler.find_party)
                return;
        for (; n_most > 0 && (place = shares_oldest_unnamed(conns->shares)); n_most--) {
                Party party = conn_find_party(conn_of(place));

                shares_name(conns->shares, place, &party);
        }
}

void conn_take_place(Conn *conn) {
        Conns *conns = conn->conns;

        if (conn->place.number != 0)
                return;
        shares_take_unnamed(conns->shares, &conn->place);
        if (shares_are_scarce(conns->passing.n_conns, conns_n_passing_max(conns)))
                conns_give_names(conns, NAMED_FOR_EACH);
}

/* Few are read slowly, and of these it matters at once whose they are. */
void conn_weigh_place(Conn *conn, size_t n_bytes) {
        Conns *conns = conn->conns;

        if (conns->handler.find_party && !place_party(&conn->place)) {
                Party party = conn_find_party(conn);

                shares_name(conns->shares, &conn->place, &party);
        }
        shares_weigh(&conn->place, n_bytes);
}

/* --- who makes room ------------------------------------------------------------------------------- */

static void conn_report(Conn *conn, const Party *party, CulpritDeed deed) {
        const ConnHandler *handler = &conn->conns->handler;

        if (handler->on_offence)
                handler->on_offence(handler->userdata, &(ConnOffence){ conn, party, deed });
}

static void conn_shed(Conn *conn) {
        Conns *conns = conn->conns;
        Party party = conn_find_party(conn);

        conns->counters->n_shed++;
        conn_report(conn, &party, CULPRIT_SHED);
        log_debug("%s: shed", conn_peer_text(conn));
        conn_finish(conn);
}

/* Those without a name have come last, or nobody wants to know whose they are. */
bool conns_make_room(Conns *conns) {
        Place *place;

        conns_give_names(conns, NAMED_AT_ONCE);
        place = shares_find_culprit(conns->shares);
        if (!place)
                place = shares_oldest_unnamed(conns->shares);
        if (!place)
                return false;
        conn_shed(conn_of(place));
        return true;
}

/* Of whoever holds most, the one that has been there for longest. */
static Conn *conns_find_slow_reader(const Conns *conns, const Listings *listings) {
        Conn *found = NULL;

        for (Conn *conn = conns->passing.first; conn; conn = conn->next)
                if (conn->place.n_bytes > 0 && listings_may_go(listings, conn->blob) &&
                    (!found || shares_n_bytes_of_party(&conn->place) > shares_n_bytes_of_party(&found->place)))
                        found = conn;
        return found;
}

/* All that read the same of whoever holds as much as this one: as long as one of them does it is not free. */
static void conns_shed_readers_like(Conns *conns, const Conn *reader) {
        const Account *account = reader->place.account;
        size_t n_most = shares_n_bytes_of_party(&reader->place);
        const Blob *blob = reader->blob;

        for (Conn *conn = conns->passing.first, *next; conn; conn = next) {
                next = conn->next;
                if (conn->blob != blob ||
                    (conn->place.account != account && shares_n_bytes_of_party(&conn->place) < n_most))
                        continue;
                log_event(LOG_WARNING, LOG_EVENT_SHED, &(LogFields){ .peer = conn_peer_text(conn) },
                          "Closed %s, which reads an old listing too slowly", conn_peer_text(conn));
                conn_shed(conn);
        }
}

void conns_shed_slow_readers(Conns *conns, Listings *listings) {
        while (listings_are_too_many(listings)) {
                Conn *reader = conns_find_slow_reader(conns, listings);

                if (!reader)
                        return;
                conns_shed_readers_like(conns, reader);
        }
}

/* --- who may have one more ------------------------------------------------------------------------ */

bool conn_may_stay(const Conn *conn) {
        const Conns *conns = conn->conns;
        size_t n_max = conns->options.n_conns_max;

        return conn->state == CONN_HELD || conns_n_staying(conns) < n_max - n_max / CONN_RESERVE;
}

/* Where nobody is to know whose they are there is nobody who has too many. */
static size_t conns_n_own(const Conns *conns, const Party *party, PlaceKind kind) {
        return conns->handler.find_party ? shares_n_of(conns->shares, party, kind) : 0;
}

/* Those that are held have a bound together, whatever they wait for. */
static bool conns_have_held(const Conns *conns, const Party *party, size_t n_max) {
        size_t n_own = 0;

        for (PlaceKind kind = PLACE_HELD; kind <= PLACE_ASKING; kind++)
                n_own += conns_n_own(conns, party, kind);
        return shares_allow(n_own, conns->held.n_conns, n_max);
}

static bool conns_have_place(const Conns *conns, const Party *party, PlaceKind kind, size_t n_max) {
        size_t n_share = conns->options.n_conns_max / CONN_SHARE;
        size_t n_of_kind = n_max > 0 ? min_u64(n_max, n_share) : n_share;

        return shares_allow(conns_n_own(conns, party, kind), shares_n_taken(conns->shares, kind), n_of_kind) &&
               (kind == PLACE_STREAM || conns_have_held(conns, party, n_share));
}

/* Who has none himself is not to blame that others have all. */
static void conn_turn_away(Conn *conn, const Party *party) {
        size_t n_own = 0;

        for (PlaceKind kind = PLACE_HELD; kind <= PLACE_STREAM; kind++)
                n_own += conns_n_own(conn->conns, party, kind);
        if (n_own > 0)
                conn_report(conn, party, CULPRIT_BUSY);
        else
                log_event(LOG_WARNING, LOG_EVENT_SHED, &(LogFields){ .peer = conn_peer_text(conn) },
                          "Too many connections that wait, watch or are registered: turned away %s, that has none",
                          conn_peer_text(conn));
}

int conn_settle(Conn *conn, ConnState state, uint32_t events, PlaceKind kind, size_t n_max) {
        Conns *conns = conn->conns;
        Party party = conn_find_party(conn);
        int r;

        if (!conn_may_stay(conn) || !conns_have_place(conns, &party, kind, n_max)) {
                conn_turn_away(conn, &party);
                return -EBUSY;
        }
        r = conn_enter_state(conn, state, events);
        if (r < 0)
                return r;
        shares_take(conns->shares, &conn->place, kind, &party);
        return 0;
}
