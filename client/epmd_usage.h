/* SPDX-License-Identifier: Apache-2.0 */
/* What `epmd` says to those who ask it wrongly. */
#pragma once

/* Prints the usage on stderr, as stock epmd does even where it was asked for. Returns the exit
 * status. */
int epmd_usage(void);
