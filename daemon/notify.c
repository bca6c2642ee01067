/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows what is still to be said to the service manager. Does not know the loop: whoever owns one watches
 * notify_fd().
 *
 * The trap: sd_notify() blocks. See notify.h.
 */

#include "notify.h"

#include <stdio.h>
#include <string.h>

#include "notify_socket.h"

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
        NotifySocket *socket; /* NULL: there is no service manager */
        bool is_pending[_WORD_N];
        uint64_t reloading_usec;
        char status[STATUS_MAX];
};

int notify_new(Notify **ret) {
        const char *path = getenv("NOTIFY_SOCKET");
        _cleanup_(notify_freep) Notify *notify = calloc(1, sizeof *notify);
        int r;

        if (!notify)
                return -ENOMEM;
        if (path) {
                r = notify_socket_new(&notify->socket, path);
                if (r < 0)
                        return r;
                unsetenv("NOTIFY_SOCKET");
        }
        *ret = TAKE_PTR(notify);
        return 0;
}

Notify *notify_free(Notify *notify) {
        if (!notify)
                return NULL;
        notify_socket_free(notify->socket);
        free(notify);
        return NULL;
}

const char *notify_path(const Notify *notify) {
        return notify->socket ? notify_socket_path(notify->socket) : NULL;
}

int notify_fd(const Notify *notify) {
        return notify->socket ? notify_socket_fd(notify->socket) : -1;
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

void notify_flush(Notify *notify) {
        char text[STATUS_MAX + 16];

        for (Word word = 0; word < _WORD_N; word++) {
                int n, r;

                if (!notify->is_pending[word])
                        continue;
                n = notify_format(notify, word, text, sizeof text);
                r = notify_socket_send(notify->socket, text, (size_t)n, -1);
                if (r == -EAGAIN || r == -EINTR || r == -ENOBUFS)
                        return;
                /* Any other error means that nobody listens there any more. */
                notify->is_pending[word] = false;
        }
}

static void notify_say(Notify *notify, Word word) {
        if (!notify->socket)
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
