/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows sd-bus, and who systemd is on it. Does not know its words (bus_words), nor who is interested in which unit.
 *
 * Each word is asked for by a Get of its own, which costs PID 1 less than GetAll of both interfaces: some 20 us a
 * word, against 280 us.
 *
 * The traps: the bus lets any user send any signal to anybody, and sd-bus takes a unique name for whatever
 * well-known name a match asks for. So a signal counts only if it comes from the unique name that the bus
 * itself has told to be systemd's. And sd-bus flushes, that is waits, where a loop ends, unless told not to.
 */

#include "evidence/bus.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-bus.h>

#include "evidence/bus_words.h"
#include "log.h"
#include "timer.h"

#define SYSTEMD "org.freedesktop.systemd1"
#define SYSTEMD_PATH "/org/freedesktop/systemd1"
#define DRIVER "org.freedesktop.DBus"
#define DRIVER_PATH "/org/freedesktop/DBus"
#define PROPERTIES "org.freedesktop.DBus.Properties"

#define OWNER_MATCH                                                                                        \
        "type='signal',sender='" DRIVER "',path='" DRIVER_PATH "',interface='" DRIVER "',"                 \
        "member='NameOwnerChanged',arg0='" SYSTEMD "'"
/* One for all units: the system bus allows 512. */
#define CHANGE_MATCH                                                                                       \
        "type='signal',sender='" SYSTEMD "',path_namespace='" SYSTEMD_PATH "/unit',"                       \
        "interface='" PROPERTIES "',member='PropertiesChanged'"

#define RETRY_FIRST_USEC USEC_PER_SEC
#define RETRY_MAX_USEC (30 * USEC_PER_SEC)
/* systemd is busy for seconds while it reloads. */
#define SILENCE_USEC (10 * USEC_PER_SEC)
/* Until a connection on which nothing is answered is given up. */
#define PATIENCE_USEC (30 * USEC_PER_SEC)

#define BUS_NAME_MAX 256

typedef enum Phase {
        PHASE_CLOSED,  /* until it is time to try again */
        PHASE_BROKEN,  /* closed as soon as sd-bus is not above us on the stack */
        PHASE_OPENING, /* the bus has not said yet who systemd is */
        PHASE_ALONE,   /* systemd is not on the bus */
        PHASE_CALLING, /* systemd has not answered yet */
        PHASE_UP,
} Phase;

typedef struct Reading Reading;

typedef struct Call {
        Reading *reading;
        BusProperty property;
        sd_bus_slot *slot; /* NULL: answered, or not asked */
} Call;

/* A unit that is being asked about. */
struct Reading {
        Bus *bus;
        Call calls[_BUS_PROPERTY_N];
        unsigned n_calls; /* still to be answered; 0: this place is free */
        bool is_refused;
        char unit[UNIT_NAME_MAX];
};

struct Bus {
        sd_event *event;
        BusHandler handler;
        Phase phase;
        bool is_told_up;
        sd_bus *connection;
        sd_event_source *timer; /* what it is for depends on the phase */
        uint64_t retry_usec;
        char owner[BUS_NAME_MAX]; /* systemd's unique name; "" none */
        sd_bus_slot *subscribing;
        Reading readings[4]; /* 20 calls at once */
        char why[128];
};

static uint64_t bus_now(const Bus *bus) {
        uint64_t now = 0;

        sd_event_now(bus->event, CLOCK_MONOTONIC, &now);
        return now;
}

static void bus_set_phase(Bus *bus, Phase phase, uint64_t timer_usec) {
        bus->phase = phase;
        if (timer_usec == USEC_INFINITE) {
                timer_stop(bus->timer);
                return;
        }
        timer_arm(bus->timer, bus_now(bus) + timer_usec);
}

static void PRINTF_LIKE(2, 3) bus_explain(Bus *bus, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(bus->why, sizeof bus->why, format, arguments);
        va_end(arguments);
        log_debug("No word from systemd: %s", bus->why);
}

/* --- messages ------------------------------------------------------------------------------------------ */

/* A call with up to two strings. Where the destination is not there, nobody shall be started in its place. */
static int bus_call(Bus *bus, sd_bus_slot **ret_slot, const char *destination, const char *path,
                    const char *interface, const char *member, const char *first, const char *second,
                    sd_bus_message_handler_t on_reply, void *userdata, uint64_t timeout_usec) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *message = NULL;
        int r;

        r = sd_bus_message_new_method_call(bus->connection, &message, destination, path, interface, member);
        if (r < 0)
                return r;
        if (first)
                r = sd_bus_message_append_basic(message, 's', first);
        if (second && r >= 0)
                r = sd_bus_message_append_basic(message, 's', second);
        if (r >= 0)
                r = sd_bus_message_set_auto_start(message, false);
        if (r < 0)
                return r;
        return sd_bus_call_async(bus->connection, ret_slot, message, on_reply, userdata, timeout_usec);
}

/* --- up and down --------------------------------------------------------------------------------------- */

static void reading_forget(Reading *reading) {
        for (BusProperty property = 0; property < _BUS_PROPERTY_N; property++)
                reading->calls[property].slot = sd_bus_slot_unref(reading->calls[property].slot);
        reading->n_calls = 0;
}

static void bus_forget_calls(Bus *bus) {
        bus->subscribing = sd_bus_slot_unref(bus->subscribing);
        for (size_t i = 0; i < ELEMENTS(bus->readings); i++)
                reading_forget(bus->readings + i);
}

static void bus_tell_down(Bus *bus) {
        if (!bus->is_told_up)
                return;
        bus->is_told_up = false;
        bus->handler.on_down(bus->handler.userdata);
}

/* Also from where the connection is in use by those above us on the stack, and nobody may be told. */
static void bus_break(Bus *bus) {
        bus_set_phase(bus, PHASE_BROKEN, 0);
}

static void bus_close(Bus *bus) {
        bus_forget_calls(bus);
        bus->connection = sd_bus_close_unref(bus->connection); /* drops what is queued, waits for nothing */
        bus->owner[0] = 0;
}

static void bus_give_up(Bus *bus) {
        bus_close(bus);
        bus_set_phase(bus, PHASE_CLOSED, bus->retry_usec);
        bus->retry_usec = min_u64(2 * bus->retry_usec, RETRY_MAX_USEC);
        bus_tell_down(bus);
}

static int bus_on_subscribed(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Bus *bus = userdata;

        (void)error;
        bus->subscribing = sd_bus_slot_unref(bus->subscribing);
        if (sd_bus_message_is_method_error(message, NULL) &&
            !sd_bus_message_is_method_error(message, SYSTEMD ".AlreadySubscribed")) {
                /* It may have left, which is told next; else patience ends. */
                bus_explain(bus, "systemd refuses: %s", sd_bus_message_get_error(message)->name);
                return 0;
        }
        bus_set_phase(bus, PHASE_UP, USEC_INFINITE);
        bus->retry_usec = RETRY_FIRST_USEC;
        bus->is_told_up = true;
        bus->handler.on_up(bus->handler.userdata);
        return 0;
}

/* Asks systemd to tell changes. That it answers is also the sign of its being there. */
static void bus_subscribe(Bus *bus) {
        int r;

        bus_forget_calls(bus);
        bus_set_phase(bus, PHASE_CALLING, PATIENCE_USEC);
        r = bus_call(bus, &bus->subscribing, SYSTEMD, SYSTEMD_PATH, SYSTEMD ".Manager", "Subscribe", NULL, NULL,
                     bus_on_subscribed, bus, USEC_INFINITE);
        if (r < 0) {
                bus_explain(bus, "cannot be asked: %s", strerror(-r));
                bus_break(bus);
        }
        bus_tell_down(bus);
}

/* --- who is systemd ------------------------------------------------------------------------------------ */

static void bus_set_owner(Bus *bus, const char *owner) {
        if (bus->phase != PHASE_OPENING && strcmp(bus->owner, owner) == 0)
                return;
        snprintf(bus->owner, sizeof bus->owner, "%s", owner);
        if (*owner) {
                bus_explain(bus, "systemd does not answer");
                bus_subscribe(bus);
                return;
        }
        bus_explain(bus, "systemd is not on the system bus");
        bus_forget_calls(bus);
        bus_set_phase(bus, PHASE_ALONE, USEC_INFINITE);
        bus_tell_down(bus);
}

static int bus_on_owner(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Bus *bus = userdata;
        const char *owner = "";

        (void)error;
        /* An announcement may have come first: that is newer. */
        if (bus->phase != PHASE_OPENING)
                return 0;
        if (!sd_bus_message_is_method_error(message, NULL) && sd_bus_message_read(message, "s", &owner) < 0)
                owner = "";
        bus_set_owner(bus, owner);
        return 0;
}

static int bus_on_owner_changed(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        const char *sender = sd_bus_message_get_sender(message);
        const char *name, *former, *owner;
        Bus *bus = userdata;

        (void)error;
        if (bus->phase == PHASE_BROKEN || !sender || strcmp(sender, DRIVER) != 0 ||
            sd_bus_message_read(message, "sss", &name, &former, &owner) < 0)
                return 0;
        bus_set_owner(bus, owner);
        return 0;
}

static int bus_on_disconnected(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Bus *bus = userdata;

        (void)message;
        (void)error;
        bus_explain(bus, "the system bus has closed the connection");
        bus_break(bus);
        return 0;
}

/* --- what systemd says --------------------------------------------------------------------------------- */

static int bus_on_changed(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        const char *sender = sd_bus_message_get_sender(message), *interface;
        _cleanup_(freep) char *unit = NULL;
        Bus *bus = userdata;
        BusWords words = { 0 };

        (void)error;
        if (bus->phase != PHASE_UP || !sender || strcmp(sender, bus->owner) != 0 ||
            sd_bus_message_read(message, "s", &interface) < 0 ||
            (strcmp(interface, BUS_UNIT) != 0 && strcmp(interface, BUS_SERVICE) != 0) ||
            sd_bus_path_decode(sd_bus_message_get_path(message), SYSTEMD_PATH "/unit", &unit) <= 0)
                return 0;
        bus_words_read_changed(&words, interface, message);
        bus->handler.on_change(bus->handler.userdata, unit, &words);
        return 0;
}

/* What the bus says where systemd has left it, and sd-bus where no answer comes in time or the connection ends, is
 * no word of systemd's. */
static bool bus_is_answered(const Bus *bus, sd_bus_message *message) {
        const char *sender = sd_bus_message_get_sender(message);

        return (sender && strcmp(sender, bus->owner) == 0) ||
               sd_bus_message_is_method_error(message, SD_BUS_ERROR_ACCESS_DENIED);
}

/* The last of its answers has come. */
static void reading_end(Reading *reading) {
        const BusHandler *handler = &reading->bus->handler;
        char unit[UNIT_NAME_MAX];

        strcpy(unit, reading->unit); /* whoever is told may ask, and be given this place */
        handler->on_answer(handler->userdata, unit, reading->is_refused);
}

static int bus_on_reply(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Call *call = userdata;
        Reading *reading = call->reading;
        Bus *bus = reading->bus;
        BusWords words = { 0 };

        (void)error;
        call->slot = sd_bus_slot_unref(call->slot);
        if (!bus_is_answered(bus, message)) {
                bus_explain(bus, "systemd does not answer");
                bus_subscribe(bus);
                return 0;
        }
        if (sd_bus_message_is_method_error(message, NULL) || bus_words_read(&words, call->property, message) < 0)
                reading->is_refused = true;
        else
                bus->handler.on_words(bus->handler.userdata, reading->unit, &words);
        if (--reading->n_calls == 0)
                reading_end(reading);
        return 0;
}

static int reading_ask(Reading *reading, const char *path, BusProperty property) {
        Call *call = reading->calls + property;
        int r;

        *call = (Call){ .reading = reading, .property = property };
        r = bus_call(reading->bus, &call->slot, SYSTEMD, path, PROPERTIES, "Get", bus_properties[property].interface,
                     bus_properties[property].name, bus_on_reply, call, SILENCE_USEC);
        if (r >= 0)
                reading->n_calls++;
        return r;
}

static int reading_begin(Reading *reading, const char *unit) {
        const size_t n_unit = strlen(unit), n_suffix = strlen(".service");
        const bool is_service = n_unit > n_suffix && strcmp(unit + n_unit - n_suffix, ".service") == 0;
        _cleanup_(freep) char *path = NULL;
        int r;

        r = sd_bus_path_encode(SYSTEMD_PATH "/unit", unit, &path);
        reading->is_refused = false;
        snprintf(reading->unit, sizeof reading->unit, "%s", unit);
        for (BusProperty property = 0; r >= 0 && property < _BUS_PROPERTY_N; property++)
                if (is_service || strcmp(bus_properties[property].interface, BUS_UNIT) == 0)
                        r = reading_ask(reading, path, property);
        return r;
}

int bus_ask(Bus *bus, const char *unit) {
        Reading *reading = bus->readings;
        int r;

        assert(bus->phase == PHASE_UP || bus->phase == PHASE_BROKEN);
        assert(strlen(unit) < UNIT_NAME_MAX);
        while (reading < bus->readings + ELEMENTS(bus->readings) && reading->n_calls > 0)
                reading++;
        if (bus->phase == PHASE_BROKEN || reading == bus->readings + ELEMENTS(bus->readings))
                return -EBUSY;
        r = reading_begin(reading, unit);
        if (r < 0) {
                bus_explain(bus, "cannot be asked: %s", strerror(-r));
                bus_break(bus);
        }
        return 0;
}

/* --- the connection ------------------------------------------------------------------------------------ */

/* Other kinds of address may have to be resolved, or start a program. */
static int bus_find_address(const char **ret) {
        const char *address = getenv("DBUS_SYSTEM_BUS_ADDRESS");

        if (!address || !*address)
                address = "unix:path=/run/dbus/system_bus_socket";
        if (strncmp(address, "unix:", 5) != 0 || strchr(address, ';'))
                return -EPROTONOSUPPORT;
        *ret = address;
        return 0;
}

/* None of this waits: what is to be sent is queued until the bus has said hello. */
static int bus_connect(sd_bus *connection, sd_event *event) {
        const char *address;
        int r;

        r = bus_find_address(&address);
        if (r >= 0)
                r = sd_bus_set_address(connection, address);
        if (r >= 0)
                r = sd_bus_set_bus_client(connection, true);
        if (r >= 0)
                r = sd_bus_negotiate_fds(connection, false); /* P6: nobody shall send us any */
        if (r >= 0)
                r = sd_bus_set_close_on_exit(connection, false);
        if (r >= 0)
                r = sd_bus_set_method_call_timeout(connection, 2 * PATIENCE_USEC);
        if (r >= 0)
                r = sd_bus_start(connection);
        if (r >= 0)
                r = sd_bus_attach_event(connection, event, SD_EVENT_PRIORITY_NORMAL);
        return r;
}

/* First listen, then ask: nothing is missed. */
static int bus_begin(Bus *bus) {
        int r;

        r = sd_bus_match_signal(bus->connection, NULL, NULL, NULL, "org.freedesktop.DBus.Local", "Disconnected",
                                bus_on_disconnected, bus); /* local: nothing is sent for it */
        if (r >= 0)
                r = sd_bus_add_match_async(bus->connection, NULL, OWNER_MATCH, bus_on_owner_changed, NULL, bus);
        if (r >= 0)
                r = sd_bus_add_match_async(bus->connection, NULL, CHANGE_MATCH, bus_on_changed, NULL, bus);
        if (r >= 0)
                r = bus_call(bus, NULL, DRIVER, DRIVER_PATH, DRIVER, "GetNameOwner", SYSTEMD, NULL, bus_on_owner,
                             bus, USEC_INFINITE);
        return r;
}

static void bus_open(Bus *bus) {
        int r;

        r = sd_bus_new(&bus->connection);
        if (r >= 0)
                r = bus_connect(bus->connection, bus->event);
        if (r >= 0)
                r = bus_begin(bus);
        if (r < 0) {
                bus_explain(bus, "the system bus cannot be reached: %s", strerror(-r));
                bus_give_up(bus);
                return;
        }
        bus_explain(bus, "the system bus does not answer");
        bus_set_phase(bus, PHASE_OPENING, PATIENCE_USEC);
}

static int bus_on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        Bus *bus = userdata;

        (void)source;
        (void)usec;
        switch (bus->phase) {
        case PHASE_CLOSED:
                bus_open(bus);
                break;
        case PHASE_BROKEN:
        case PHASE_OPENING:
        case PHASE_CALLING:
                bus_give_up(bus);
                break;
        case PHASE_ALONE:
        case PHASE_UP:
                break;
        }
        return 0;
}

void bus_poke(Bus *bus) {
        bus->retry_usec = RETRY_FIRST_USEC;
        if (bus->phase == PHASE_CLOSED)
                bus_set_phase(bus, PHASE_CLOSED, 0);
}

bool bus_is_up(const Bus *bus) {
        return bus->phase == PHASE_UP;
}

bool bus_is_coming(const Bus *bus) {
        return bus->phase == PHASE_OPENING || bus->phase == PHASE_CALLING;
}

const char *bus_why_down(const Bus *bus) {
        return bus->why;
}

/* --- life ---------------------------------------------------------------------------------------------- */

int bus_new(Bus **ret, sd_event *event, const BusHandler *handler) {
        _cleanup_(bus_freep) Bus *bus = calloc(1, sizeof *bus);
        int r;

        if (!bus)
                return -ENOMEM;
        bus->event = event;
        bus->handler = *handler;
        bus->retry_usec = RETRY_FIRST_USEC;
        for (size_t i = 0; i < ELEMENTS(bus->readings); i++)
                bus->readings[i].bus = bus;
        r = timer_new(&bus->timer, event, 10 * USEC_PER_MSEC, bus_on_timer, bus);
        if (r < 0)
                return -ENOMEM;
        bus_open(bus);
        *ret = TAKE_PTR(bus);
        return 0;
}

Bus *bus_free(Bus *bus) {
        if (!bus)
                return NULL;
        bus_close(bus);
        sd_event_source_disable_unref(bus->timer);
        free(bus);
        return NULL;
}
