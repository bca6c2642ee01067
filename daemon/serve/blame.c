/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows what is said of those who had too many connections, and how often. Does not know what became of these.
 *
 * The trap: it happens a hundred thousand times a second, or once. So the first time is said at once, and from then on
 * how often it was, now and then while it goes on.
 */

#include "serve/blame.h"

#include <stdio.h>

#include "log.h"
#include "timer.h"

struct Blame {
        sd_event *event;
        Vigil *vigil;
        uint64_t interval_usec;
        Culprits culprits;
        sd_event_source *timer;
        uint64_t due_usec; /* of the timer; USEC_INFINITE: it does not run */
};

static uint64_t blame_now(const Blame *blame) {
        uint64_t now = 0;

        sd_event_now(blame->event, CLOCK_MONOTONIC, &now);
        return now;
}

static uint64_t n_untold(const Culprit *culprit, CulpritDeed deed) {
        return culprit->n_times[deed] - culprit->n_told[deed];
}

/* "uid 1000 (worker.service)" */
static const char *describe(const Culprit *culprit, char *text, size_t n_text) {
        char party[PARTY_TEXT_MAX];

        party_format(&culprit->party, party);
        if (culprit->unit[0])
                snprintf(text, n_text, "%s (%s)", party, culprit->unit);
        else
                snprintf(text, n_text, "%s", party);
        return text;
}

static void blame_tell(Blame *blame, Culprit *culprit) {
        char who[PARTY_TEXT_MAX + CULPRIT_UNIT_MAX + 4], party[PARTY_TEXT_MAX], uid[16];
        uint64_t n_shed = n_untold(culprit, CULPRIT_SHED), n_busy = n_untold(culprit, CULPRIT_BUSY);
        LogFields fields = { .unit = culprit->unit[0] ? culprit->unit : NULL };

        describe(culprit, who, sizeof who);
        if (!party_is_user(&culprit->party))
                fields.peer = party_format(&culprit->party, party);
        else if (culprit->party.uid != NODE_UID_UNKNOWN) {
                snprintf(uid, sizeof uid, "%u", culprit->party.uid);
                fields.uid = uid;
        }
        if (n_shed > 0)
                log_event(LOG_WARNING, LOG_EVENT_SHED, &fields,
                          "Too many connections: closed %llu of %s to make room for others", (unsigned long long)n_shed,
                          who);
        if (n_busy > 0)
                log_event(LOG_WARNING, LOG_EVENT_SHED, &fields,
                          "Too many connections that wait or watch: turned away %llu more of %s",
                          (unsigned long long)n_busy, who);
        culprit_set_told(culprit, blame_now(blame));
}

static void blame_arm(Blame *blame, uint64_t due_usec) {
        if (due_usec >= blame->due_usec)
                return;
        blame->due_usec = due_usec;
        timer_arm(blame->timer, due_usec);
}

static int blame_on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        Blame *blame = userdata;
        uint64_t now = blame_now(blame);

        (void)source;
        (void)usec;
        blame->due_usec = USEC_INFINITE;
        for (size_t i = 0; i < blame->culprits.n_culprits; i++) {
                Culprit *culprit = blame->culprits.culprits + i;
                uint64_t due = culprit_news_due(culprit, blame->interval_usec);

                if (!culprit_has_news(culprit))
                        continue;
                if (due <= now)
                        blame_tell(blame, culprit);
                else
                        blame_arm(blame, due);
        }
        return 0;
}

/* His unit is found out when he is named: it costs more than the rest together. */
static void blame_find_unit(Blame *blame, Culprit *culprit, Conn *conn) {
        const char *unit = party_is_user(&culprit->party) && conn_kind(conn) == CONN_EPMD
                                   ? vigil_find_unit(blame->vigil, conn)
                                   : NULL;

        if (unit)
                snprintf(culprit->unit, sizeof culprit->unit, "%s", unit);
}

void blame_note(Blame *blame, const ConnOffence *offence) {
        Culprit *culprit = culprits_note(&blame->culprits, offence->party, offence->deed, now_usec(CLOCK_REALTIME));
        uint64_t due = culprit_news_due(culprit, blame->interval_usec);

        if (due <= blame_now(blame)) {
                blame_find_unit(blame, culprit, offence->conn);
                blame_tell(blame, culprit);
        } else
                blame_arm(blame, due);
}

const Culprits *blame_culprits(const Blame *blame) {
        return &blame->culprits;
}

/* --- life ------------------------------------------------------------------------------------- */

int blame_new(Blame **ret, sd_event *event, Vigil *vigil, uint64_t interval_usec) {
        _cleanup_(blame_freep) Blame *blame = calloc(1, sizeof *blame);
        int r;

        if (!blame)
                return -ENOMEM;
        *blame = (Blame){ .event = event, .vigil = vigil, .interval_usec = interval_usec, .due_usec = USEC_INFINITE };
        r = timer_new(&blame->timer, event, 0, blame_on_timer, blame);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(blame);
        return 0;
}

Blame *blame_free(Blame *blame) {
        if (!blame)
                return NULL;
        for (size_t i = 0; i < blame->culprits.n_culprits; i++)
                if (culprit_has_news(blame->culprits.culprits + i))
                        blame_tell(blame, blame->culprits.culprits + i);
        sd_event_source_disable_unref(blame->timer);
        free(blame);
        return NULL;
}
