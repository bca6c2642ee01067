/* SPDX-License-Identifier: Apache-2.0 */
/* Machines that a command is about: "local", HOST, HOST:PORT, [ADDRESS]:PORT. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "exit.h"

#define MACHINE_PORT_DEFAULT 4369
#define MACHINES_MAX 1000
#define MACHINE_HOSTS_MAX 6

typedef struct Machine {
        char *text; /* as it was given; owned */
        char *host; /* a name or an address, without brackets; NULL: this machine; owned */
        uint16_t port;
} Machine;

typedef struct Machines {
        Machine *machines; /* owned */
        size_t n_machines;
} Machines;

void machine_done(Machine *machine);
void machines_done(Machines *machines);

/* `port` counts where the text has none. 0, -EINVAL or -ENOMEM. */
int machine_parse(const char *text, uint16_t port, Machine *ret);
/* 1 to 65535, digits only. 0 or -EINVAL. */
int machine_parse_port(const char *text, uint16_t *ret);

/* The port of port mappers: `given`, else ERL_EPMD_PORT, else 4369. 0, or an exit status after one sentence. */
RollcallExit machine_port(const char *given, uint16_t *ret);
/* Those of a command line, each once; none: this machine. 0, or an exit status after one sentence. */
RollcallExit machines_parse(const char *const *texts, size_t n_texts, const char *port, Machines *ret);

/* What stands behind the @ of a node whose host part is unknown: the likeliest first. For another machine that is what
 * was dialled; for this one its host name, short and as it is, then what means this machine anywhere. */
typedef struct MachineHosts {
        char own[256], own_short[256];
        bool is_own; /* this machine's */
        const char *hosts[MACHINE_HOSTS_MAX];
        size_t n_hosts;
        size_t n_names; /* of them, for whoever listens at one address only */
} MachineHosts;

/* `*ret` stays where it is: it points into itself, and to `machine`. */
void machine_hosts(const Machine *machine, MachineHosts *ret);
/* The same for a machine whose own name is `own`. */
void machine_hosts_of(const Machine *machine, const char *own, MachineHosts *ret);
