/* SPDX-License-Identifier: Apache-2.0 */
/* When the service manager is told what: ready, status, watchdog. The words themselves are notify's. */
#pragma once

#include <stddef.h>
#include <systemd/sd-event.h>

#include "util.h"

typedef struct Herald Herald;

/* Writes one line on how things stand into `text`, for STATUS=. */
typedef void (*HeraldDescribe)(void *userdata, char *text, size_t n_text);

/* Feeds the watchdog from now on, if there is one. Without a service manager all of this does nothing. 0 or
 * negative errno. Borrows `event`. */
int herald_new(Herald **ret, sd_event *event, HeraldDescribe describe, void *userdata);
Herald *herald_free(Herald *herald);
DEFINE_CLEANUP(Herald *, herald_free)

/* Where the service manager is spoken to (NOTIFY_SOCKET, which is cleared); NULL without one. */
const char *herald_notify_path(const Herald *herald);

void herald_ready(Herald *herald);
/* Around a reload. */
void herald_reloading(Herald *herald);
void herald_reloaded(Herald *herald);
void herald_stopping(Herald *herald);
/* Something that STATUS= shows has changed: it is told a second later, so that churn does not reach PID 1. */
void herald_note_change(Herald *herald);
