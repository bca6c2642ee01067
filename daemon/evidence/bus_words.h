/* SPDX-License-Identifier: Apache-2.0 */
/* systemd's words on a unit, out of D-Bus messages. A part of bus.c; pure. */
#pragma once

#include <systemd/sd-bus.h>

#include "evidence/bus.h"

#define BUS_UNIT "org.freedesktop.systemd1.Unit"
#define BUS_SERVICE "org.freedesktop.systemd1.Service"

typedef enum BusProperty {
        BUS_PROPERTY_ACTIVE,
        BUS_PROPERTY_SUB,
        BUS_PROPERTY_TYPE,
        BUS_PROPERTY_MAIN_PID,
        BUS_PROPERTY_INVOCATION,
        _BUS_PROPERTY_N,
} BusProperty;

typedef struct BusPropertyName {
        const char *interface;
        const char *name;
} BusPropertyName;

extern const BusPropertyName bus_properties[_BUS_PROPERTY_N];

/* Takes the variant that a message goes on with. 0; negative errno: it is not what it should be, and nothing is
 * known from it. */
int bus_words_read(BusWords *words, BusProperty property, sd_bus_message *message);
/* The rest of a PropertiesChanged, behind its interface. What cannot be read is partial: it must be asked for. */
void bus_words_read_changed(BusWords *words, const char *interface, sd_bus_message *message);
