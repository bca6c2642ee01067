/* SPDX-License-Identifier: Apache-2.0 */
/* A registration, from ALIVE2_REQ to its answer; newcomers wait for holders that are going (P4). */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "core/refusals.h"
#include "core/registry.h"
#include "serve/conn.h"
#include "serve/counters.h"
#include "serve/ledger.h"
#include "serve/pins.h"
#include "serve/unit_states.h"
#include "serve/vigil.h"
#include "state/store.h"

/* All of these are borrowed and outlive the registrar. */
typedef struct RegistrarParts {
        Ledger *ledger;
        Vigil *vigil;
        UnitStates *unit_states;
        Refusals *refusals;
        Store *store;
        Counters *counters;
        const Pins *pins; /* NULL: there are none */
        const Registry *registry;
} RegistrarParts;

typedef struct Registrar Registrar;

/* `hold_usec`: how long a newcomer waits for a holder that is going, 0: not at all; borrowed, and may change
 * meanwhile. 0 or negative errno. */
int registrar_new(Registrar **ret, sd_event *event, const RegistrarParts *parts, const uint64_t *hold_usec);
/* Those who wait are left to their connections. */
Registrar *registrar_free(Registrar *registrar);
DEFINE_CLEANUP(Registrar *, registrar_free)

/* Answers `conn`, closes it, or holds it. */
void registrar_on_request(Registrar *registrar, Conn *conn, const NodeInfo *info);
/* To be told all news of the ledger: whoever waits for that name may have a turn. */
void registrar_on_news(Registrar *registrar, const LedgerNews *news);
/* systemd has answered about a unit. */
void registrar_on_heard(Registrar *registrar);
size_t registrar_n_held(const Registrar *registrar);
