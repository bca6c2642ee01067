/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to the EPMD of this machine, and what stock epmd prints about their answers. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "epmd.h"

/* Each returns the exit status. What is printed where is stock epmd's, to the byte. */
int epmd_client_list(const EpmdOptions *options); /* -names, -started, -dump */
int epmd_client_kill(const EpmdOptions *options);
int epmd_client_stop(const EpmdOptions *options);

/* True if what listens on a loopback address at `port` answers as an EPMD does. Waits for each
 * address
 * (::1, 127.0.0.1) at most `timeout_msec`. */
bool epmd_client_probe(uint16_t port, int timeout_msec);
