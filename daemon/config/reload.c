/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows how something slow is done beside the loop: a thread that lives for one reading, shares nothing with
 * anybody, and hands over what it has made through a socket. And whether that is put into force: at the start all that
 * is good, later only what is good as a whole. Does not know who needs the settings.
 *
 * The trap: the thread can outlive us, in a disk or a user database that hangs. It has its own copy of all it needs,
 * and frees what nobody takes any more.
 */

#include "config/reload.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#include "log.h"

/* A socket puts the two threads in order. ThreadSanitizer loses sight of it where fcntl() has copied the descriptor. */
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#define NOTE_GIVEN(load) __tsan_release(load)
#define NOTE_TAKEN(load) __tsan_acquire(load)
#else
#define NOTE_GIVEN(load) ((void)(load))
#define NOTE_TAKEN(load) ((void)(load))
#endif

/* How long the start waits: a disk, or a user database. */
#define PATIENCE_USEC (3 * USEC_PER_SEC)

struct Reload {
        Config *config;
        ReloadHandler handler;
        sd_event_source *readable;
        int read_fd, write_fd;
        bool is_reading, is_wanted_again;
        bool has_read; /* something was put into force already */
};

typedef struct Job {
        ConfigSource source;
        int write_fd; /* its own */
} Job;

static Job *job_free(Job *job) {
        if (!job)
                return NULL;
        config_source_done(&job->source);
        close_fdp(&job->write_fd);
        free(job);
        return NULL;
}
DEFINE_CLEANUP(Job *, job_free)

/* A pointer is sent whole or not at all. */
static void *job_run(void *argument) {
        _cleanup_(job_freep) Job *job = argument;
        ConfigLoad *load = config_load_new(&job->source);

        NOTE_GIVEN(load);
        if (send(job->write_fd, &load, sizeof load, MSG_NOSIGNAL) != sizeof load)
                config_load_free(load);
        return NULL;
}

static int job_new(Job **ret, const Reload *reload) {
        _cleanup_(job_freep) Job *job = calloc(1, sizeof *job);
        int r;

        if (!job)
                return -ENOMEM;
        job->write_fd = fcntl(reload->write_fd, F_DUPFD_CLOEXEC, 3);
        if (job->write_fd < 0)
                return -errno;
        r = config_source_copy(&reload->config->source, &job->source);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(job);
        return 0;
}

/* It is not joined: where it hangs, nobody waits for it. */
static int job_start(Job **job) {
        pthread_attr_t attributes;
        pthread_t thread;
        int r = pthread_attr_init(&attributes);

        if (r != 0)
                return -r;
        r = pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        if (r == 0)
                r = pthread_create(&thread, &attributes, job_run, *job);
        pthread_attr_destroy(&attributes);
        if (r != 0)
                return -r;
        *job = NULL;
        return 0;
}

void reload_start(Reload *reload) {
        _cleanup_(job_freep) Job *job = NULL;
        int r;

        if (reload->is_reading) {
                reload->is_wanted_again = true;
                return;
        }
        r = job_new(&job, reload);
        if (r == 0)
                r = job_start(&job);
        if (r == 0) {
                reload->is_reading = true;
                return;
        }
        log_event(LOG_ERR, LOG_EVENT_CONFIG, NULL, "The configuration cannot be read now: %s", strerror(-r));
        reload->handler.on_done(reload->handler.userdata);
}

/* --- what was read ---------------------------------------------------------------------------------- */

static void log_outcome(const Config *config, const Problems *problems, bool is_declined) {
        size_t n_files = config->files.n_paths;

        problems_log(problems);
        if (problems->n_errors > 0)
                log_event(LOG_ERR, LOG_EVENT_CONFIG, NULL, "The configuration has %zu error%s: %s", problems->n_errors,
                          problems->n_errors == 1 ? "" : "s",
                          is_declined ? "the settings that were in force stay" : "what is bad is left out");
        else if (n_files > 0)
                log_event(LOG_INFO, LOG_EVENT_CONFIG, NULL, "The configuration was read: %s%s", config->files.paths[0],
                          n_files > 1 ? " and others" : "");
}

/* A bad file never stops anything (P2). */
static void reload_use(Reload *reload, ConfigLoad *load) {
        bool is_declined = reload->has_read && load->problems.n_errors > 0;

        if (is_declined)
                config_decline(reload->config, load);
        else
                config_adopt(reload->config, load);
        reload->has_read = true;
        log_outcome(reload->config, &load->problems, is_declined);
}

static void reload_take(Reload *reload) {
        _cleanup_(config_load_freep) ConfigLoad *load = NULL;

        if (read(reload->read_fd, &load, sizeof load) != sizeof load)
                return;
        NOTE_TAKEN(load);
        reload->is_reading = false;
        if (load)
                reload_use(reload, load);
        else
                log_event(LOG_ERR, LOG_EVENT_CONFIG, NULL, "The configuration cannot be read now: %s",
                          strerror(ENOMEM));
        reload->handler.on_done(reload->handler.userdata);
        if (reload->is_wanted_again) {
                reload->is_wanted_again = false;
                reload_start(reload);
        }
}

static int reload_on_readable(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        (void)source;
        (void)fd;
        (void)revents;
        reload_take(userdata);
        return 0;
}

/* Before the loop runs. */
static void reload_wait(Reload *reload) {
        struct pollfd poll_fd = { .fd = reload->read_fd, .events = POLLIN };
        uint64_t end = now_usec(CLOCK_MONOTONIC) + PATIENCE_USEC, now;

        while (reload->is_reading && (now = now_usec(CLOCK_MONOTONIC)) < end)
                if (poll(&poll_fd, 1, (int)((end - now) / USEC_PER_MSEC) + 1) > 0)
                        reload_take(reload);
        if (reload->is_reading)
                log_event(LOG_ERR, LOG_EVENT_CONFIG, NULL,
                          "The configuration has not been read within %u s; until it is, all is as the options say",
                          (unsigned)(PATIENCE_USEC / USEC_PER_SEC));
}

int reload_new(Reload **ret, sd_event *event, Config *config, const ReloadHandler *handler) {
        _cleanup_(reload_freep) Reload *reload = calloc(1, sizeof *reload);
        int fds[2], r;

        if (!reload)
                return -ENOMEM;
        *reload = (Reload){ .config = config, .handler = *handler, .read_fd = -1, .write_fd = -1 };
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
                return -errno;
        reload->read_fd = fds[0];
        reload->write_fd = fds[1];
        r = sd_event_add_io(event, &reload->readable, reload->read_fd, EPOLLIN, reload_on_readable, reload);
        if (r < 0)
                return r;
        problems_log(&config->problems);
        reload_start(reload);
        reload_wait(reload);
        *ret = TAKE_PTR(reload);
        return 0;
}

/* What has been read and not taken. A thread that comes from now on finds nobody who takes it, and frees it. */
static void reload_drop_unread(Reload *reload) {
        ConfigLoad *load = NULL;

        if (reload->read_fd < 0)
                return;
        shutdown(reload->read_fd, SHUT_RD);
        while (read(reload->read_fd, &load, sizeof load) == sizeof load) {
                NOTE_TAKEN(load);
                config_load_free(load);
        }
}

Reload *reload_free(Reload *reload) {
        if (!reload)
                return NULL;
        sd_event_source_disable_unref(reload->readable);
        reload_drop_unread(reload);
        close_fdp(&reload->read_fd);
        close_fdp(&reload->write_fd);
        free(reload);
        return NULL;
}
