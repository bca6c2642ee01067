/* SPDX-License-Identifier: Apache-2.0 */
/* Knows how people write times and durations. Reads no clock.
 *
 * The trap: mktime() takes the 30th of February for the 2nd of March. What is not in the calendar is no time. */

#include "times.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "util.h"

#define USEC_MAX (UINT64_C(1000) * 366 * 86400 * USEC_PER_SEC)

/* --- pieces ----------------------------------------------------------------------------------- */

/* What is left to read; each of the functions below moves on, or stays where it was and returns false. */
typedef const char *Reader;

static void skip_blanks(Reader *at) {
        while (**at == ' ')
                ++*at;
}

static bool skip_char(Reader *at, char c) {
        if (**at != c)
                return false;
        ++*at;
        return true;
}

/* A word of letters, whatever their case, that is not the beginning of a longer one. */
static bool skip_word(Reader *at, const char *word) {
        size_t n = strlen(word);

        if (strncasecmp(*at, word, n) != 0 || isalpha((unsigned char)(*at)[n]))
                return false;
        *at += n;
        return true;
}

/* Exactly `n_digits` digits. */
static bool read_digits(Reader *at, size_t n_digits, int *ret) {
        int value = 0;

        for (size_t i = 0; i < n_digits; i++) {
                if (!isdigit((unsigned char)(*at)[i]))
                        return false;
                value = 10 * value + ((*at)[i] - '0');
        }
        *at += n_digits;
        *ret = value;
        return true;
}

/* What stands behind a decimal point, if one is there, as microseconds; more digits than six are dropped. */
static bool read_fraction(Reader *at, uint64_t *ret) {
        uint64_t unit = USEC_PER_SEC;
        Reader after = *at;

        *ret = 0;
        if (!skip_char(&after, '.'))
                return true;
        if (!isdigit((unsigned char)*after))
                return false;
        for (; isdigit((unsigned char)*after); after++) {
                unit /= 10;
                *ret += (uint64_t)(*after - '0') * unit;
        }
        *at = after;
        return true;
}

/* A decimal number as millionths. */
static bool read_decimal(Reader *at, uint64_t *ret) {
        Reader after = *at;
        uint64_t whole = 0, fraction;

        if (!isdigit((unsigned char)*after))
                return false;
        for (; isdigit((unsigned char)*after); after++) {
                if (whole > USEC_MAX / USEC_PER_SEC)
                        return false;
                whole = 10 * whole + (uint64_t)(*after - '0');
        }
        if (whole > USEC_MAX / USEC_PER_SEC || !read_fraction(&after, &fraction))
                return false;
        *ret = whole * USEC_PER_SEC + fraction;
        *at = after;
        return true;
}

/* --- durations -------------------------------------------------------------------------------- */

static const struct {
        const char *word;
        uint64_t usec;
} units[] = {
        { "us", 1 },
        { "ms", USEC_PER_MSEC },
        { "s", USEC_PER_SEC },
        { "sec", USEC_PER_SEC },
        { "second", USEC_PER_SEC },
        { "seconds", USEC_PER_SEC },
        { "m", 60 * USEC_PER_SEC },
        { "min", 60 * USEC_PER_SEC },
        { "minute", 60 * USEC_PER_SEC },
        { "minutes", 60 * USEC_PER_SEC },
        { "h", 3600 * USEC_PER_SEC },
        { "hour", 3600 * USEC_PER_SEC },
        { "hours", 3600 * USEC_PER_SEC },
        { "d", 86400 * USEC_PER_SEC },
        { "day", 86400 * USEC_PER_SEC },
        { "days", 86400 * USEC_PER_SEC },
        { "w", 7 * 86400 * USEC_PER_SEC },
        { "week", 7 * 86400 * USEC_PER_SEC },
        { "weeks", 7 * 86400 * USEC_PER_SEC },
};

/* 0: none is there. */
static uint64_t read_unit(Reader *at) {
        for (size_t i = 0; i < ELEMENTS(units); i++)
                if (skip_word(at, units[i].word))
                        return units[i].usec;
        return 0;
}

/* One number with its unit; seconds without one are for the last, as in "1min 30". */
static int read_part(Reader *at, uint64_t *ret) {
        uint64_t millionths, unit, usec;

        if (!read_decimal(at, &millionths))
                return -EINVAL;
        skip_blanks(at);
        unit = read_unit(at);
        if (unit == 0) {
                if (isalnum((unsigned char)**at))
                        return -EINVAL;
                unit = USEC_PER_SEC;
        }
        if (__builtin_mul_overflow(millionths / USEC_PER_SEC, unit, &usec) || usec > USEC_MAX)
                return -ERANGE;
        *ret = usec + millionths % USEC_PER_SEC * unit / USEC_PER_SEC;
        return 0;
}

static int read_duration(Reader *at, uint64_t *ret) {
        uint64_t sum = 0;

        do {
                uint64_t part;
                int r = read_part(at, &part);

                if (r < 0)
                        return r;
                sum += part;
                if (sum > USEC_MAX)
                        return -ERANGE;
                skip_blanks(at);
        } while (isdigit((unsigned char)**at));
        *ret = sum;
        return 0;
}

int times_parse_duration(const char *text, uint64_t *ret) {
        Reader at = text;
        uint64_t usec;
        int r = read_duration(&at, &usec);

        if (r < 0)
                return r;
        if (*at != '\0')
                return -EINVAL;
        *ret = usec;
        return 0;
}

/* --- dates ------------------------------------------------------------------------------------ */

typedef struct Moment {
        struct tm tm;
        uint64_t fraction_usec;
        bool has_zone;
        int zone_sec; /* east of Greenwich */
} Moment;

static bool is_in_calendar(int year, int month, int day) {
        static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
        bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

        return month >= 1 && month <= 12 && day >= 1 && day <= days[month - 1] + (is_leap && month == 2);
}

static bool read_date(Reader *at, Moment *moment) {
        Reader after = *at;
        int year, month, day;

        if (!read_digits(&after, 4, &year) || !skip_char(&after, '-') || !read_digits(&after, 2, &month) ||
            !skip_char(&after, '-') || !read_digits(&after, 2, &day) || !is_in_calendar(year, month, day))
                return false;
        moment->tm.tm_year = year - 1900;
        moment->tm.tm_mon = month - 1;
        moment->tm.tm_mday = day;
        *at = after;
        return true;
}

/* HH:MM, HH:MM:SS, HH:MM:SS.ffffff. There are leap seconds. */
static bool read_clock(Reader *at, Moment *moment) {
        Reader after = *at;
        int hour, minute, second = 0;

        if (!read_digits(&after, 2, &hour) || !skip_char(&after, ':') || !read_digits(&after, 2, &minute))
                return false;
        if (skip_char(&after, ':') &&
            (!read_digits(&after, 2, &second) || !read_fraction(&after, &moment->fraction_usec)))
                return false;
        if (hour > 23 || minute > 59 || second > 60)
                return false;
        moment->tm.tm_hour = hour;
        moment->tm.tm_min = minute;
        moment->tm.tm_sec = second;
        *at = after;
        return true;
}

/* Z, +01:00, +0100, +01. */
static bool read_zone(Reader *at, Moment *moment) {
        Reader after = *at;
        int sign, hours, minutes = 0;

        if (skip_char(&after, 'Z') || skip_word(&after, "UTC")) {
                moment->has_zone = true;
                *at = after;
                return true;
        }
        sign = skip_char(&after, '+') ? 1 : skip_char(&after, '-') ? -1 : 0;
        if (sign == 0 || !read_digits(&after, 2, &hours))
                return false;
        if (skip_char(&after, ':') && !isdigit((unsigned char)*after))
                return false;
        if (isdigit((unsigned char)*after) && !read_digits(&after, 2, &minutes))
                return false;
        if (hours > 14 || minutes > 59)
                return false;
        moment->has_zone = true;
        moment->zone_sec = sign * (hours * 3600 + minutes * 60);
        *at = after;
        return true;
}

/* The day that `now_usec` is in, or another, from its begin. */
static void set_day(Moment *moment, uint64_t now_usec, bool is_utc, int n_days) {
        time_t seconds = (time_t)(now_usec / USEC_PER_SEC);
        struct tm tm = { 0 };

        if (is_utc)
                gmtime_r(&seconds, &tm);
        else
                localtime_r(&seconds, &tm);
        moment->tm.tm_year = tm.tm_year;
        moment->tm.tm_mon = tm.tm_mon;
        moment->tm.tm_mday = tm.tm_mday + n_days; /* the 0th is the last of the month before */
}

static int moment_to_usec(const Moment *moment, bool is_utc, uint64_t *ret) {
        struct tm tm = moment->tm;
        time_t seconds;

        tm.tm_isdst = -1;
        seconds = moment->has_zone || is_utc ? timegm(&tm) - moment->zone_sec : mktime(&tm);
        if (seconds < 0)
                return -ERANGE;
        *ret = (uint64_t)seconds * USEC_PER_SEC + moment->fraction_usec;
        return 0;
}

/* A day, a time of the day or both, perhaps with a zone. */
static int read_moment(const char *text, uint64_t now_usec, bool is_utc, uint64_t *ret) {
        Moment moment = { 0 };
        Reader at = text;
        bool has_day = true, needs_clock, has_clock;

        if (skip_word(&at, "yesterday"))
                set_day(&moment, now_usec, is_utc, -1);
        else if (skip_word(&at, "today"))
                set_day(&moment, now_usec, is_utc, 0);
        else
                has_day = read_date(&at, &moment);
        if (!has_day)
                set_day(&moment, now_usec, is_utc, 0);
        else if (*at != '\0' && *at != ' ' && *at != 'T')
                return -EINVAL;
        needs_clock = !has_day || skip_char(&at, 'T');
        skip_blanks(&at);
        has_clock = read_clock(&at, &moment);
        if (needs_clock && !has_clock)
                return -EINVAL;
        skip_blanks(&at);
        if (has_clock && *at != '\0' && !read_zone(&at, &moment))
                return -EINVAL;
        if (*at != '\0')
                return -EINVAL;
        return moment_to_usec(&moment, is_utc, ret);
}

/* --- all of it -------------------------------------------------------------------------------- */

static int read_unix(const char *text, uint64_t *ret) {
        Reader at = text;
        uint64_t usec;

        if (!read_decimal(&at, &usec) || *at != '\0')
                return -EINVAL;
        *ret = usec;
        return 0;
}

/* -EINVAL also where it is no duration at all, so that others may have a try. */
static int read_past(const char *text, uint64_t now_usec, uint64_t *ret) {
        Reader at = text;
        bool has_sign = skip_char(&at, '-');
        uint64_t usec;
        int r = read_duration(&at, &usec);

        if (r < 0)
                return r;
        if (!skip_word(&at, "ago") && !has_sign)
                return -EINVAL;
        if (*at != '\0')
                return -EINVAL;
        if (usec > now_usec)
                return -ERANGE;
        *ret = now_usec - usec;
        return 0;
}

int times_parse(const char *text, uint64_t now_usec, bool is_utc, uint64_t *ret) {
        int r;

        while (*text == ' ')
                text++;
        if (strcasecmp(text, "now") == 0) {
                *ret = now_usec;
                return 0;
        }
        if (text[0] == '@')
                return read_unix(text + 1, ret);
        r = read_past(text, now_usec, ret);
        return r == -EINVAL ? read_moment(text, now_usec, is_utc, ret) : r;
}
