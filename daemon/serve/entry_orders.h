/* SPDX-License-Identifier: Apache-2.0 */
/* Orders about names: static entries and pinned ports are added, removed, told. */
#pragma once

#include <systemd/sd-event.h>

#include "core/control.h"
#include "serve/conn.h"
#include "serve/pins.h"
#include "serve/statics.h"
#include "state/store.h"

/* How long one who has ordered waits for the disk. */
#define ENTRY_ORDERS_PATIENCE_USEC (5 * USEC_PER_SEC)

typedef struct EntryOrders EntryOrders;

/* All of these are borrowed. */
typedef struct EntryOrdersParts {
        Store *store;
        Statics *statics;
        Pins *pins;
} EntryOrdersParts;

/* 0 or negative errno. */
int entry_orders_new(EntryOrders **ret, sd_event *event, const EntryOrdersParts *parts);
EntryOrders *entry_orders_free(EntryOrders *orders);
DEFINE_CLEANUP(EntryOrders *, entry_orders_free)

/* CONTROL_ADD, CONTROL_REMOVE, CONTROL_PIN, CONTROL_UNPIN on the control socket: taken from root and from the daemon's
 * own user. Answers `conn` when the order is on disk, from which moment on it holds; with an error where it is not
 * carried out. */
void entry_orders_on_request(EntryOrders *orders, Conn *conn, const ControlRequest *request);
/* CONTROL_PINS. */
void entry_orders_tell_pins(EntryOrders *orders, Conn *conn, const ControlRequest *request);
/* CONTROL_ENTRIES. */
void entry_orders_tell_entries(EntryOrders *orders, Conn *conn);

/* The store has an answer, perhaps to one of these orders. */
void entry_orders_on_answer(EntryOrders *orders, const StoreAnswer *answer);
