/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "times.h"
#include "check_main.h"
#include "util.h"

#define NOW_SEC INT64_C(1795266605) /* 2026-11-21 13:10:05 UTC, a Saturday */
#define NOW (NOW_SEC * USEC_PER_SEC + 250000)
#define MIDNIGHT (NOW_SEC - 13 * 3600 - 10 * 60 - 5) /* of that day */

#define DAY 86400
#define AT(seconds) ((uint64_t)(seconds) * USEC_PER_SEC)

static void set_zone(const char *zone) {
        setenv("TZ", zone, 1);
        tzset();
}

/* --- times ------------------------------------------------------------------------------------ */

static const struct {
        const char *text;
        const char *zone; /* of the reader */
        uint64_t usec;
} times[] = {
        { "now", "UTC", NOW },
        { " now", "UTC", NOW },
        { "NOW", "XXX-05:30", NOW },

        { "@0", "UTC", 0 },
        { "@1795266605", "XXX+03", AT(1795266605) },
        { "@1795266605.25", "UTC", AT(1795266605) + 250000 },
        { "@1.0000019", "UTC", AT(1) + 1 },

        { "-2h", "UTC", NOW - AT(7200) },
        { "2h ago", "UTC", NOW - AT(7200) },
        { "-2 h", "UTC", NOW - AT(7200) },
        { "-1h30min", "UTC", NOW - AT(5400) },
        { "1h 30min ago", "UTC", NOW - AT(5400) },
        { "-90", "UTC", NOW - AT(90) },
        { "-1.5d", "XXX-05:30", NOW - AT(DAY + DAY / 2) },
        { "52w ago", "UTC", NOW - AT(52 * 7 * DAY) },
        { "-1week 2 days", "UTC", NOW - AT(9 * DAY) },

        { "today", "UTC", AT(MIDNIGHT) },
        { "yesterday", "UTC", AT(MIDNIGHT - DAY) },
        { "Yesterday 13:30", "UTC", AT(MIDNIGHT - DAY + 13 * 3600 + 1800) },
        /* In India it is 18:40 of the same day, in Brazil 10:10. */
        { "today", "XXX-05:30", AT(MIDNIGHT - 19800) },
        { "today", "XXX+03", AT(MIDNIGHT + 3 * 3600) },
        /* On the other side of the date line it is tomorrow. */
        { "today", "XXX-12", AT(MIDNIGHT + DAY - 12 * 3600) },

        { "13:30", "UTC", AT(MIDNIGHT + 13 * 3600 + 1800) },
        { "00:00", "UTC", AT(MIDNIGHT) },
        { "23:59:59", "UTC", AT(MIDNIGHT + DAY - 1) },
        { "13:30:15.25", "UTC", AT(MIDNIGHT + 13 * 3600 + 1815) + 250000 },
        { "13:30", "XXX+03", AT(MIDNIGHT + 16 * 3600 + 1800) },
        { "13:30Z", "XXX+03", AT(MIDNIGHT + 13 * 3600 + 1800) },

        { "2026-11-21", "UTC", AT(MIDNIGHT) },
        { "2026-11-21", "XXX-05:30", AT(MIDNIGHT - 19800) },
        { "2026-11-21 13:10", "UTC", AT(NOW_SEC - 5) },
        { "2026-11-21T13:10:05", "UTC", AT(NOW_SEC) },
        { "2026-11-21 13:10:05.25", "UTC", NOW },
        { "2026-11-21T13:10:05.250000Z", "XXX-05:30", NOW },
        { "2026-11-21T18:40:05+05:30", "XXX+03", AT(NOW_SEC) },
        { "2026-11-21T18:40:05+0530", "UTC", AT(NOW_SEC) },
        { "2026-11-21T10:10:05-03", "UTC", AT(NOW_SEC) },
        { "2026-11-21 13:10:05 UTC", "XXX+03", AT(NOW_SEC) },
        { "2024-02-29", "UTC", AT(1709164800) },
        { "2000-02-29 00:00Z", "XXX+03", AT(951782400) },
        { "1970-01-01", "UTC", 0 },
        /* Summer time: the same clock, an hour apart. */
        { "2026-07-01 12:00", "CET-1CEST,M3.5.0,M10.5.0/3", AT(1782900000) },
        { "2026-12-01 12:00", "CET-1CEST,M3.5.0,M10.5.0/3", AT(1796122800) },
};

START_TEST(test_a_time_is_understood) {
        uint64_t usec = 12345;

        set_zone(times[_i].zone);
        ck_assert_msg(times_parse(times[_i].text, NOW, false, &usec) == 0, "'%s'", times[_i].text);
        ck_assert_msg(usec == times[_i].usec, "'%s' in %s: %" PRIu64 " instead of %" PRIu64, times[_i].text,
                      times[_i].zone, usec, times[_i].usec);
}
END_TEST

START_TEST(test_with_utc_the_readers_zone_does_not_count) {
        static const char *const texts[] = { "13:10:05.25", "2026-11-21 13:10:05.25", "today 13:10:05.25" };

        set_zone("XXX-12");
        for (size_t i = 0; i < ELEMENTS(texts); i++) {
                uint64_t usec;

                ck_assert_int_eq(times_parse(texts[i], NOW, true, &usec), 0);
                ck_assert_uint_eq(usec, NOW);
        }
}
END_TEST

static const struct {
        const char *text;
        int error;
} no_times[] = {
        { "", -EINVAL },
        { " ", -EINVAL },
        { "tomorrow", -EINVAL },
        { "nowadays", -EINVAL },
        { "todays", -EINVAL },
        { "@", -EINVAL },
        { "@-1", -EINVAL },
        { "@1 ", -EINVAL },
        { "@1.", -EINVAL },
        { "@99999999999999999999999", -EINVAL },
        { "-", -EINVAL },
        { "-2x", -EINVAL },
        { "--2h", -EINVAL },
        { "-2h ago later", -EINVAL },
        { "2h", -EINVAL }, /* before or after? */
        { "2hago", -EINVAL },
        { "ago", -EINVAL },
        { "-h", -EINVAL },
        { "-100y", -EINVAL },
        { "-52w 52w 1000w 1000w 1000w", -ERANGE },
        { "-99999999999w", -EINVAL },
        { "-20000000000w", -ERANGE },
        { "1:30", -EINVAL },
        { "24:00", -EINVAL },
        { "13:60", -EINVAL },
        { "13:30:61", -EINVAL },
        { "13:30:15.", -EINVAL },
        { "13:30pm", -EINVAL },
        { "13", -EINVAL },
        { "1330", -EINVAL },
        { "2026", -EINVAL },
        { "2026-11", -EINVAL },
        { "2026-11-21T", -EINVAL },
        { "2026-11-2113:30", -EINVAL },
        { "2026-11-21 13", -EINVAL },
        { "2026-11-21 13:30 +", -EINVAL },
        { "2026-11-21 13:30+1", -EINVAL },
        { "2026-11-21 13:30+15:00", -EINVAL },
        { "2026-11-21 13:30+01:", -EINVAL },
        { "2026-11-21 13:30 tomorrow", -EINVAL },
        { "2026-11-21Z", -EINVAL },
        { "2026-13-01", -EINVAL },
        { "2026-00-01", -EINVAL },
        { "2026-11-31", -EINVAL },
        { "2026-02-29", -EINVAL },
        { "2100-02-29", -EINVAL },
        { "2026-11-00", -EINVAL },
        { "21.11.2026", -EINVAL },
        { "11/21/2026", -EINVAL },
        { "1969-12-31", -ERANGE },
        { "2026-11-21 13:30Z Z", -EINVAL },
};

START_TEST(test_what_is_no_time_is_refused) {
        uint64_t usec = 12345;

        set_zone("UTC");
        ck_assert_msg(times_parse(no_times[_i].text, NOW, false, &usec) == no_times[_i].error, "'%s'",
                      no_times[_i].text);
        ck_assert_uint_eq(usec, 12345);
}
END_TEST

/* --- durations -------------------------------------------------------------------------------- */

static const struct {
        const char *text;
        int error;
        uint64_t usec;
} durations[] = {
        { "0", 0, 0 },
        { "10", 0, AT(10) },
        { "0.2", 0, 200000 },
        { "0.0000009", 0, 0 },
        { "500ms", 0, 500000 },
        { "7us", 0, 7 },
        { "1.5ms", 0, 1500 },
        { "10s", 0, AT(10) },
        { "10 s", 0, AT(10) },
        { "2m", 0, AT(120) },
        { "2min", 0, AT(120) },
        { "2 MIN", 0, AT(120) },
        { "1min 30", 0, AT(90) },
        { "1min30s", 0, AT(90) },
        { "1h 2min 3s 4ms", 0, AT(3723) + 4000 },
        { "0.5h", 0, AT(1800) },
        { "3d", 0, AT(3 * DAY) },
        { "1000w", 0, AT(INT64_C(7000) * DAY) },
        { "99999999999", -EINVAL, 0 },
        { "60000w", -ERANGE, 0 },
        { "", -EINVAL, 0 },
        { "s", -EINVAL, 0 },
        { "-1", -EINVAL, 0 },
        { "+1", -EINVAL, 0 },
        { " 1", -EINVAL, 0 },
        { "1.", -EINVAL, 0 },
        { ".5", -EINVAL, 0 },
        { "1,5", -EINVAL, 0 },
        { "1e3", -EINVAL, 0 },
        { "0x10", -EINVAL, 0 },
        { "10 apples", -EINVAL, 0 },
        { "infinity", -EINVAL, 0 },
};

START_TEST(test_durations) {
        uint64_t usec = 12345;
        int r = times_parse_duration(durations[_i].text, &usec);

        ck_assert_msg(r == durations[_i].error, "'%s': %d", durations[_i].text, r);
        ck_assert_uint_eq(usec, r == 0 ? durations[_i].usec : 12345);
}
END_TEST

Suite *suite(void) {
        Suite *s = suite_create("times");
        TCase *t = tcase_create("times");

        tcase_add_loop_test(t, test_a_time_is_understood, 0, (int)ELEMENTS(times));
        tcase_add_test(t, test_with_utc_the_readers_zone_does_not_count);
        tcase_add_loop_test(t, test_what_is_no_time_is_refused, 0, (int)ELEMENTS(no_times));
        tcase_add_loop_test(t, test_durations, 0, (int)ELEMENTS(durations));
        suite_add_tcase(s, t);
        return s;
}
