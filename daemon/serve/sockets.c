/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows how to take over and how to open listening sockets, and tells them from stored connections, which
 * systemd passes in the same row. Does not accept.
 *
 * The trap: "every address" must be one dual-stack socket whatever net.ipv6.bindv6only says, and a plain
 * IPv4 one on a machine without IPv6.
 */

#include "serve/sockets.h"

#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include "evidence/holder.h"
#include "log.h"

typedef union AnyAddress {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
} AnyAddress;

void listen_sockets_unlink(ListenSockets *sockets) {
        for (size_t i = 0; i < sockets->n_sockets; i++) {
                ListenSocket *entry = sockets->sockets + i;

                if (!entry->path || entry->is_passed)
                        continue;
                unlink(entry->path);
                free(entry->path);
                entry->path = NULL;
        }
}

void listen_sockets_done(ListenSockets *sockets) {
        listen_sockets_unlink(sockets);
        for (size_t i = 0; i < sockets->n_sockets; i++) {
                ListenSocket *entry = sockets->sockets + i;

                close_fdp(&entry->fd);
                free(entry->path);
        }
        free(sockets->sockets);
        *sockets = (ListenSockets){ 0 };
}

/* Takes `*fd` and `*path` on success. */
static int listen_sockets_add(ListenSockets *sockets, ListenSocket *entry) {
        ListenSocket *grown;

        grown = reallocarray(sockets->sockets, sockets->n_sockets + 1, sizeof *grown);
        if (!grown)
                return -ENOMEM;
        sockets->sockets = grown;
        sockets->sockets[sockets->n_sockets++] = *entry;
        *entry = (ListenSocket){ .fd = -1 };
        return 0;
}

static void listen_socket_done(ListenSocket *entry) {
        close_fdp(&entry->fd);
        free(entry->path);
}

const char *listen_socket_format(const ListenSocket *entry, char *text, size_t n_text) {
        char address[ADDRESS_TEXT_MAX];

        if (entry->kind == LISTEN_CONTROL)
                snprintf(text, n_text, "%s", entry->path ? entry->path : "control");
        else {
                if (address_is_any(&entry->address))
                        strcpy(address, entry->family == AF_INET ? "0.0.0.0" : "::");
                else
                        address_format(&entry->address, address);
                snprintf(text, n_text, strchr(address, ':') ? "[%s]:%u" : "%s:%u", address, entry->port);
        }
        return text;
}

/* --- passed by systemd ------------------------------------------------------------------------ */

static int set_nonblocking_cloexec(int fd) {
        int flags = fcntl(fd, F_GETFL);

        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
                return -errno;
        return 0;
}

/* What is wrong with a descriptor, NULL if nothing is. 0, or negative errno where the kernel does not tell. */
static int find_wrong(int fd, const char **ret_wrong) {
        static const struct {
                int type, listening;
                const char *wrong;
        } steps[] = {
                { 0, -1, "it is no socket" },
                { SOCK_STREAM, -1, "it is no stream socket" },
                { SOCK_STREAM, 1, "it does not listen" },
        };

        *ret_wrong = NULL;
        for (size_t i = 0; i < ELEMENTS(steps) && !*ret_wrong; i++) {
                int r = sd_is_socket(fd, AF_UNSPEC, steps[i].type, steps[i].listening);

                if (r < 0 && r != -EBADF)
                        return r;
                if (r <= 0)
                        *ret_wrong = steps[i].wrong;
        }
        return 0;
}

/* Fills `ret` where nothing is wrong. */
static int identify_passed(int fd, ListenSocket *ret, const char **ret_wrong) {
        AnyAddress address = { 0 };
        socklen_t n_address = sizeof address;
        int r = find_wrong(fd, ret_wrong);

        if (r < 0 || *ret_wrong)
                return r;
        if (getsockname(fd, &address.sa, &n_address) < 0)
                return -errno;
        if (address.sa.sa_family == AF_UNIX) {
                ret->kind = LISTEN_CONTROL;
                if (n_address > offsetof(struct sockaddr_un, sun_path) && address.un.sun_path[0] == '/')
                        ret->path = strndup(address.un.sun_path, sizeof address.un.sun_path);
                return 0;
        }
        ret->kind = LISTEN_EPMD;
        ret->family = address.sa.sa_family;
        if (address_from_sockaddr(&address.sa, &ret->address, &ret->port) < 0)
                *ret_wrong = "it is neither TCP nor AF_UNIX";
        return 0;
}

static int get_socket_option(int fd, int option) {
        int value = -1;
        socklen_t n_value = sizeof value;

        return getsockopt(fd, SOL_SOCKET, option, &value, &n_value) < 0 ? -1 : value;
}

/* One that its peer has reset has no peer any more: our name on it tells it from a socket that never had one. */
static bool is_stored_connection(int fd, const char *name) {
        int domain = get_socket_option(fd, SO_DOMAIN);
        AnyAddress peer;
        socklen_t n_peer = sizeof peer;
        FdstoreKey key;

        if ((domain != AF_INET && domain != AF_INET6) || get_socket_option(fd, SO_TYPE) != SOCK_STREAM ||
            get_socket_option(fd, SO_ACCEPTCONN) != 0)
                return false;
        return (name && fdstore_parse_name(name, &key, NULL) == 0) || getpeername(fd, &peer.sa, &n_peer) == 0;
}

static int take_stored_connection(FdstoreKeptList *kept, int fd, const char *name) {
        _cleanup_(close_fdp) int owned_fd = fd;

        return fdstore_kept_add(kept, name ? name : "", &owned_fd);
}

/* From now on a connection is accepted together with its request: a daemon that is killed holds almost none that
 * it has not answered, the others wait for the next one. (The unit cannot ask for it: DeferAcceptSec= is for all
 * sockets of a unit, and systemd complains of the control socket.) A comfort, so that it may fail. */
static void defer_accept(int fd) {
        const int seconds = 1; /* then also who says nothing is accepted */

        (void)setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof seconds);
}

/* One that is of no use is told and closed. One that we cannot get to know may be the port itself: that is an error, and we
 * are started again with it. */
static int listen_sockets_take_one(ListenSockets *sockets, int fd, const char *name) {
        _cleanup_(listen_socket_done) ListenSocket entry = { .fd = fd, .is_passed = true };
        const char *wrong;
        int r = identify_passed(fd, &entry, &wrong);

        if (r < 0)
                return r;
        if (!wrong && entry.kind == LISTEN_CONTROL)
                for (size_t i = 0; i < sockets->n_sockets; i++)
                        if (sockets->sockets[i].kind == LISTEN_CONTROL)
                                wrong = "there is a control socket already";
        if (wrong) {
                log_event(LOG_WARNING, LOG_EVENT_SOCKET_USELESS, NULL,
                          "The passed descriptor %d (%s) is of no use and closed: %s", fd,
                          name ? name : "without a name", wrong);
                return 0;
        }
        r = set_nonblocking_cloexec(fd);
        if (r < 0)
                return r;
        if (entry.kind == LISTEN_EPMD)
                defer_accept(fd);
        return listen_sockets_add(sockets, &entry);
}

int listen_sockets_take_passed(ListenSockets *sockets, FdstoreKeptList *kept) {
        char **names = NULL;
        int n = sd_listen_fds_with_names(1, &names), r = 0;

        if (n < 0)
                return n;
        for (int i = 0; i < n; i++) {
                int fd = SD_LISTEN_FDS_START + i;
                char *name = names ? names[i] : NULL;

                if (r >= 0)
                        r = is_stored_connection(fd, name) ? take_stored_connection(kept, fd, name)
                                                           : listen_sockets_take_one(sockets, fd, name);
                free(name);
        }
        free(names);
        return r < 0 ? r : (int)sockets->n_sockets;
}

/* --- our own ---------------------------------------------------------------------------------- */

static int parse_port(const char *text, uint16_t *ret) {
        unsigned long port = 0;

        if (!*text || strlen(text) > 5 || strspn(text, "0123456789") != strlen(text))
                return -EINVAL;
        port = strtoul(text, NULL, 10);
        if (port == 0 || port > UINT16_MAX)
                return -EINVAL;
        *ret = (uint16_t)port;
        return 0;
}

/* A colon separates the port where there is just one, or one behind a bracket. */
static const char *find_port_colon(const char *text) {
        const char *colon = strrchr(text, ':');

        if (!colon)
                return NULL;
        if (text[0] == '[')
                return colon[-1] == ']' ? colon : NULL;
        return strchr(text, ':') == colon ? colon : NULL;
}

int listen_address_parse(const char *text, uint16_t default_port, ListenAddress *ret) {
        const char *colon = find_port_colon(text);
        char address[ADDRESS_TEXT_MAX];
        size_t n = colon ? (size_t)(colon - text) : strlen(text);

        *ret = (ListenAddress){ .port = default_port };
        if (n >= sizeof address)
                return -EINVAL;
        memcpy(address, text, n);
        address[n] = 0;
        if (address_parse(address, &ret->address) < 0)
                return -EINVAL;
        if (strcmp(address, "*") != 0)
                ret->family = strchr(address, ':') ? LISTEN_IPV6 : LISTEN_IPV4;
        return colon ? parse_port(colon + 1, &ret->port) : 0;
}

bool listen_address_covers(const ListenAddress *wide, const ListenAddress *narrow) {
        if (wide->port != narrow->port)
                return false;
        if (wide->family != LISTEN_BOTH && wide->family != narrow->family)
                return false;
        return address_is_any(&wide->address) || address_equal(&wide->address, &narrow->address);
}

static socklen_t make_sockaddr(const Address *address, uint16_t port, bool ipv4, AnyAddress *ret) {
        memset(ret, 0, sizeof *ret);
        if (ipv4) {
                ret->in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port) };
                memcpy(&ret->in.sin_addr, address->bytes + 12, 4);
                return sizeof ret->in;
        }
        ret->in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(port) };
        memcpy(&ret->in6.sin6_addr, address->bytes, sizeof address->bytes);
        return sizeof ret->in6;
}

static int open_listener(const ListenAddress *wanted, ListenFamily family) {
        _cleanup_(close_fdp) int fd = -1;
        AnyAddress sockaddr;
        socklen_t n = make_sockaddr(&wanted->address, wanted->port, family == LISTEN_IPV4, &sockaddr);
        const int on = 1, v6only = family == LISTEN_IPV6;

        fd = socket(sockaddr.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
                return -errno;
        if (family != LISTEN_IPV4 &&
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof v6only) < 0)
                return -errno;
        if (bind(fd, &sockaddr.sa, n) < 0 || listen(fd, SOMAXCONN) < 0)
                return -errno;
        return TAKE_FD(fd);
}

static void explain_failure(const ListenAddress *wanted, int error) {
        char text[ADDRESS_TEXT_MAX], holder_text[512];
        PortHolder holder;

        address_format(&wanted->address, text);
        if (error != -EADDRINUSE) {
                log_error("Port %u on %s cannot be opened: %s", wanted->port, text, strerror(-error));
                return;
        }
        if (holder_find(&wanted->address, wanted->port, &holder) < 0)
                snprintf(holder_text, sizeof holder_text, "a process that could not be found out");
        else
                holder_format(&holder, holder_text, sizeof holder_text);
        log_error("Port %u on %s is taken by %s. End it first (stock epmd: 'epmd -kill', or "
                  "'systemctl stop epmd.socket epmd.service'), or choose another port with --port",
                  wanted->port, text, holder_text);
}

int listen_sockets_open(ListenSockets *sockets, const ListenAddress *wanted) {
        _cleanup_(listen_socket_done) ListenSocket entry = {
                .fd = -1,
                .address = wanted->address,
                .port = wanted->port,
        };

        entry.family = wanted->family == LISTEN_IPV4 ? AF_INET : AF_INET6;
        entry.fd = open_listener(wanted, wanted->family);
        if (entry.fd == -EAFNOSUPPORT && wanted->family == LISTEN_BOTH) {
                entry.family = AF_INET;
                entry.fd = open_listener(wanted, LISTEN_IPV4);
        }
        if (entry.fd < 0) {
                int r = entry.fd;

                entry.fd = -1;
                if (wanted->is_optional) {
                        log_debug("Loopback on port %u is not opened: %s", wanted->port, strerror(-r));
                        return 0;
                }
                explain_failure(wanted, r);
                return r;
        }
        return listen_sockets_add(sockets, &entry);
}

/* --- control ---------------------------------------------------------------------------------- */

static bool control_answers(const struct sockaddr_un *address) {
        _cleanup_(close_fdp) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        return fd >= 0 && (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 ||
                           errno == EAGAIN);
}

static void make_parents(const char *path) {
        char directory[PATH_MAX];

        snprintf(directory, sizeof directory, "%s", path);
        for (char *slash = strchr(directory + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
                *slash = 0;
                /* What is missing in the end shows when the socket is bound. */
                (void)!mkdir(directory, 0750);
                *slash = '/';
        }
}

int listen_sockets_open_control(ListenSockets *sockets, const char *path) {
        _cleanup_(listen_socket_done) ListenSocket entry = { .fd = -1, .kind = LISTEN_CONTROL };
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        struct stat st;

        if (!*path)
                return -EINVAL;
        if (strlen(path) >= sizeof address.sun_path)
                return -ENAMETOOLONG;
        strcpy(address.sun_path, path);
        make_parents(path);
        if (lstat(path, &st) == 0) {
                if (!S_ISSOCK(st.st_mode))
                        return -EEXIST;
                if (control_answers(&address))
                        return -EADDRINUSE;
                unlink(path);
        }
        entry.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (entry.fd < 0)
                return -errno;
        /* Nobody can connect before listen(): the mode is right by then. */
        if (bind(entry.fd, (const struct sockaddr *)&address, sizeof address) < 0)
                return -errno;
        entry.path = strdup(path);
        if (!entry.path || chmod(path, 0660) < 0 || listen(entry.fd, SOMAXCONN) < 0) {
                int r = entry.path ? -errno : -ENOMEM;

                unlink(path);
                return r;
        }
        return listen_sockets_add(sockets, &entry);
}
