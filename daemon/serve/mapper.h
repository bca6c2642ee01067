/* SPDX-License-Identifier: Apache-2.0 */
/* The port mapper: from a request of the EPMD protocol to its answer. */
#pragma once

#include <stdbool.h>

#include "core/access.h"
#include "core/registry.h"
#include "serve/conn.h"
#include "serve/counters.h"
#include "serve/gate.h"
#include "serve/ledger.h"
#include "serve/listing.h"
#include "serve/registrar.h"
#include "serve/statics.h"
#include "serve/vigil.h"

/* All of these are borrowed and outlive the mapper. */
typedef struct MapperParts {
        Registry *registry;
        Ledger *ledger;
        Vigil *vigil;
        Gate *gate;
        Registrar *registrar;
        Listings *listings;
        Counters *counters;
        Statics *statics; /* NULL: there are none */
} MapperParts;

typedef struct MapperOptions {
        const AccessList *lookup_from, *list_from; /* P7; borrowed, and may change meanwhile */
        const bool *names_with_helpers; /* NAMES tells helpers' names, too */
        bool relaxed_command_check;        /* KILL with living nodes, and STOP */
        void (*on_kill)(void *userdata);   /* a KILL was granted: the daemon is to end */
        void *userdata;
} MapperOptions;

typedef struct Mapper Mapper;

int mapper_new(Mapper **ret, const MapperParts *parts, const MapperOptions *options);
Mapper *mapper_free(Mapper *mapper);
DEFINE_CLEANUP(Mapper *, mapper_free)

/* A request's body that came on a TCP connection; answers or closes `conn`. */
void mapper_on_request(Mapper *mapper, Conn *conn, const uint8_t *body, size_t n_body);
/* ConnHandler.is_dear() for both protocols. */
bool mapper_is_dear(void *userdata, const Conn *conn, const uint8_t *body, size_t n_body);
/* The connection of a registered node has ended. */
void mapper_on_end(Mapper *mapper, Conn *conn);
