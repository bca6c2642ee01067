/* SPDX-License-Identifier: Apache-2.0 */
/* Knows which name has which port. A pin is a promise to the operator's firewall, not a rule for nodes: one that
 * registers at another port is let in, and that is told (core/registry, serve/ledger). */

#include "serve/pins.h"

#include <string.h>

struct Pins {
        const Registry *registry;
        Ledger *ledger;
        Entries pins; /* their address is "any" */
};

int pins_new(Pins **ret, const Registry *registry, Ledger *ledger) {
        Pins *pins = calloc(1, sizeof *pins);

        if (!pins)
                return -ENOMEM;
        *pins = (Pins){ .registry = registry, .ledger = ledger };
        *ret = pins;
        return 0;
}

Pins *pins_free(Pins *pins) {
        if (pins)
                entries_done(&pins->pins);
        free(pins);
        return NULL;
}

uint16_t pins_port_of(const Pins *pins, const char *name, size_t n_name) {
        const Entry *pin = pins ? entries_find(&pins->pins, name, n_name, &ADDRESS_ANY) : NULL;

        return pin ? pin->port : 0;
}

const Entries *pins_get(const Pins *pins) {
        return &pins->pins;
}

static void pins_tell(Pins *pins, Node *node) {
        Event event = {
                .kind = EVENT_PINNED,
                .node = node,
                .now_usec = now_usec(CLOCK_REALTIME),
                .pinned_port = pins_port_of(pins, node->info.name, node->info.n_name),
        };

        ledger_carry(pins->ledger, &event, NULL);
}

static void pins_tell_name(Pins *pins, const char *name, size_t n_name) {
        Node *node = NULL;

        while ((node = registry_find_name(pins->registry, name, n_name, node)))
                pins_tell(pins, node);
}

void pins_tell_all(Pins *pins) {
        for (Node *node = registry_newest(pins->registry); node; node = node->older)
                pins_tell(pins, node);
}

void pins_take_loaded(Pins *pins, Entries *loaded) {
        entries_done(&pins->pins);
        pins->pins = *loaded;
        *loaded = (Entries){ 0 };
}

int pins_put(Pins *pins, Entry *pin) {
        _cleanup_(freep) char *name = strdup(pin->name);
        size_t n_name = pin->n_name;

        if (!name || entries_reserve(&pins->pins) < 0)
                return -ENOMEM;
        entries_put(&pins->pins, pin);
        pins_tell_name(pins, name, n_name);
        return 0;
}

void pins_remove(Pins *pins, const char *name, size_t n_name) {
        entries_remove(&pins->pins, name, n_name, &ADDRESS_ANY);
        pins_tell_name(pins, name, n_name);
}
