/* SPDX-License-Identifier: Apache-2.0 */
/* A fuzz target: what systemd says of a unit on the bus, and what a cgroup's path says. Each property comes as a byte
 * that says which, one that says of which type, one with the length of what it is, and that; what is left is a path. */

#include <assert.h>
#include <string.h>
#include <sys/socket.h>

#include "evidence/bus_words.h"
#include "evidence/cgroup.h"
#include "fuzz.h"

static const char *const names[] = { "ActiveState", "SubState", "InvocationID", "Type", "MainPID", "Id" };

/* A bus that nobody is at the other end of: messages need one. */
static sd_bus *make_bus(void) {
        static sd_bus *bus;
        int fds[2];

        if (bus)
                return bus;
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0 || sd_bus_new(&bus) < 0 || sd_bus_set_fd(bus, fds[0], fds[0]) < 0 ||
            sd_bus_start(bus) < 0)
                abort();
        return bus;
}

static int put_value(sd_bus_message *message, uint8_t type, const char *text, size_t n_text) {
        uint32_t number = 0;

        memcpy(&number, text, n_text < sizeof number ? n_text : sizeof number);
        switch (type % 5) {
        case 0:
                return sd_bus_message_append(message, "v", "s", text);
        case 1:
                return sd_bus_message_append(message, "v", "u", number);
        case 2:
                return sd_bus_message_append(message, "v", "as", 1, text);
        case 3:
                return sd_bus_message_append(message, "v", "t", (uint64_t)number << 32 | number);
        }
        if (sd_bus_message_open_container(message, 'v', "ay") < 0 ||
            sd_bus_message_append_array(message, 'y', text, n_text) < 0)
                return -1;
        return sd_bus_message_close_container(message);
}

static int put_property(sd_bus_message *message, const uint8_t *data, size_t n) {
        _cleanup_(freep) char *text = strndup((const char *)data + 3, n - 3);

        if (!text || sd_bus_message_open_container(message, 'e', "sv") < 0 ||
            sd_bus_message_append_basic(message, 's', names[data[0] % ELEMENTS(names)]) < 0 ||
            put_value(message, data[1], text, strlen(text)) < 0)
                return -1;
        return sd_bus_message_close_container(message);
}

/* What was said of it: `*data` moves on. */
static sd_bus_message *make_message(const uint8_t **data, size_t *size) {
        sd_bus_message *message = NULL;

        if (sd_bus_message_new_signal(make_bus(), &message, "/u", "a.b", "C") < 0 ||
            sd_bus_message_open_container(message, 'a', "{sv}") < 0)
                return sd_bus_message_unref(message);
        while (*size > 3 && *size - 3 >= (*data)[2] && (*data)[0] != '/') {
                size_t n = 3 + (*data)[2];

                if (put_property(message, *data, n) < 0)
                        return sd_bus_message_unref(message);
                *data += n;
                *size -= n;
        }
        if (sd_bus_message_close_container(message) < 0 || sd_bus_message_append(message, "as", 2, "Type", "X") < 0 ||
            sd_bus_message_seal(message, 1, 0) < 0)
                return sd_bus_message_unref(message);
        return message;
}

static void check_words(sd_bus_message *message, const char *interface) {
        BusWords words = { 0 };

        if (sd_bus_message_rewind(message, true) < 0)
                abort();
        bus_words_read_changed(&words, interface, message);
        assert(strnlen(words.facts.active, sizeof words.facts.active) < sizeof words.facts.active);
        assert(strnlen(words.facts.sub, sizeof words.facts.sub) < sizeof words.facts.sub);
        assert(strnlen(words.facts.type, sizeof words.facts.type) < sizeof words.facts.type);
        assert(words.has_active || !words.facts.active[0]);
        /* The one that is told without its value. */
        assert(words.is_partial || strcmp(interface, BUS_UNIT) == 0);
        (void)unit_phase_from_words(words.facts.type, words.facts.active, words.facts.sub, true);
}

static void check_path(const char *path) {
        char unit[256];
        bool is_own;

        if (cgroup_path_to_unit(path, unit, &is_own) == 0)
                assert(unit[0] && strlen(unit) < sizeof unit && !strchr(unit, '/'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        sd_bus_message *message = make_message(&data, &size);
        _cleanup_(freep) char *path = NULL;

        if (!message)
                return 0;
        check_words(message, BUS_UNIT);
        check_words(message, BUS_SERVICE);
        sd_bus_message_unref(message);
        path = strndup((const char *)data, size);
        if (path)
                check_path(path);
        return 0;
}
