/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of a host, looked up beside the loop. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/address.h"
#include "util.h"

#define RESOLVE_ADDRESSES_MAX 8

typedef struct Resolution Resolution;

/* Begins; NULL on ENOMEM, or if there is no thread to be had. */
Resolution *resolution_new(const char *host);
/* The thread may go on for as long as the resolver likes; nobody waits for it. */
Resolution *resolution_free(Resolution *resolution);
DEFINE_CLEANUP(Resolution *, resolution_free)

/* Readable once it is done. */
int resolution_fd(const Resolution *resolution);
bool resolution_is_done(const Resolution *resolution);
/* Once it is done: 0 and up to RESOLVE_ADDRESSES_MAX addresses in the order of the resolver, each once, with `port`;
 * or an EAI_ number. */
int resolution_get(const Resolution *resolution, uint16_t port, SocketAddress addresses[static RESOLVE_ADDRESSES_MAX],
                   size_t *ret_n_addresses);
/* What such a number means. */
const char *resolution_error_to_string(int error);
