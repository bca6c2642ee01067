/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of what listens to systemd: a bus of one's own, a systemd on it that says what the test wants, and a
 * clock that can be put forward. Include once in a program. */
#pragma once

#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>

#include "evidence/units.h"
#include "loop_test.h"

#define SYSTEMD "org.freedesktop.systemd1"
#define UNIT_INTERFACE SYSTEMD ".Unit"
#define SERVICE_INTERFACE SYSTEMD ".Service"
#define UNIT_PATH "/org/freedesktop/systemd1/unit"

/* --- time ---------------------------------------------------------------------------------------------- */

static uint64_t clock_forward_usec;

/* In place of libc's, also for libsystemd. */
int clock_gettime(clockid_t clock, struct timespec *ts) {
        int r = (int)syscall(SYS_clock_gettime, clock, ts);

        if (r == 0) {
                ts->tv_sec += (time_t)(clock_forward_usec / USEC_PER_SEC);
                ts->tv_nsec += (long)(clock_forward_usec % USEC_PER_SEC) * 1000;
                if (ts->tv_nsec >= 1000000000) {
                        ts->tv_sec++;
                        ts->tv_nsec -= 1000000000;
                }
        }
        return r;
}

/* Puts the clock forward; what has become due is done. */
static inline void pass(sd_event *event, uint64_t usec) {
        clock_forward_usec += usec;
        turn(event);
}

/* --- the bus ------------------------------------------------------------------------------------------- */

typedef struct TestBus {
        char socket[96], address[128], config[96];
        pid_t pid;
} TestBus;

static inline const char *why_no_bus(void) {
        return access("/usr/bin/dbus-daemon", X_OK) == 0 ? NULL : "dbus-daemon is not installed";
}

/* Says where it will be. */
static inline void bus_prepare(TestBus *bus) {
        const char *directory = new_directory();
        FILE *file;

        snprintf(bus->socket, sizeof bus->socket, "%s/bus", directory);
        snprintf(bus->address, sizeof bus->address, "unix:path=%s", bus->socket);
        snprintf(bus->config, sizeof bus->config, "%s/conf", directory);
        file = fopen(bus->config, "we");
        ck_assert_ptr_nonnull(file);
        fprintf(file,
                "<busconfig><listen>%s</listen><auth>EXTERNAL</auth><policy context=\"default\"><allow user=\"*\"/>"
                "<allow own=\"*\"/><allow send_destination=\"*\"/><allow receive_sender=\"*\"/></policy></busconfig>\n",
                bus->address);
        ck_assert_int_eq(fclose(file), 0);
        bus->pid = 0;
        setenv("DBUS_SYSTEM_BUS_ADDRESS", bus->address, 1);
}

/* Returns when it listens. It ends with the test, however that ends. */
static inline void bus_start(TestBus *bus) {
        char option[64], config[128], said[256];
        int pipe_fds[2];

        ck_assert_int_eq(pipe(pipe_fds), 0);
        snprintf(option, sizeof option, "--print-address=%d", pipe_fds[1]);
        snprintf(config, sizeof config, "--config-file=%s", bus->config);
        bus->pid = fork();
        ck_assert_int_ge(bus->pid, 0);
        if (bus->pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                /* it grumbles about limits */
                if (!freopen("/dev/null", "w", stderr))
                        _exit(126);
                execl("/usr/bin/dbus-daemon", "dbus-daemon", config, "--nofork", "--nopidfile", "--nosyslog", option,
                      (char *)NULL);
                _exit(127);
        }
        close(pipe_fds[1]);
        ck_assert_int_gt(read(pipe_fds[0], said, sizeof said), 0);
        close(pipe_fds[0]);
}

static inline void bus_kill(TestBus *bus) {
        if (bus->pid == 0)
                return;
        kill(bus->pid, SIGKILL);
        ck_assert_int_eq(waitpid(bus->pid, NULL, 0), bus->pid);
        bus->pid = 0;
}

/* Returns when it has stopped. */
static inline void bus_freeze(TestBus *bus) {
        int status;

        ck_assert_int_eq(kill(bus->pid, SIGSTOP), 0);
        ck_assert_int_eq(waitpid(bus->pid, &status, WUNTRACED), bus->pid);
        ck_assert(WIFSTOPPED(status));
}

static inline void bus_thaw(TestBus *bus) {
        ck_assert_int_eq(kill(bus->pid, SIGCONT), 0);
}

static inline sd_bus *bus_join(const TestBus *bus) {
        sd_bus *connection = NULL;

        ck_assert_int_ge(sd_bus_new(&connection), 0);
        ck_assert_int_ge(sd_bus_set_address(connection, bus->address), 0);
        ck_assert_int_ge(sd_bus_set_bus_client(connection, true), 0);
        ck_assert_int_ge(sd_bus_start(connection), 0);
        return connection;
}

/* --- systemd ------------------------------------------------------------------------------------------- */

typedef struct TestUnit {
        char name[64];
        UnitFacts facts;
        bool is_refused;
} TestUnit;

/* Turned by the loop of the test. */
typedef struct TestSystemd {
        sd_bus *bus;
        TestUnit units[8];
        size_t n_units;
        unsigned n_subscribed;
        unsigned n_asked; /* calls of Get */
        bool is_mute;     /* answers nothing for now */
        sd_bus_message *held[256];
        size_t n_held;
        char client[64]; /* who asked last: a unique name */
} TestSystemd;

static inline TestUnit *systemd_find(TestSystemd *systemd, const char *name) {
        for (size_t i = 0; i < systemd->n_units; i++)
                if (strcmp(systemd->units[i].name, name) == 0)
                        return systemd->units + i;
        return NULL;
}

static inline UnitFacts facts_of(const char *type, const char *active, const char *sub, pid_t main_pid) {
        UnitFacts facts = { .main_pid = main_pid };

        strcpy(facts.type, type);
        strcpy(facts.active, active);
        strcpy(facts.sub, sub);
        return facts;
}

/* As systemd does: 16 bytes, none before the first start. */
static inline void append_invocation(sd_bus_message *message, uint64_t invocation) {
        const uint64_t id[2] = { invocation, UINT64_MAX };

        ck_assert_int_ge(sd_bus_message_open_container(message, 'v', "ay"), 0);
        ck_assert_int_ge(sd_bus_message_append_array(message, 'y', id, invocation ? sizeof id : 0), 0);
        ck_assert_int_ge(sd_bus_message_close_container(message), 0);
}

static inline int answer_invocation(sd_bus_message *call, uint64_t invocation) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *answer = NULL;

        ck_assert_int_ge(sd_bus_message_new_method_return(call, &answer), 0);
        append_invocation(answer, invocation);
        return sd_bus_send(NULL, answer, NULL);
}

/* It says nothing about that by itself. */
static inline TestUnit *systemd_set(TestSystemd *systemd, const char *name, const char *type, const char *active,
                                    const char *sub, pid_t main_pid) {
        TestUnit *unit = systemd_find(systemd, name);

        if (!unit) {
                ck_assert_uint_lt(systemd->n_units, ELEMENTS(systemd->units));
                unit = systemd->units + systemd->n_units++;
                strcpy(unit->name, name);
        }
        unit->facts = facts_of(type, active, sub, main_pid);
        return unit;
}

static inline int systemd_answer_get(TestSystemd *systemd, sd_bus_message *call) {
        static const TestUnit absent = { .facts = { .type = "simple", .active = "inactive", .sub = "dead" } };
        _cleanup_(freep) char *name = NULL;
        const char *interface, *property;
        const TestUnit *unit;

        ck_assert_int_ge(sd_bus_message_rewind(call, true), 0);
        ck_assert_int_gt(sd_bus_message_read(call, "ss", &interface, &property), 0);
        ck_assert_int_gt(sd_bus_path_decode(sd_bus_message_get_path(call), UNIT_PATH, &name), 0);
        unit = systemd_find(systemd, name);
        if (!unit)
                unit = &absent;
        if (unit->is_refused)
                return sd_bus_reply_method_errorf(call, SD_BUS_ERROR_UNKNOWN_OBJECT, "no %s", name);
        if (strcmp(property, "MainPID") == 0 && strcmp(interface, SERVICE_INTERFACE) == 0)
                return sd_bus_reply_method_return(call, "v", "u", (uint32_t)unit->facts.main_pid);
        if (strcmp(property, "Type") == 0 && strcmp(interface, SERVICE_INTERFACE) == 0)
                return sd_bus_reply_method_return(call, "v", "s", unit->facts.type);
        if (strcmp(property, "ActiveState") == 0 && strcmp(interface, UNIT_INTERFACE) == 0)
                return sd_bus_reply_method_return(call, "v", "s", unit->facts.active);
        if (strcmp(property, "SubState") == 0 && strcmp(interface, UNIT_INTERFACE) == 0)
                return sd_bus_reply_method_return(call, "v", "s", unit->facts.sub);
        if (strcmp(property, "InvocationID") == 0 && strcmp(interface, UNIT_INTERFACE) == 0)
                return answer_invocation(call, unit->facts.invocation);
        return sd_bus_reply_method_errorf(call, SD_BUS_ERROR_UNKNOWN_PROPERTY, "no %s.%s", interface, property);
}

static inline int systemd_answer(TestSystemd *systemd, sd_bus_message *call) {
        if (sd_bus_message_is_method_call(call, SYSTEMD ".Manager", "Subscribe"))
                return sd_bus_reply_method_return(call, NULL);
        return systemd_answer_get(systemd, call);
}

static inline int systemd_on_call(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        TestSystemd *systemd = userdata;

        (void)error;
        snprintf(systemd->client, sizeof systemd->client, "%s", sd_bus_message_get_sender(call));
        if (sd_bus_message_is_method_call(call, SYSTEMD ".Manager", "Subscribe"))
                systemd->n_subscribed++;
        else if (sd_bus_message_is_method_call(call, "org.freedesktop.DBus.Properties", "Get"))
                systemd->n_asked++;
        else
                return 0;
        if (systemd->is_mute) {
                ck_assert_uint_lt(systemd->n_held, ELEMENTS(systemd->held));
                systemd->held[systemd->n_held++] = sd_bus_message_ref(call);
                return 1;
        }
        return systemd_answer(systemd, call);
}

/* Answers so many of what was asked while it was mute; 0: all, and it is mute no more. */
static inline void systemd_answer_held(TestSystemd *systemd, size_t n) {
        size_t n_answered = n ? n : systemd->n_held;

        ck_assert_uint_le(n_answered, systemd->n_held);
        systemd->is_mute = n != 0;
        for (size_t i = 0; i < n_answered; i++) {
                systemd_answer(systemd, systemd->held[i]);
                sd_bus_message_unref(systemd->held[i]);
        }
        systemd->n_held -= n_answered;
        memmove(systemd->held, systemd->held + n_answered, systemd->n_held * sizeof systemd->held[0]);
}

static inline void systemd_join(TestSystemd *systemd, sd_event *event, const TestBus *bus) {
        systemd->bus = bus_join(bus);
        ck_assert_int_ge(sd_bus_add_fallback(systemd->bus, NULL, "/org/freedesktop/systemd1", systemd_on_call,
                                             systemd),
                         0);
        ck_assert_int_ge(sd_bus_request_name(systemd->bus, SYSTEMD, 0), 0);
        ck_assert_int_ge(sd_bus_attach_event(systemd->bus, event, 0), 0);
}

static inline void systemd_leave(TestSystemd *systemd) {
        while (systemd->n_held > 0)
                sd_bus_message_unref(systemd->held[--systemd->n_held]);
        systemd->bus = sd_bus_close_unref(systemd->bus);
}

static inline sd_bus_message *change_message(sd_bus *bus, const char *name) {
        _cleanup_(freep) char *path = NULL;
        sd_bus_message *message = NULL;

        ck_assert_int_ge(sd_bus_path_encode(UNIT_PATH, name, &path), 0);
        ck_assert_int_ge(sd_bus_message_new_signal(bus, &message, path, "org.freedesktop.DBus.Properties",
                                                   "PropertiesChanged"),
                         0);
        return message;
}

/* To everybody, or to one. Takes the message. */
static inline void send_signal(sd_bus *bus, sd_bus_message *message, const char *to) {
        ck_assert_int_ge(to ? sd_bus_send_to(bus, message, to, NULL) : sd_bus_send(bus, message, NULL), 0);
        ck_assert_int_ge(sd_bus_flush(bus), 0);
        sd_bus_message_unref(message);
}

/* As systemd says it: among other things. */
static inline void say_state_from(sd_bus *bus, const char *to, const char *name, const char *active, const char *sub) {
        sd_bus_message *message = change_message(bus, name);

        ck_assert_int_ge(sd_bus_message_append(message, "sa{sv}as", UNIT_INTERFACE, 4, "Job", "(uo)", 7, "/job/7",
                                               "ActiveState", "s", active, "SubState", "s", sub,
                                               "InactiveExitTimestamp", "t", (uint64_t)1, 1, "Conditions"),
                         0);
        send_signal(bus, message, to);
}

static inline void systemd_say_state(TestSystemd *systemd, const char *name, const char *active, const char *sub) {
        TestUnit *unit = systemd_find(systemd, name);

        if (unit)
                unit->facts = facts_of(unit->facts.type, active, sub, unit->facts.main_pid);
        say_state_from(systemd->bus, NULL, name, active, sub);
}

static inline void systemd_say_main_pid(TestSystemd *systemd, const char *name, pid_t main_pid) {
        sd_bus_message *message = change_message(systemd->bus, name);
        TestUnit *unit = systemd_find(systemd, name);

        if (unit)
                unit->facts.main_pid = main_pid;
        ck_assert_int_ge(sd_bus_message_append(message, "sa{sv}as", SERVICE_INTERFACE, 2, "MainPID", "u",
                                               (uint32_t)main_pid, "Result", "s", "success", 0),
                         0);
        send_signal(systemd->bus, message, NULL);
}

static inline void systemd_say_invocation(TestSystemd *systemd, const char *name, uint64_t invocation) {
        sd_bus_message *message = change_message(systemd->bus, name);
        TestUnit *unit = systemd_find(systemd, name);

        if (unit)
                unit->facts.invocation = invocation;
        ck_assert_int_ge(sd_bus_message_append(message, "s", UNIT_INTERFACE), 0);
        ck_assert_int_ge(sd_bus_message_open_container(message, 'a', "{sv}"), 0);
        ck_assert_int_ge(sd_bus_message_open_container(message, 'e', "sv"), 0);
        ck_assert_int_ge(sd_bus_message_append(message, "s", "InvocationID"), 0);
        append_invocation(message, invocation);
        ck_assert_int_ge(sd_bus_message_close_container(message), 0);
        ck_assert_int_ge(sd_bus_message_close_container(message), 0);
        ck_assert_int_ge(sd_bus_message_append(message, "as", 0), 0);
        send_signal(systemd->bus, message, NULL);
}

/* That it has changed, but not what it is. */
static inline void systemd_say_invalid(TestSystemd *systemd, const char *name, const char *interface,
                                       const char *property) {
        sd_bus_message *message = change_message(systemd->bus, name);

        ck_assert_int_ge(sd_bus_message_append(message, "sa{sv}as", interface, 0, 1, property), 0);
        send_signal(systemd->bus, message, NULL);
}
