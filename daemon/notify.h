/* SPDX-License-Identifier: Apache-2.0 */
/* Words to the service manager (sd_notify's protocol), without ever waiting for it. */
#pragma once

#include <stdint.h>

#include "util.h"

/* PID 1 may be slow or stopped; its queue takes some 295 datagrams, then a blocking sendmsg() waits. What
 * cannot be sent now is sent when the socket is writable again; a newer STATUS takes an older one's place. */
typedef struct Notify Notify;

/* Reads and clears NOTIFY_SOCKET; without it everything below does nothing. 0 or negative errno. */
int notify_new(Notify **ret);
Notify *notify_free(Notify *notify);
DEFINE_CLEANUP(Notify *, notify_free)

/* What NOTIFY_SOCKET said, for whoever has more to say there; NULL without a service manager. */
const char *notify_path(const Notify *notify);
/* -1 without a service manager. To be watched for EPOLLOUT while notify_is_pending(). */
int notify_fd(const Notify *notify);
bool notify_is_pending(const Notify *notify);
void notify_flush(Notify *notify);

void notify_ready(Notify *notify);
void notify_stopping(Notify *notify);
void notify_watchdog(Notify *notify);
/* RELOADING=1 with the time, then READY=1: around a SIGHUP. */
void notify_reloading(Notify *notify, uint64_t now_monotonic_usec);
/* One line; unchanged text is not sent again. */
void notify_status(Notify *notify, const char *text);
