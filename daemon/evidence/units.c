/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows which units are watched, what systemd's latest words on them are, and which must be asked for. Does not
 * know the bus (evidence/bus), nor what the words mean (core/node_state).
 *
 * The trap: answers come word by word, and changes in between. Each word replaces an earlier one as it comes,
 * since what comes later is newer; but told is only what belongs together: after an answer's last word, or
 * after a change to what is known.
 *
 * A bus that is gone for a moment (systemd executes itself anew, dbus-daemon is restarted) takes nothing away:
 * a unit that was being stopped still is, and a newcomer that meets a holder in it is not to be refused (P4).
 */

#include "evidence/units.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#include "evidence/bus.h"
#include "log.h"
#include "timer.h"

#define REFRESH_USEC USEC_PER_SEC
#define LINGER_USEC (10 * USEC_PER_SEC)
/* What is known is believed for so long after systemd was last heard. */
#define BELIEF_USEC (10 * USEC_PER_SEC)

#define ROOM_AT_FIRST 64

/* The lists that a unit may be in. */
typedef enum UnitList {
        LIST_TO_ASK,     /* of systemd, as soon as there is room for a call */
        LIST_NEWS,       /* to be told to the handler */
        LIST_REFRESHING, /* somebody waits; the first is the first whose time is over */
        LIST_LINGERING,  /* nobody watches it; likewise */
        _LIST_N,
} UnitList;

typedef struct Unit Unit;

struct Unit {
        size_t n_watches;
        UnitFacts words;    /* as they come in */
        UnitFacts known;    /* what is told; `active` "": nothing */
        bool has_answered;  /* all of `words` has been said since systemd was last lost */
        bool is_asked;      /* its answer is under way */
        bool is_outdated;   /* and has to be asked for once more */
        bool is_in[_LIST_N];
        TAILQ_ENTRY(Unit) entries[_LIST_N];
        uint64_t refresh_until_usec;
        uint64_t linger_until_usec;
        char name[];
};

typedef TAILQ_HEAD(UnitQueue, Unit) UnitQueue;

struct Units {
        sd_event *event;
        UnitsHandler handler;
        Bus *bus;
        Unit **units; /* by name; owned */
        size_t n_units, n_room;
        UnitQueue lists[_LIST_N];
        sd_event_source *timer;
        uint64_t believe_until_usec; /* USEC_INFINITE: systemd answers, or all has been forgotten */
        bool is_forgotten;
};

static uint64_t units_now(const Units *units) {
        uint64_t now = 0;

        sd_event_now(units->event, CLOCK_MONOTONIC, &now);
        return now;
}

/* --- lists --------------------------------------------------------------------------------------------- */

static void units_enlist(Units *units, UnitList list, Unit *unit) {
        if (unit->is_in[list])
                return;
        unit->is_in[list] = true;
        TAILQ_INSERT_TAIL(units->lists + list, unit, entries[list]);
}

static void units_delist(Units *units, UnitList list, Unit *unit) {
        if (!unit->is_in[list])
                return;
        unit->is_in[list] = false;
        TAILQ_REMOVE(units->lists + list, unit, entries[list]);
}

static Unit *units_first(const Units *units, UnitList list) {
        return TAILQ_FIRST(units->lists + list);
}

static size_t units_seek(const Units *units, const char *name) {
        size_t low = 0, high = units->n_units;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (strcmp(units->units[middle]->name, name) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static Unit *units_find(const Units *units, const char *name) {
        size_t position = units_seek(units, name);

        return position < units->n_units && strcmp(units->units[position]->name, name) == 0
                       ? units->units[position]
                       : NULL;
}

static int units_reserve(Units *units) {
        size_t n_room = units->n_room ? 2 * units->n_room : ROOM_AT_FIRST;
        Unit **grown;

        if (units->n_units < units->n_room)
                return 0;
        grown = reallocarray(units->units, n_room, sizeof *grown);
        if (!grown)
                return -ENOMEM;
        units->units = grown;
        units->n_room = n_room;
        return 0;
}

static Unit *units_add(Units *units, const char *name) {
        size_t position = units_seek(units, name), n_name = strlen(name) + 1;
        Unit *unit;

        if (units_reserve(units) < 0)
                return NULL;
        unit = calloc(1, sizeof *unit + n_name);
        if (!unit)
                return NULL;
        memcpy(unit->name, name, n_name);
        memmove(units->units + position + 1, units->units + position,
                (units->n_units - position) * sizeof *units->units);
        units->units[position] = unit;
        units->n_units++;
        return unit;
}

static void units_drop(Units *units, Unit *unit) {
        size_t position = units_seek(units, unit->name);

        for (UnitList list = 0; list < _LIST_N; list++)
                units_delist(units, list, unit);
        units->n_units--;
        memmove(units->units + position, units->units + position + 1,
                (units->n_units - position) * sizeof *units->units);
        free(unit);
}

/* --- asking -------------------------------------------------------------------------------------------- */

/* As many as the bus takes at a time. */
static void units_ask_more(Units *units) {
        Unit *unit;

        while (bus_is_up(units->bus) && (unit = units_first(units, LIST_TO_ASK))) {
                if (bus_ask(units->bus, unit->name) < 0)
                        return;
                units_delist(units, LIST_TO_ASK, unit);
                unit->is_asked = true;
        }
}

/* Those that somebody waits for come first. */
static void units_ask(Units *units, Unit *unit) {
        if (unit->is_asked) {
                unit->is_outdated = true;
                return;
        }
        units_delist(units, LIST_TO_ASK, unit);
        unit->is_in[LIST_TO_ASK] = true;
        if (unit->is_in[LIST_REFRESHING])
                TAILQ_INSERT_HEAD(units->lists + LIST_TO_ASK, unit, entries[LIST_TO_ASK]);
        else
                TAILQ_INSERT_TAIL(units->lists + LIST_TO_ASK, unit, entries[LIST_TO_ASK]);
        units_ask_more(units);
}

/* --- telling ------------------------------------------------------------------------------------------- */

/* Whoever is told may watch, unwatch and refresh; only the timer takes units away. */
static void units_tell(Units *units) {
        Unit *unit;

        while ((unit = units_first(units, LIST_NEWS))) {
                const UnitFacts facts = unit->known;

                units_delist(units, LIST_NEWS, unit);
                if (unit->n_watches > 0)
                        units->handler.on_unit(units->handler.userdata, unit->name, &facts);
        }
}

static bool facts_equal(const UnitFacts *a, const UnitFacts *b) {
        return strcmp(a->type, b->type) == 0 && strcmp(a->active, b->active) == 0 &&
               strcmp(a->sub, b->sub) == 0 && a->main_pid == b->main_pid &&
               a->invocation == b->invocation;
}

static void units_know(Units *units, Unit *unit, const UnitFacts *facts) {
        if (facts_equal(&unit->known, facts))
                return;
        unit->known = *facts;
        units_enlist(units, LIST_NEWS, unit);
}

static void facts_take(UnitFacts *facts, const BusWords *words) {
        if (words->has_type)
                memcpy(facts->type, words->facts.type, sizeof facts->type);
        if (words->has_active)
                memcpy(facts->active, words->facts.active, sizeof facts->active);
        if (words->has_sub)
                memcpy(facts->sub, words->facts.sub, sizeof facts->sub);
        if (words->has_main_pid)
                facts->main_pid = words->facts.main_pid;
        if (words->has_invocation)
                facts->invocation = words->facts.invocation;
}

/* Type= is read from its file anew without a word about it; it counts from the next start on. */
static bool is_start(const UnitFacts *before, const BusWords *words) {
        return words->has_active && strcmp(words->facts.active, "activating") == 0 &&
               strcmp(before->active, "activating") != 0;
}

static void units_on_change(void *userdata, const char *name, const BusWords *words) {
        Units *units = userdata;
        Unit *unit = units_find(units, name);

        if (!unit)
                return;
        bool must_ask = words->is_partial || is_start(&unit->words, words);
        facts_take(&unit->words, words);
        if (unit->has_answered && !unit->is_asked)
                units_know(units, unit, &unit->words);
        if (must_ask)
                units_ask(units, unit);
        units_tell(units);
}

static void units_on_words(void *userdata, const char *name, const BusWords *words) {
        Unit *unit = units_find(userdata, name);

        if (unit)
                facts_take(&unit->words, words);
}

static void units_take_answer(Units *units, Unit *unit, bool is_refused) {
        static const UnitFacts nothing = { 0 };
        const bool is_outdated = unit->is_outdated;

        unit->is_asked = false;
        unit->is_outdated = false;
        unit->has_answered = !is_refused;
        units_know(units, unit, is_refused ? &nothing : &unit->words);
        if (is_outdated) {
                units_ask(units, unit);
        } else if (unit->is_in[LIST_REFRESHING]) {
                units_delist(units, LIST_REFRESHING, unit);
                units_enlist(units, LIST_NEWS, unit);
        }
}

static void units_on_answer(void *userdata, const char *name, bool is_refused) {
        Units *units = userdata;
        Unit *unit = units_find(units, name);

        if (unit)
                units_take_answer(units, unit, is_refused);
        units_ask_more(units);
        units_tell(units);
}

/* --- systemd comes and goes ---------------------------------------------------------------------------- */

/* Sets the timer to what is due first. */
static void units_arm(Units *units) {
        const Unit *refreshing = units_first(units, LIST_REFRESHING);
        const Unit *lingering = units_first(units, LIST_LINGERING);
        uint64_t first = units->believe_until_usec;

        if (refreshing)
                first = min_u64(first, refreshing->refresh_until_usec);
        if (lingering)
                first = min_u64(first, lingering->linger_until_usec);
        if (first == USEC_INFINITE) {
                timer_stop(units->timer);
                return;
        }
        timer_arm(units->timer, first);
}

static void units_on_up(void *userdata) {
        Units *units = userdata;

        if (units->is_forgotten)
                log_event(LOG_NOTICE, LOG_EVENT_BUS, NULL, "systemd answers on the system bus");
        units->is_forgotten = false;
        units->believe_until_usec = USEC_INFINITE;
        for (size_t i = 0; i < units->n_units; i++)
                units_enlist(units, LIST_TO_ASK, units->units[i]);
        units_ask_more(units);
}

static void units_on_down(void *userdata) {
        Units *units = userdata;

        for (size_t i = 0; i < units->n_units; i++) {
                Unit *unit = units->units[i];

                units_delist(units, LIST_TO_ASK, unit);
                unit->has_answered = unit->is_asked = unit->is_outdated = false;
        }
        units->believe_until_usec = units_now(units) + BELIEF_USEC;
        units_arm(units);
}

static void units_forget(Units *units) {
        units->believe_until_usec = USEC_INFINITE;
        units->is_forgotten = true;
        log_event(LOG_NOTICE, LOG_EVENT_BUS, NULL,
                  "What state the nodes' units are in is not known until systemd answers: %s",
                  bus_why_down(units->bus));
        for (size_t i = 0; i < units->n_units; i++)
                units_know(units, units->units[i], &(UnitFacts){ 0 });
}

static int units_on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        Units *units = userdata;
        uint64_t now = units_now(units);
        Unit *unit;

        (void)source;
        (void)usec;
        if (units->believe_until_usec <= now)
                units_forget(units);
        while ((unit = units_first(units, LIST_REFRESHING)) && unit->refresh_until_usec <= now) {
                units_delist(units, LIST_REFRESHING, unit);
                units_enlist(units, LIST_NEWS, unit);
        }
        while ((unit = units_first(units, LIST_LINGERING)) && unit->linger_until_usec <= now)
                units_drop(units, unit);
        units_tell(units);
        units_arm(units);
        return 0;
}

/* --- what is asked of us ------------------------------------------------------------------------------- */

int units_watch(Units *units, const char *name) {
        Unit *unit = units_find(units, name);

        if (strlen(name) >= UNIT_NAME_MAX)
                return -EINVAL;
        if (!unit) {
                unit = units_add(units, name);
                if (!unit)
                        return -ENOMEM;
                if (bus_is_up(units->bus))
                        units_ask(units, unit);
        }
        units_delist(units, LIST_LINGERING, unit);
        unit->n_watches++;
        return 0;
}

void units_unwatch(Units *units, const char *name) {
        Unit *unit = units_find(units, name);

        /* One that there was no memory for (units_watch()) ends, too. */
        if (!unit || unit->n_watches == 0 || --unit->n_watches > 0)
                return;
        unit->linger_until_usec = units_now(units) + LINGER_USEC;
        units_enlist(units, LIST_LINGERING, unit);
        units_arm(units);
}

static Unit *units_find_watched(const Units *units, const char *name) {
        Unit *unit = units_find(units, name);

        return unit && unit->n_watches > 0 ? unit : NULL;
}

/* The word that one which nobody watched has been started anew may still be under way. Which start a newcomer in it is
 * of, is therefore for the next word to say: taken for one of the start before, it would be held for a left-over. */
bool units_get(const Units *units, const char *name, UnitFacts *ret) {
        const Unit *unit = units_find(units, name);

        if (!unit || !unit->known.active[0])
                return false;
        *ret = unit->known;
        if (unit->n_watches == 0)
                ret->invocation = 0;
        return true;
}

int units_refresh(Units *units, const char *name) {
        Unit *unit = units_find_watched(units, name);

        if (!unit)
                return -ENOENT;
        if (!bus_is_up(units->bus) && !bus_is_coming(units->bus))
                return -ENOTCONN;
        if (!unit->is_in[LIST_REFRESHING]) {
                unit->refresh_until_usec = units_now(units) + REFRESH_USEC;
                units_enlist(units, LIST_REFRESHING, unit);
                units_arm(units);
        }
        /* Of one that is coming all is asked when it is up. */
        if (bus_is_up(units->bus))
                units_ask(units, unit);
        return 0;
}

bool units_is_connected(const Units *units) {
        return bus_is_up(units->bus);
}

void units_poke(Units *units) {
        bus_poke(units->bus);
}

/* --- life ---------------------------------------------------------------------------------------------- */

static int units_open_bus(Units *units) {
        const BusHandler handler = {
                .on_up = units_on_up,
                .on_down = units_on_down,
                .on_change = units_on_change,
                .on_words = units_on_words,
                .on_answer = units_on_answer,
                .userdata = units,
        };

        return bus_new(&units->bus, units->event, &handler);
}

int units_new(Units **ret, sd_event *event, const UnitsHandler *handler) {
        _cleanup_(units_freep) Units *units = calloc(1, sizeof *units);

        if (!units)
                return -ENOMEM;
        units->event = event;
        units->handler = *handler;
        for (UnitList list = 0; list < _LIST_N; list++)
                TAILQ_INIT(units->lists + list);
        if (timer_new(&units->timer, event, 10 * USEC_PER_MSEC, units_on_timer, units) < 0)
                return -ENOMEM;
        units->believe_until_usec = units_now(units) + BELIEF_USEC;
        units_arm(units);
        if (units_open_bus(units) < 0)
                return -ENOMEM;
        *ret = TAKE_PTR(units);
        return 0;
}

Units *units_free(Units *units) {
        if (!units)
                return NULL;
        bus_free(units->bus);
        sd_event_source_disable_unref(units->timer);
        for (size_t i = 0; i < units->n_units; i++)
                free(units->units[i]);
        free(units->units);
        free(units);
        return NULL;
}
