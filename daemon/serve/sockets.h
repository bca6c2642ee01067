/* SPDX-License-Identifier: Apache-2.0 */
/* The listening sockets: those that systemd passed, or our own. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "core/address.h"
#include "state/fdstore.h"
#include "util.h"

#define EPMD_PORT 4369

typedef enum ListenKind {
        LISTEN_EPMD,    /* TCP */
        LISTEN_CONTROL, /* AF_UNIX */
} ListenKind;

typedef struct ListenSocket {
        ListenKind kind;
        int fd; /* -1 once somebody has taken it */
        bool is_passed; /* by systemd; its lifetime is not ours */
        Address address; /* LISTEN_EPMD */
        uint16_t port;   /* LISTEN_EPMD, host order */
        char *path;      /* LISTEN_CONTROL; owned */
        sa_family_t family;
} ListenSocket;

typedef struct ListenSockets {
        ListenSocket *sockets;
        size_t n_sockets;
} ListenSockets;

/* Closes what nobody has taken, after listen_sockets_unlink(). */
void listen_sockets_done(ListenSockets *sockets);
/* Removes control sockets of our own from the file system: before they are closed, since from then on the path
 * may be that of the daemon which takes our place. */
void listen_sockets_unlink(ListenSockets *sockets);

/* Takes every descriptor that systemd passed (sd_listen_fds()), checks each for its kind, and says in the log
 * which is of no use and why (those are closed). Connections from the fd store go into `kept`, whether they live
 * and whosever their names are. TCP sockets hand over a connection with its request (TCP_DEFER_ACCEPT). 0, or how
 * many listening sockets are in use now; negative errno. */
int listen_sockets_take_passed(ListenSockets *sockets, FdstoreKeptList *kept);

/* Where to listen, as asked for on the command line. */
typedef enum ListenFamily {
        LISTEN_BOTH, /* "*" */
        LISTEN_IPV4,
        LISTEN_IPV6,
} ListenFamily;

typedef struct ListenAddress {
        Address address; /* "any": every address of the family */
        ListenFamily family;
        uint16_t port;
        bool is_optional; /* loopback that was added to the list: no error if it is not there */
} ListenAddress;

/* "ADDRESS", "ADDRESS:PORT", "[IPV6]:PORT", "*:PORT"; `default_port` where none is given. 0.0.0.0 is every
 * IPv4 address, :: every IPv6 one, * both. 0 or -EINVAL. */
int listen_address_parse(const char *text, uint16_t default_port, ListenAddress *ret);
/* True if a socket at `wide` also serves `narrow`: such a one need not, and cannot, be opened beside it. */
bool listen_address_covers(const ListenAddress *wide, const ListenAddress *narrow);

/* Opens one. A machine without IPv6 gets 0.0.0.0 for "any". 0; -EADDRINUSE and other errors are logged with
 * what to do about them (who holds the port). */
int listen_sockets_open(ListenSockets *sockets, const ListenAddress *address);
/* A control socket of our own, mode 0660. A stale file at `path` is replaced; one that answers is not
 * (-EADDRINUSE). Missing directories are made (0750). */
int listen_sockets_open_control(ListenSockets *sockets, const char *path);

/* "0.0.0.0:4369", "[::]:4369", "/run/rollcall/control". Returns `text`. */
const char *listen_socket_format(const ListenSocket *socket, char *text, size_t n_text);
