/* SPDX-License-Identifier: Apache-2.0 */
/* Has the configuration files read beside the loop, which never waits for a disk or a user database (P2), and puts
 * into force what is good. */
#pragma once

#include <systemd/sd-event.h>

#include "config/config.h"

typedef struct Reload Reload;

typedef struct ReloadHandler {
        /* It has been read; config->settings and the reason for being degraded may have changed. */
        void (*on_done)(void *userdata);
        void *userdata;
} ReloadHandler;

/* Reads for the first time, and waits for that, though not for ever: what comes late is put into force by the loop.
 * What is bad in the options is told, too. Borrows `event` and `config`. 0 or negative errno. */
int reload_new(Reload **ret, sd_event *event, Config *config, const ReloadHandler *handler);
/* What is still being read is left behind. */
Reload *reload_free(Reload *reload);
DEFINE_CLEANUP(Reload *, reload_free)

/* Begins to read again; on_done() is called once for each call, or for several at once. */
void reload_start(Reload *reload);
