/* SPDX-License-Identifier: Apache-2.0 */
/* The server side of `epmd`: becomes, or starts, rollcalld. */
#pragma once

#include "epmd.h"

/* Runs rollcalld as stock epmd would have run with `options`. Does not return where it becomes
 * rollcalld; else the exit status: a detached one answers requests, an EPMD holds the port already,
 * or it failed, which has been said on stderr. */
int epmd_server_run(const EpmdOptions *options);
