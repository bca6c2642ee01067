/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows when a word is due and watches the socket while one is pending. Does not know what is said.
 *
 * The trap: what cannot be sent now must be sent later, but a socket that is watched for EPOLLOUT while
 * nothing is pending would wake the loop without end.
 */

#include "herald.h"

#include <sys/epoll.h>
#include <systemd/sd-daemon.h>

#include "notify.h"
#include "timer.h"

#define STATUS_DELAY_USEC (1 * USEC_PER_SEC)
#define STATUS_MAX 512

struct Herald {
        sd_event *event;
        Notify *notify;
        HeraldDescribe describe;
        void *userdata;
        sd_event_source *writable, *status, *watchdog;
        uint64_t watchdog_usec;
};

static uint64_t herald_now(const Herald *herald) {
        uint64_t now = 0;

        sd_event_now(herald->event, CLOCK_MONOTONIC, &now);
        return now;
}

static void herald_watch(Herald *herald) {
        if (herald->writable)
                sd_event_source_set_enabled(herald->writable, notify_is_pending(herald->notify)
                                                                      ? SD_EVENT_ON
                                                                      : SD_EVENT_OFF);
}

static int herald_on_writable(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        Herald *herald = userdata;

        (void)source;
        (void)fd;
        (void)events;
        notify_flush(herald->notify);
        herald_watch(herald);
        return 0;
}

static void herald_tell_status(Herald *herald) {
        char text[STATUS_MAX];

        herald->describe(herald->userdata, text, sizeof text);
        notify_status(herald->notify, text);
        herald_watch(herald);
}

static int herald_on_status(sd_event_source *source, uint64_t usec, void *userdata) {
        (void)source;
        (void)usec;
        herald_tell_status(userdata);
        return 0;
}

static int herald_on_watchdog(sd_event_source *source, uint64_t usec, void *userdata) {
        Herald *herald = userdata;

        notify_watchdog(herald->notify);
        herald_watch(herald);
        timer_arm(source, usec + herald->watchdog_usec / 2);
        return 0;
}

static int herald_watch_service_manager(Herald *herald) {
        int r;

        if (notify_fd(herald->notify) < 0)
                return 0;
        r = sd_event_add_io(herald->event, &herald->writable, notify_fd(herald->notify), EPOLLOUT,
                            herald_on_writable, herald);
        if (r < 0)
                return r;
        herald_watch(herald);
        if (sd_watchdog_enabled(1, &herald->watchdog_usec) <= 0)
                return 0;
        return sd_event_add_time(herald->event, &herald->watchdog, CLOCK_MONOTONIC,
                                 herald_now(herald) + herald->watchdog_usec / 2, 0,
                                 herald_on_watchdog, herald);
}

int herald_new(Herald **ret, sd_event *event, HeraldDescribe describe, void *userdata) {
        _cleanup_(herald_freep) Herald *herald = calloc(1, sizeof *herald);
        int r;

        if (!herald)
                return -ENOMEM;
        *herald = (Herald){ .event = event, .describe = describe, .userdata = userdata };
        r = notify_new(&herald->notify);
        if (r < 0)
                return r;
        r = timer_new(&herald->status, event, 100 * USEC_PER_MSEC, herald_on_status, herald);
        if (r >= 0)
                r = herald_watch_service_manager(herald);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(herald);
        return 0;
}

Herald *herald_free(Herald *herald) {
        if (!herald)
                return NULL;
        sd_event_source_disable_unref(herald->watchdog);
        sd_event_source_disable_unref(herald->status);
        sd_event_source_disable_unref(herald->writable);
        notify_free(herald->notify);
        free(herald);
        return NULL;
}

const char *herald_notify_path(const Herald *herald) {
        return notify_path(herald->notify);
}

void herald_ready(Herald *herald) {
        herald_tell_status(herald);
        notify_ready(herald->notify);
        herald_watch(herald);
}

void herald_reloading(Herald *herald) {
        notify_reloading(herald->notify, herald_now(herald));
        herald_watch(herald);
}

void herald_reloaded(Herald *herald) {
        herald_ready(herald);
}

void herald_stopping(Herald *herald) {
        notify_stopping(herald->notify);
}

void herald_note_change(Herald *herald) {
        int enabled = SD_EVENT_OFF;

        if (sd_event_source_get_enabled(herald->status, &enabled) < 0 || enabled != SD_EVENT_OFF)
                return;
        timer_arm(herald->status, herald_now(herald) + STATUS_DELAY_USEC);
}
