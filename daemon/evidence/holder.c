/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows how to get from a port to the process that a person has to stop. Does not know why he asks.
 *
 * The trap: a socket that systemd listens on is held by PID 1 and by the service, and PID 1 is in
 * init.scope: of what it holds the socket's own cgroup tells the unit.
 */

#include "evidence/holder.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-login.h>

#include "evidence/cgroup.h"
#include "evidence/listeners.h"

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

static void copy_unit(PortHolder *holder, const char *unit) {
        (void)snprintf(holder->unit, sizeof(holder->unit), "%s", unit);
}

static void read_unit_of_process(PortHolder *holder) {
        _cleanup_(freep) char *unit = NULL;

        if (holder->pid > 0 && sd_pid_get_unit(holder->pid, &unit) >= 0)
                copy_unit(holder, unit);
}

static void read_unit_of_cgroup(PortHolder *holder, uint64_t cgroup_id) {
        _cleanup_(cgroups_freep) Cgroups *cgroups = NULL;
        const char *unit;

        if (cgroups_new(&cgroups) >= 0 && cgroups_find_unit(cgroups, cgroup_id, &unit) >= 0)
                copy_unit(holder, unit);
}

/* --- both ------------------------------------------------------------------------------------- */

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
        if (!holder.unit[0])
                read_unit_of_process(&holder);
        *ret = holder;
        return 0;
}

const char *holder_format(const PortHolder *holder, char *text, size_t n_text) {
        const char *program = holder->program[0] ? holder->program : "a process";
        const long pid = holder->pid;
        const unsigned long uid = holder->uid;

        if (pid > 0 && holder->unit[0])
                (void)snprintf(text, n_text, "%s (pid %ld, unit %s)", program, pid, holder->unit);
        else if (pid > 0)
                (void)snprintf(text, n_text, "%s (pid %ld)", program, pid);
        else if (holder->uid == NODE_UID_UNKNOWN)
                (void)snprintf(text, n_text, "a process that cannot be seen");
        else if (holder->unit[0])
                (void)snprintf(text, n_text, "a process of uid %lu (unit %s)", uid, holder->unit);
        else
                (void)snprintf(text, n_text, "a process of uid %lu", uid);
        return text;
}
