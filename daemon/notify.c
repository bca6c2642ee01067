/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows the notify socket and what is still to be said on it. Does not know the loop: whoever owns one
 * watches notify_fd().
 *
 * The trap: sd_notify() blocks. See notify.h.
 */

#include "notify.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define STATUS_MAX 512

typedef enum Word {
        WORD_RELOADING,
        WORD_READY,
        WORD_WATCHDOG,
        WORD_STOPPING,
        WORD_STATUS,
        _WORD_N,
} Word;

struct Notify {
        int fd;
        struct sockaddr_un address;
        socklen_t n_address;
        bool is_pending[_WORD_N];
        uint64_t reloading_usec;
        char status[STATUS_MAX];
};

static int notify_set_address(Notify *notify, const char *path) {
        size_t n_path = strlen(path);

        if ((path[0] != '/' && path[0] != '@') || n_path < 2)
                return -EINVAL;
        if (n_path >= sizeof notify->address.sun_path)
                return -ENAMETOOLONG;
        notify->address.sun_family = AF_UNIX;
        memcpy(notify->address.sun_path, path, n_path + 1);
        notify->n_address = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n_path);
        if (path[0] == '@')
                notify->address.sun_path[0] = 0;
        else
                notify->n_address++;
        return 0;
}

static int notify_connect(const Notify *notify) {
        return connect(notify->fd, (const struct sockaddr *)&notify->address, notify->n_address);
}

int notify_new(Notify **ret) {
        const char *path = getenv("NOTIFY_SOCKET");
        _cleanup_(notify_freep) Notify *notify = calloc(1, sizeof *notify);
        int r;

        if (!notify)
                return -ENOMEM;
        notify->fd = -1;
        if (path) {
                r = notify_set_address(notify, path);
                if (r < 0)
                        return r;
                notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
                if (notify->fd < 0)
                        return -errno;
                /* Connected, since any other socket looks writable however full the manager's queue is. If
                 * nobody is there yet, that is tried again with each word. */
                (void)notify_connect(notify);
                unsetenv("NOTIFY_SOCKET");
        }
        *ret = TAKE_PTR(notify);
        return 0;
}

Notify *notify_free(Notify *notify) {
        if (!notify)
                return NULL;
        close_fdp(&notify->fd);
        free(notify);
        return NULL;
}

int notify_fd(const Notify *notify) {
        return notify->fd;
}

bool notify_is_pending(const Notify *notify) {
        for (Word word = 0; word < _WORD_N; word++)
                if (notify->is_pending[word])
                        return true;
        return false;
}

static int notify_format(const Notify *notify, Word word, char *text, size_t n_text) {
        switch (word) {
        case WORD_RELOADING:
                return snprintf(text, n_text, "RELOADING=1\nMONOTONIC_USEC=%llu",
                                (unsigned long long)notify->reloading_usec);
        case WORD_READY:
                return snprintf(text, n_text, "READY=1");
        case WORD_WATCHDOG:
                return snprintf(text, n_text, "WATCHDOG=1");
        case WORD_STOPPING:
                return snprintf(text, n_text, "STOPPING=1");
        case WORD_STATUS:
                return snprintf(text, n_text, "STATUS=%s", notify->status);
        case _WORD_N:
                break;
        }
        return 0;
}

static ssize_t notify_send(const Notify *notify, const char *text, size_t n_text) {
        ssize_t n = send(notify->fd, text, n_text, MSG_NOSIGNAL);

        if (n < 0 && (errno == ECONNREFUSED || errno == ENOTCONN) && notify_connect(notify) == 0)
                n = send(notify->fd, text, n_text, MSG_NOSIGNAL);
        return n;
}

void notify_flush(Notify *notify) {
        char text[STATUS_MAX + 16];

        for (Word word = 0; word < _WORD_N; word++) {
                int n;

                if (!notify->is_pending[word])
                        continue;
                n = notify_format(notify, word, text, sizeof text);
                if (notify_send(notify, text, (size_t)n) < 0 &&
                    (errno == EAGAIN || errno == EINTR || errno == ENOBUFS))
                        return;
                /* Any other error means that nobody listens there any more. */
                notify->is_pending[word] = false;
        }
}

static void notify_say(Notify *notify, Word word) {
        if (notify->fd < 0)
                return;
        notify->is_pending[word] = true;
        notify_flush(notify);
}

void notify_ready(Notify *notify) {
        notify_say(notify, WORD_READY);
}

void notify_stopping(Notify *notify) {
        notify_say(notify, WORD_STOPPING);
}

void notify_watchdog(Notify *notify) {
        notify_say(notify, WORD_WATCHDOG);
}

void notify_reloading(Notify *notify, uint64_t now_monotonic_usec) {
        notify->reloading_usec = now_monotonic_usec;
        notify_say(notify, WORD_RELOADING);
}

void notify_status(Notify *notify, const char *text) {
        if (strncmp(notify->status, text, sizeof notify->status - 1) == 0)
                return;
        snprintf(notify->status, sizeof notify->status, "%s", text);
        notify_say(notify, WORD_STATUS);
}
