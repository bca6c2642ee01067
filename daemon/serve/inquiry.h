/* SPDX-License-Identifier: Apache-2.0 */
/* Answers to "why" and "when": who holds a name and by which evidence, who had it, who was registered at a time. */
#pragma once

#include <systemd/sd-event.h>

#include "core/control.h"
#include "core/refusals.h"
#include "serve/conn.h"
#include "serve/statics.h"
#include "serve/vigil.h"
#include "state/store.h"

/* How long a disk that hangs may keep an asker waiting. */
#define INQUIRY_PATIENCE_USEC (5 * USEC_PER_SEC)

typedef struct Inquiry Inquiry;

/* All of these are borrowed. */
typedef struct InquiryParts {
        const Registry *registry;
        const Refusals *refusals;
        Store *store;
        Vigil *vigil;
        Statics *statics; /* or NULL */
} InquiryParts;

/* 0 or negative errno. */
int inquiry_new(Inquiry **ret, sd_event *event, const InquiryParts *parts);
/* Those who still wait are left to their connections. */
Inquiry *inquiry_free(Inquiry *inquiry);
DEFINE_CLEANUP(Inquiry *, inquiry_free)

/* Each answers `conn`, now or when the store has read its file. */
void inquiry_why(Inquiry *inquiry, Conn *conn, const ControlRequest *request);
void inquiry_history(Inquiry *inquiry, Conn *conn, const ControlRequest *request);
void inquiry_at(Inquiry *inquiry, Conn *conn, const ControlRequest *request);

/* The store has answered a query. Borrows `answer`. */
void inquiry_on_answer(Inquiry *inquiry, const StoreAnswer *answer);
