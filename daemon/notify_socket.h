/* SPDX-License-Identifier: Apache-2.0 */
/* A socket to the service manager (sd_notify's protocol) that never waits for it. */
#pragma once

#include "util.h"

typedef struct NotifySocket NotifySocket;

/* `path` as in NOTIFY_SOCKET: "/run/systemd/notify", or "@name" for an abstract address. It is no error if nobody
 * is there. 0; -EINVAL: `path` is neither; -ENAMETOOLONG; other negative errno. */
int notify_socket_new(NotifySocket **ret, const char *path);
NotifySocket *notify_socket_free(NotifySocket *socket);
DEFINE_CLEANUP(NotifySocket *, notify_socket_free)

const char *notify_socket_path(const NotifySocket *socket);
/* To be watched for EPOLLOUT while something could not be sent: it has room again then, and not before. */
int notify_socket_fd(const NotifySocket *socket);
/* Sends one datagram, with a duplicate of `passed_fd` unless that is -1. 0; -EAGAIN: the manager's queue is full;
 * other negative errno: nobody listens there, or the machine is short of something. */
int notify_socket_send(NotifySocket *socket, const char *text, size_t n_text, int passed_fd);
