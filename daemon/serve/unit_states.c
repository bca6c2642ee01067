/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows which nodes are in which unit, and what follows for them. Does not know D-Bus (evidence/units) nor the state
 * rule (core/node_state).
 *
 * The trap: rows of an earlier run say what was heard then. That holds until more is heard, but not for good: without
 * a bus a unit would be "stopping" for ever. (What is heard in this run ends with the bus, see evidence/units.)
 */

#include "serve/unit_states.h"

#include <string.h>

#include "evidence/units.h"
#include "log.h"
#include "timer.h"

/* How long what the file says of units holds without a word of systemd. */
#define FILE_GRACE_USEC (5 * USEC_PER_SEC)
/* An answer that is younger is fresh: a client that is refused again and again must not keep systemd busy. */
#define FRESH_USEC (10 * USEC_PER_MSEC)
/* P6: of so many units it is known whether the answer is still to come. */
#define ASKED_MAX 64

/* A unit that was asked for in haste. */
typedef struct Asked {
        char *unit; /* owned; NULL: none */
        uint64_t heard_usec; /* when the answer came; 0: it is under way */
} Asked;

struct UnitStates {
        sd_event *event;
        Registry *registry;
        Ledger *ledger;
        UnitStatesHandler handler;
        Units *units;
        sd_event_source *grace;
        Asked asked[ASKED_MAX];
        size_t n_asked; /* in all; the newest takes the oldest one's place */
};

static uint64_t states_now(const UnitStates *states, clockid_t clock) {
        uint64_t now = 0;

        sd_event_now(states->event, clock, &now);
        return now;
}

/* Of a unit that is another manager's, too, only its end concerns the nodes below. */
static void fill(Event *event, const UnitFacts *facts, bool is_own) {
        event->unit_phase = UNIT_PHASE_UNKNOWN;
        event->unit_pid = is_own ? facts->main_pid : 0;
        event->unit_invocation = facts->invocation;
        event->is_unit_over = false;
        if (!facts->active[0])
                return;
        event->unit_phase = unit_phase_from_words(facts->type, facts->active, facts->sub, is_own);
        event->is_unit_over = unit_is_over(facts->active, facts->sub);
}

/* Nothing here can be short of memory: only registrations and announcements allocate. */
static void states_tell(UnitStates *states, Node *node, const UnitFacts *facts) {
        Event event = { .kind = EVENT_UNIT, .node = node, .now_usec = states_now(states, CLOCK_REALTIME) };

        fill(&event, facts, node->is_unit_own);
        ledger_carry(states->ledger, &event, NULL);
}

/* Also where systemd answers, but not about every unit. */
static int states_on_grace(sd_event_source *source, uint64_t usec, void *userdata) {
        UnitStates *states = userdata;

        (void)source;
        (void)usec;
        for (Node *node = registry_newest(states->registry), *older; node; node = older) {
                UnitFacts facts;

                older = node->older;
                if (!node->unit || !units_get(states->units, node->unit, &facts))
                        facts = (UnitFacts){ 0 };
                states_tell(states, node, &facts);
        }
        return 0;
}

/* A newcomer begins with what is known; one of which more is said comes from the file. */
static void states_arm_grace(UnitStates *states, const Node *node) {
        bool is_of_file = node->facts.unit_phase != UNIT_PHASE_UNKNOWN || node->unit_pid != 0;
        int enabled = SD_EVENT_OFF;
        UnitFacts facts;

        if (!is_of_file || units_get(states->units, node->unit, &facts) ||
            sd_event_source_get_enabled(states->grace, &enabled) < 0 || enabled != SD_EVENT_OFF)
                return;
        timer_arm(states->grace, states_now(states, CLOCK_MONOTONIC) + FILE_GRACE_USEC);
}

const char *unit_states_unseen_reason(const UnitStates *states) {
        return units_is_connected(states->units) ? NULL : "systemd does not answer on the system bus";
}

void unit_states_look_again(UnitStates *states) {
        units_poke(states->units);
}

/* --- who was asked for ------------------------------------------------------------------------ */

static Asked *states_find_asked(UnitStates *states, const char *unit) {
        for (size_t i = 0; i < ASKED_MAX; i++)
                if (states->asked[i].unit && strcmp(states->asked[i].unit, unit) == 0)
                        return states->asked + i;
        return NULL;
}

/* Without memory for it the answer does not count as one that is to come: nobody waits for it. */
static void states_note_asked(UnitStates *states, const char *unit) {
        Asked *asked = states_find_asked(states, unit);

        if (!asked) {
                asked = states->asked + states->n_asked++ % ASKED_MAX;
                free(asked->unit);
                asked->unit = strdup(unit);
        }
        asked->heard_usec = 0;
}

static void states_note_heard(UnitStates *states, const char *unit) {
        Asked *asked = states_find_asked(states, unit);

        if (asked)
                asked->heard_usec = states_now(states, CLOCK_MONOTONIC);
}

bool unit_states_is_asked(UnitStates *states, const Node *node) {
        const Asked *asked = node->unit ? states_find_asked(states, node->unit) : NULL;

        return asked && asked->heard_usec == 0;
}

bool unit_states_is_heard(UnitStates *states, const Node *node, uint64_t since_usec) {
        const Asked *asked = node->unit ? states_find_asked(states, node->unit) : NULL;

        return asked && asked->heard_usec != 0 && asked->heard_usec >= since_usec;
}

/* --- what systemd says ------------------------------------------------------------------------ */

static void states_on_unit(void *userdata, const char *unit, const UnitFacts *facts) {
        UnitStates *states = userdata;

        for (Node *node = registry_newest(states->registry), *older; node; node = older) {
                older = node->older;
                if (node->unit && strcmp(node->unit, unit) == 0)
                        states_tell(states, node, facts);
        }
        states_note_heard(states, unit);
        states->handler.on_heard(states->handler.userdata, unit);
}

void unit_states_fill(UnitStates *states, Event *event) {
        UnitFacts facts;

        if (!event->unit || !units_get(states->units, event->unit, &facts))
                facts = (UnitFacts){ 0 };
        fill(event, &facts, event->is_unit_own);
}

int unit_states_ask(UnitStates *states, const Node *node) {
        const Asked *asked = node->unit ? states_find_asked(states, node->unit) : NULL;
        int r;

        if (!node->unit)
                return -ENOENT;
        if (asked && asked->heard_usec + FRESH_USEC > states_now(states, CLOCK_MONOTONIC))
                return -EALREADY;
        r = units_refresh(states->units, node->unit);
        if (r < 0)
                return r;
        states_note_asked(states, node->unit);
        return 0;
}

void unit_states_on_news(UnitStates *states, const LedgerNews *news) {
        if (!news->node->unit)
                return;
        if (news->kind == CHANGE_REGISTER) {
                (void)units_watch(states->units, news->node->unit); /* without memory: not known, as without a bus */
                states_arm_grace(states, news->node);
        } else if (news->kind == CHANGE_END)
                units_unwatch(states->units, news->node->unit);
}

/* --- life ------------------------------------------------------------------------------------- */

int unit_states_new(UnitStates **ret, sd_event *event, Registry *registry, Ledger *ledger,
                    const UnitStatesHandler *handler) {
        _cleanup_(unit_states_freep) UnitStates *states = calloc(1, sizeof *states);
        int r;

        if (!states)
                return -ENOMEM;
        *states = (UnitStates){ .event = event, .registry = registry, .ledger = ledger, .handler = *handler };
        r = units_new(&states->units, event, &(UnitsHandler){ states_on_unit, states });
        if (r < 0)
                return r;
        r = timer_new(&states->grace, event, 100 * USEC_PER_MSEC, states_on_grace, states);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(states);
        return 0;
}

UnitStates *unit_states_free(UnitStates *states) {
        if (!states)
                return NULL;
        sd_event_source_disable_unref(states->grace);
        units_free(states->units);
        for (size_t i = 0; i < ASKED_MAX; i++)
                free(states->asked[i].unit);
        free(states);
        return NULL;
}
