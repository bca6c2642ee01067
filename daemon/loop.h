/* SPDX-License-Identifier: Apache-2.0 */
/* The loop: dispatches, and lets changes go to the disk together. */
#pragma once

#include <systemd/sd-event.h>

#include "state/store.h"

/* Until sd_event_exit(): its code, or the negative errno by which the loop has failed. */
int loop_run(sd_event *event, Store *store);
