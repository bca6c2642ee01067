/* SPDX-License-Identifier: Apache-2.0 */
/* Small idioms that every module uses: cleanup attributes, ownership, time units. */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define USEC_PER_SEC UINT64_C(1000000)
#define USEC_PER_MSEC UINT64_C(1000)
#define USEC_INFINITE UINT64_MAX

#define ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))

/* A local that owns something says so: `_cleanup_(freep) char *s = NULL;` */
#define _cleanup_(function) __attribute__((cleanup(function)))

/* TAKE_PTR(p) is p's value; p is NULL afterwards. TAKE_FD(fd) likewise, with -1. */
#define TAKE_PTR(p)                  \
        ({                           \
                typeof(p) *p_ = &(p);    \
                typeof(p) v_ = *p_;      \
                *p_ = NULL;              \
                v_;                      \
        })
#define TAKE_FD(fd)              \
        ({                       \
                int *fd_ = &(fd);    \
                int v_ = *fd_;       \
                *fd_ = -1;           \
                v_;                  \
        })

/* Declares `free_function`p(), for use with _cleanup_(), where `type` is a pointer type and the
 * function takes one and returns NULL: DEFINE_CLEANUP(Store *, store_free). */
#define DEFINE_CLEANUP(type, free_function)                     \
        static inline void free_function##p(type *object) {     \
                *object = free_function(*object);               \
        }

static inline void freep(void *pointer) {
        free(*(void **)pointer);
}

static inline void close_fdp(int *fd) {
        if (*fd >= 0) {
                int saved = errno;

                close(*fd);
                errno = saved;
        }
}

/* 64 bits that nobody can foresee. */
static inline uint64_t random_u64(void) {
        uint64_t value = 0;

        /* Cannot fail for so few bytes once the kernel is up. */
        (void)!getrandom(&value, sizeof value, 0);
        return value;
}

static inline uint32_t random_u32(void) {
        return (uint32_t)random_u64();
}

static inline uint64_t now_usec(clockid_t clock) {
        struct timespec ts;

        clock_gettime(clock, &ts);
        return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

/* The digits of `value`, without a NUL; returns how many, 20 at most. Where printf() would be most of the work. */
static inline size_t put_number(char *to, uint64_t value) {
        char digits[20];
        size_t n = 0;

        do
                digits[n++] = (char)('0' + value % 10);
        while ((value /= 10) > 0);
        for (size_t i = 0; i < n; i++)
                to[i] = digits[n - 1 - i];
        return n;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b) {
        return a > b ? a : b;
}
