/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: a library that a program is started with (LD_PRELOAD) and that sets its clock, while the program
 * runs. It concerns the time of day alone: CLOCK_MONOTONIC goes on as it does when an operator or NTP sets the
 * machine's clock.
 *
 *     PRELOAD_CLOCK_CONTROL  a file with a number of seconds, by which the clock is ahead (behind, if it is
 *                            negative); read again at each call; if it is missing, the time is right
 */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define TEXT_MAX 32

static long offset(void) {
        const char *control = getenv("PRELOAD_CLOCK_CONTROL");
        char text[TEXT_MAX] = "";
        int saved = errno;
        long fd = control ? syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC) : -1;

        if (fd >= 0) {
                if (syscall(SYS_read, fd, text, sizeof text - 1) < 0)
                        text[0] = '\0';
                syscall(SYS_close, fd);
        }
        errno = saved;
        return atol(text);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
        static int (*next)(clockid_t, struct timespec *);
        int r;

        if (!next)
                *(void **)&next = dlsym(RTLD_NEXT, "clock_gettime");
        r = next(clock, now);
        if (r == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
                now->tv_sec += offset();
        return r;
}

time_t time(time_t *ret) {
        struct timespec now;

        clock_gettime(CLOCK_REALTIME, &now);
        if (ret)
                *ret = now.tv_sec;
        return now.tv_sec;
}

int gettimeofday(struct timeval *ret, void *zone) {
        struct timespec now;

        (void)zone;
        clock_gettime(CLOCK_REALTIME, &now);
        *ret = (struct timeval){ .tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000 };
        return 0;
}
