/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: what systemd says of units, said by the test. To be included once in a program: it takes the place of
 * evidence/units. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_main.h"
#include "core/node.h"
#include "evidence/units.h"

typedef struct SaidUnit {
        char name[64];
        UnitFacts facts;
        unsigned n_watched;   /* calls of units_watch() without their units_unwatch() */
        unsigned n_refreshed; /* calls of units_refresh() */
} SaidUnit;

struct Units {
        UnitsHandler handler;
        SaidUnit units[16];
        size_t n_units;
        unsigned n_poked;
        bool is_away; /* the bus */
};

/* There is one systemd. It outlives whoever listens to it. */
static Units systemd;

static inline SaidUnit *said_unit(const char *name) {
        for (size_t i = 0; i < systemd.n_units; i++)
                if (strcmp(systemd.units[i].name, name) == 0)
                        return systemd.units + i;
        ck_assert_uint_lt(systemd.n_units, sizeof systemd.units / sizeof systemd.units[0]);
        snprintf(systemd.units[systemd.n_units].name, sizeof systemd.units[0].name, "%s", name);
        return systemd.units + systemd.n_units++;
}

/* The handler is told what is known of a unit, as after a change and after units_refresh(). */
static inline void systemd_tells(const char *name) {
        UnitFacts facts = said_unit(name)->facts;

        systemd.handler.on_unit(systemd.handler.userdata, name, &facts);
}

/* Known from now on; the handler is not told. */
static inline void systemd_knows(const char *name, const char *type, const char *active, const char *sub,
                                 pid_t main_pid) {
        UnitFacts facts = { .main_pid = main_pid, .invocation = said_unit(name)->facts.invocation };

        snprintf(facts.type, sizeof facts.type, "%s", type);
        snprintf(facts.active, sizeof facts.active, "%s", active);
        snprintf(facts.sub, sizeof facts.sub, "%s", sub);
        said_unit(name)->facts = facts;
}

static inline void systemd_says(const char *name, const char *type, const char *active, const char *sub,
                                pid_t main_pid) {
        systemd_knows(name, type, active, sub, main_pid);
        systemd_tells(name);
}

/* The bus is gone, and what was known is not believed any more. */
static inline void systemd_goes_away(void) {
        systemd.is_away = true;
        for (size_t i = 0; i < systemd.n_units; i++) {
                systemd.units[i].facts = (UnitFacts){ 0 };
                systemd_tells(systemd.units[i].name);
        }
}

/* --- in place of evidence/units.c ------------------------------------------------------------------------ */

int units_new(Units **ret, sd_event *event, const UnitsHandler *handler) {
        (void)event;
        systemd.handler = *handler;
        *ret = &systemd;
        return 0;
}

Units *units_free(Units *units) {
        if (units)
                units->handler = (UnitsHandler){ 0 };
        return NULL;
}

int units_watch(Units *units, const char *unit) {
        (void)units;
        said_unit(unit)->n_watched++;
        return 0;
}

void units_unwatch(Units *units, const char *unit) {
        (void)units;
        ck_assert_uint_gt(said_unit(unit)->n_watched, 0);
        said_unit(unit)->n_watched--;
}

bool units_get(const Units *units, const char *unit, UnitFacts *ret) {
        (void)units;
        if (said_unit(unit)->n_watched == 0 || !said_unit(unit)->facts.active[0])
                return false;
        *ret = said_unit(unit)->facts;
        return true;
}

int units_refresh(Units *units, const char *unit) {
        if (units->is_away)
                return -ENOTCONN;
        if (said_unit(unit)->n_watched == 0)
                return -ENOENT;
        said_unit(unit)->n_refreshed++;
        return 0;
}

bool units_is_connected(const Units *units) {
        return !units->is_away;
}

void units_poke(Units *units) {
        units->n_poked++;
}

/* --- */

/* As if its cgroup had said so. */
static inline void live_in(Node *node, const char *unit) {
        ck_assert_ptr_nonnull(node);
        if (node->unit)
                units_unwatch(&systemd, node->unit);
        free(node->unit);
        node->unit = strdup(unit);
        node->is_unit_own = true;
        ck_assert_int_eq(units_watch(&systemd, unit), 0);
}
