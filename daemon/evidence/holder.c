/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows how to get from a port to what a person has to stop. Does not know why it is wanted.
 *
 * The trap: a socket of a .socket unit is held by PID 1 and by the service. To stop the service
 * does not free the port, and what the kernel tells of the socket is PID 1's own "init.scope": only
 * systemd can say which unit it is for.
 */

#include "evidence/holder.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-login.h>

#include "evidence/cgroup.h"
#include "evidence/listeners.h"

/* For each question to systemd, which may be busy or gone. */
#define BUS_TIMEOUT_USEC (2 * USEC_PER_SEC)

static void close_dirp(DIR **directory) {
        if (*directory)
                (void)closedir(*directory);
}

/* --- the socket ------------------------------------------------------------------------------- */

/* How surely a socket bound to `bound_to` keeps `wanted` from being bound; 0: it does not. */
static unsigned conflict_rate(const Address *bound_to, const Address *wanted) {
        if (address_equal(bound_to, wanted))
                return 3;
        if (address_is_any(bound_to))
                return 2;
        return address_is_any(wanted) ? 1 : 0;
}

static int find_socket(const Address *address, uint16_t port, SocketFacts *ret) {
        _cleanup_(listeners_freep) Listeners *listeners = NULL;
        _cleanup_(freep) SocketFacts *facts = NULL;
        unsigned best = 0;
        size_t n_facts = 0;

        int r = listeners_new(&listeners);
        if (r < 0)
                return r;
        r = listeners_on_port(listeners, port, &facts, &n_facts);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n_facts; i++) {
                unsigned rating = conflict_rate(&facts[i].local, address);

                if (rating > best) {
                        best = rating;
                        *ret = facts[i];
                }
        }
        return best > 0 ? 0 : -ENOENT;
}

/* --- the process ------------------------------------------------------------------------------ */

static bool directory_holds_socket(int proc_fd, const char *pid, const char *socket) {
        _cleanup_(close_dirp) DIR *directory = NULL;
        char path[32], target[64];
        const struct dirent *entry;
        int fd;

        (void)snprintf(path, sizeof(path), "%.16s/fd", pid);
        fd = openat(proc_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return false; /* another user's */
        directory = fdopendir(fd);
        if (!directory) {
                close(fd);
                return false;
        }
        while ((entry = readdir(directory))) {
                ssize_t n = readlinkat(fd, entry->d_name, target, sizeof(target) - 1);

                if (n < 0)
                        continue;
                target[n] = 0;
                if (strcmp(target, socket) == 0)
                        return true;
        }
        return false;
}

/* Rather a service than PID 1, which only keeps the socket for it. 0: none can be seen. */
static pid_t find_process(uint32_t inode) {
        _cleanup_(close_dirp) DIR *proc = opendir("/proc");
        const struct dirent *entry;
        char socket[32];
        pid_t found = 0;

        if (!proc || inode == 0)
                return 0;
        (void)snprintf(socket, sizeof(socket), "socket:[%u]", inode);
        while ((entry = readdir(proc)) && found <= 1)
                if (isdigit((unsigned char)entry->d_name[0]) &&
                    directory_holds_socket(dirfd(proc), entry->d_name, socket))
                        found = (pid_t)atol(entry->d_name);
        return found;
}

/* A process may call itself anything, and this goes to a log. */
static void read_program(pid_t pid, char *program, size_t n_program) {
        char path[48];
        int fd;

        (void)snprintf(path, sizeof(path), "/proc/%ld/comm", (long)pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return;
        ssize_t n = read(fd, program, n_program - 1);
        close(fd);
        program[n > 0 ? n : 0] = 0;
        program[strcspn(program, "\n")] = 0;
        for (char *c = program; *c; c++)
                if (!isgraph((unsigned char)*c))
                        *c = '?';
}

/* --- the unit --------------------------------------------------------------------------------- */

static void copy_unit(char *out, size_t n_out, const char *unit) {
        (void)snprintf(out, n_out, "%s", unit);
}

static void read_unit_of_process(PortHolder *holder) {
        _cleanup_(freep) char *unit = NULL;

        if (sd_pid_get_unit(holder->pid, &unit) >= 0)
                copy_unit(holder->unit, sizeof(holder->unit), unit);
}

static void read_unit_of_cgroup(PortHolder *holder, uint64_t cgroup_id) {
        _cleanup_(cgroups_freep) Cgroups *cgroups = NULL;
        const char *unit;
        bool is_own;

        if (cgroups_new(&cgroups) >= 0 && cgroups_find_unit(cgroups, cgroup_id, &unit, &is_own) >= 0 &&
            strcmp(unit, "init.scope") != 0)
                copy_unit(holder->unit, sizeof(holder->unit), unit);
}

/* --- the socket unit -------------------------------------------------------------------------- */

/* Whether "127.0.0.1:4369" or "[::]:4369" is what `socket` is bound to. */
static bool text_is_of_socket(const char *text, const SocketFacts *socket) {
        const char *colon = strrchr(text, ':');
        char address_text[ADDRESS_TEXT_MAX];
        Address address;

        if (!colon || (size_t)(colon - text) >= sizeof(address_text))
                return false;
        memcpy(address_text, text, (size_t)(colon - text));
        address_text[colon - text] = 0;
        return strtoul(colon + 1, NULL, 10) == socket->local_port &&
               address_parse(address_text, &address) == 0 &&
               address_equal(&address, &socket->local);
}

static bool unit_listens(sd_bus *bus, const char *path, const SocketFacts *socket) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *type, *text;

        if (sd_bus_get_property(bus, "org.freedesktop.systemd1", path,
                                "org.freedesktop.systemd1.Socket", "Listen", NULL, &reply,
                                "a(ss)") < 0)
                return false;
        if (sd_bus_message_enter_container(reply, 'a', "(ss)") < 0)
                return false;
        while (sd_bus_message_read(reply, "(ss)", &type, &text) > 0)
                if (strcmp(type, "Stream") == 0 && text_is_of_socket(text, socket))
                        return true;
        return false;
}

static void read_socket_unit(PortHolder *holder, const SocketFacts *socket) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *units = NULL;
        const char *name, *path;

        if (sd_bus_open_system(&bus) < 0 ||
            sd_bus_set_method_call_timeout(bus, BUS_TIMEOUT_USEC) < 0)
                return;
        if (sd_bus_call_method(bus, "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
                               "org.freedesktop.systemd1.Manager", "ListUnitsByPatterns", NULL,
                               &units, "asas", 1, "active", 1, "*.socket") < 0)
                return;
        if (sd_bus_message_enter_container(units, 'a', "(ssssssouso)") < 0)
                return;
        while (sd_bus_message_read(units, "(ssssssouso)", &name, NULL, NULL, NULL, NULL, NULL,
                                   &path, NULL, NULL, NULL) > 0)
                if (unit_listens(bus, path, socket)) {
                        copy_unit(holder->socket_unit, sizeof(holder->socket_unit), name);
                        return;
                }
}

/* --- all of it -------------------------------------------------------------------------------- */

int holder_find(const Address *address, uint16_t port, PortHolder *ret) {
        PortHolder holder = { 0 };
        SocketFacts socket = { 0 };

        int r = find_socket(address, port, &socket);
        if (r < 0)
                return r;
        holder.uid = socket.uid;
        holder.pid = find_process(socket.inode);
        if (holder.pid > 0)
                read_program(holder.pid, holder.program, sizeof(holder.program));
        if (holder.pid > 1)
                read_unit_of_process(&holder);
        if (!holder.unit[0])
                read_unit_of_cgroup(&holder, socket.cgroup_id);
        if (socket.uid == 0 && sd_booted() > 0)
                read_socket_unit(&holder, &socket);
        *ret = holder;
        return 0;
}

/* "unit a.service, socket unit a.socket", or less. */
static const char *format_units(const PortHolder *holder, char *text, size_t n_text) {
        const bool has_unit = holder->unit[0], has_socket_unit = holder->socket_unit[0];

        (void)snprintf(text, n_text, "%s%s%s%s%s", has_unit ? "unit " : "", holder->unit,
                       has_unit && has_socket_unit ? ", " : "",
                       has_socket_unit ? "socket unit " : "", holder->socket_unit);
        return text;
}

const char *holder_format(const PortHolder *holder, char *text, size_t n_text) {
        const char *program = holder->program[0] ? holder->program : "a process";
        const long pid = holder->pid;
        const unsigned long uid = holder->uid;
        char units[sizeof(holder->unit) + sizeof(holder->socket_unit) + 32];

        format_units(holder, units, sizeof(units));
        if (pid > 0 && units[0])
                (void)snprintf(text, n_text, "%s (pid %ld, %s)", program, pid, units);
        else if (pid > 0)
                (void)snprintf(text, n_text, "%s (pid %ld)", program, pid);
        else if (holder->uid == NODE_UID_UNKNOWN)
                (void)snprintf(text, n_text, "a process that cannot be seen");
        else if (units[0])
                (void)snprintf(text, n_text, "a process of uid %lu (%s)", uid, units);
        else
                (void)snprintf(text, n_text, "a process of uid %lu", uid);
        return text;
}
