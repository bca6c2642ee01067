/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows which of systemd's properties matter and how they stand in messages. Does not know how messages come here.
 *
 * The trap: a property may come with another type than today's, from a systemd of tomorrow: then it is not known.
 */

#include "evidence/bus_words.h"

#include <string.h>

const BusPropertyName bus_properties[_BUS_PROPERTY_N] = {
        [BUS_PROPERTY_ACTIVE] = { BUS_UNIT, "ActiveState" },
        [BUS_PROPERTY_SUB] = { BUS_UNIT, "SubState" },
        [BUS_PROPERTY_TYPE] = { BUS_SERVICE, "Type" },
        [BUS_PROPERTY_MAIN_PID] = { BUS_SERVICE, "MainPID" },
        [BUS_PROPERTY_INVOCATION] = { BUS_UNIT, "InvocationID" },
};

static void word_copy(char *word, size_t n_word, const char *text) {
        memset(word, 0, n_word);
        memcpy(word, text, strnlen(text, n_word - 1));
}

/* 16 bytes, or none while it was never started. */
static int read_invocation(BusWords *words, sd_bus_message *message) {
        const void *id;
        size_t n_id;
        int r = sd_bus_message_enter_container(message, 'v', "ay");

        if (r >= 0)
                r = sd_bus_message_read_array(message, 'y', &id, &n_id);
        if (r >= 0)
                r = sd_bus_message_exit_container(message);
        if (r < 0)
                return r;
        words->has_invocation = true;
        words->facts.invocation = 0;
        if (n_id >= sizeof words->facts.invocation)
                memcpy(&words->facts.invocation, id, sizeof words->facts.invocation);
        return 0;
}

int bus_words_read(BusWords *words, BusProperty property, sd_bus_message *message) {
        const char *text = "";
        uint32_t number = 0;
        int r;

        if (property == BUS_PROPERTY_INVOCATION)
                return read_invocation(words, message);
        if (property == BUS_PROPERTY_MAIN_PID)
                r = sd_bus_message_read(message, "v", "u", &number);
        else
                r = sd_bus_message_read(message, "v", "s", &text);
        if (r < 0)
                return r;
        switch (property) {
        case BUS_PROPERTY_ACTIVE:
                words->has_active = true;
                word_copy(words->facts.active, sizeof words->facts.active, text);
                break;
        case BUS_PROPERTY_SUB:
                words->has_sub = true;
                word_copy(words->facts.sub, sizeof words->facts.sub, text);
                break;
        case BUS_PROPERTY_TYPE:
                words->has_type = true;
                word_copy(words->facts.type, sizeof words->facts.type, text);
                break;
        case BUS_PROPERTY_MAIN_PID:
                words->has_main_pid = true;
                words->facts.main_pid = (pid_t)number;
                break;
        case BUS_PROPERTY_INVOCATION:
        case _BUS_PROPERTY_N:
                break;
        }
        return 0;
}

/* _BUS_PROPERTY_N for one that is of no interest. */
static BusProperty property_find(const char *interface, const char *name) {
        BusProperty property = 0;

        while (property < _BUS_PROPERTY_N && (strcmp(bus_properties[property].name, name) != 0 ||
                                          strcmp(bus_properties[property].interface, interface) != 0))
                property++;
        return property;
}

static int read_changed(BusWords *words, const char *interface, sd_bus_message *message) {
        int r = sd_bus_message_enter_container(message, 'a', "{sv}");

        while (r >= 0 && (r = sd_bus_message_enter_container(message, 'e', "sv")) > 0) {
                BusProperty property = _BUS_PROPERTY_N;
                const char *name;

                r = sd_bus_message_read_basic(message, 's', &name);
                if (r >= 0)
                        property = property_find(interface, name);
                if (r >= 0)
                        r = property == _BUS_PROPERTY_N ? sd_bus_message_skip(message, "v")
                                                    : bus_words_read(words, property, message);
                if (r >= 0)
                        r = sd_bus_message_exit_container(message);
        }
        return r < 0 ? r : sd_bus_message_exit_container(message);
}

/* Those that have changed, too, but whose values are not told. */
static int read_invalidated(BusWords *words, const char *interface, sd_bus_message *message) {
        const char *name;
        int r = sd_bus_message_enter_container(message, 'a', "s");

        while (r >= 0 && (r = sd_bus_message_read_basic(message, 's', &name)) > 0)
                if (property_find(interface, name) != _BUS_PROPERTY_N)
                        words->is_partial = true;
        return r;
}

void bus_words_read_changed(BusWords *words, const char *interface, sd_bus_message *message) {
        if (read_changed(words, interface, message) < 0 || read_invalidated(words, interface, message) < 0)
                words->is_partial = true;
}
