/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows what stands in the way of an order. Does not know who ordered it, nor what follows for nodes.
 *
 * The trap: who says again what holds already is not to be told that it exists: scripts run twice.
 */

#include "serve/entry_rules.h"

#include <stdarg.h>
#include <stdio.h>

PRINTF_LIKE(3, 4) static void object(Objection *objection, ControlError error, const char *format, ...) {
        va_list arguments;

        objection->error = error;
        va_start(arguments, format);
        vsnprintf(objection->text, sizeof objection->text, format, arguments);
        va_end(arguments);
}

static void judge_add(const EntryFacts *facts, const Entry *entry, Objection *objection) {
        const Entries *ordered = facts->ordered, *filed = facts->filed;
        const Entry *same = entries_find(filed, entry->name, entry->n_name, &entry->address);
        bool is_filed = same;

        if (!same)
                same = entries_find(ordered, entry->name, entry->n_name, &entry->address);
        if (same && entry_says_the_same(same, entry))
                objection->is_done = true;
        else if (same)
                object(objection, CONTROL_E_EXISTS, "%s has an entry for that address already, with port %u%s%s: %s it first.",
                       entry->name, same->port, is_filed ? ", in " : "", is_filed ? same->by : "",
                       is_filed ? "change" : "remove");
        else if (ordered->n_entries + filed->n_entries + facts->n_pending >=
                 ENTRIES_STATICS_MAX)
                object(objection, CONTROL_E_BUSY, "There are %u static entries already.", ENTRIES_STATICS_MAX);
}

/* `filed`: what a file says instead, if it says something. */
static void object_none(const Entry *entry, const Entry *filed, Objection *objection) {
        if (filed)
                object(objection, CONTROL_E_DENIED, "The entry of %s is in %s: remove it there.", entry->name, filed->by);
        else
                object(objection, CONTROL_E_NOT_FOUND, "%s has no such entry.", entry->name);
}

/* Which entry is meant; its address and what else it says. */
static void judge_remove(const EntryFacts *facts, bool has_address, Entry *entry, Objection *objection) {
        size_t n_ordered, n_filed;
        const Entries *ordered = facts->ordered;
        const Entry *found = entries_find_name(ordered, entry->name, entry->n_name, &n_ordered);
        const Entry *filed = entries_find_name(facts->filed, entry->name, entry->n_name, &n_filed);

        if (has_address) {
                found = entries_find(ordered, entry->name, entry->n_name, &entry->address);
                filed = entries_find(facts->filed, entry->name, entry->n_name, &entry->address);
        } else if (n_ordered > 1) {
                object(objection, CONTROL_E_AMBIGUOUS, "%s has several entries: say which address.", entry->name);
                return;
        }
        if (!found) {
                object_none(entry, filed, objection);
                return;
        }
        entry->address = found->address;
        entry->port = found->port;
}

static void judge_pin(const EntryFacts *facts, const Entry *pin, Objection *objection) {
        const Entries *pins = facts->pins;
        const Entry *same = entries_find(pins, pin->name, pin->n_name, &ADDRESS_ANY);
        const Entry *neighbour = entries_find_port(pins, pin->port);

        if (same && same->port == pin->port)
                objection->is_done = true;
        else if (same)
                object(objection, CONTROL_E_EXISTS, "%s is pinned to port %u already: unpin it first.", pin->name, same->port);
        else if (neighbour)
                object(objection, CONTROL_E_EXISTS, "Port %u is pinned for %s already.", pin->port, neighbour->name);
        else if (facts->is_port_pending)
                object(objection, CONTROL_E_BUSY, "Another pin of port %u is being written.", pin->port);
        else if (pins->n_entries + facts->n_pending >= ENTRIES_PINS_MAX)
                object(objection, CONTROL_E_BUSY, "There are %u pinned ports already.", ENTRIES_PINS_MAX);
}

static void judge_unpin(const EntryFacts *facts, Entry *pin, Objection *objection) {
        const Entry *same = entries_find(facts->pins, pin->name, pin->n_name, &ADDRESS_ANY);

        if (!same)
                object(objection, CONTROL_E_NOT_FOUND, "%s is not pinned.", pin->name);
        else
                pin->port = same->port;
}

Objection entry_rules_judge(const EntryFacts *facts, bool has_address, StoreOrder *order) {
        Objection objection = { 0 };

        if (facts->is_pending) {
                object(&objection, CONTROL_E_BUSY, "Another order for %s is being written.", order->entry.name);
                return objection;
        }
        switch (order->kind) {
        case STORE_ADD_ENTRY:
                judge_add(facts, &order->entry, &objection);
                break;
        case STORE_REMOVE_ENTRY:
                judge_remove(facts, has_address, &order->entry, &objection);
                break;
        case STORE_ADD_PIN:
                judge_pin(facts, &order->entry, &objection);
                break;
        case STORE_REMOVE_PIN:
                judge_unpin(facts, &order->entry, &objection);
                break;
        }
        return objection;
}
