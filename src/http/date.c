/* SPDX-License-Identifier: MIT */
/* Dates of HTTP (RFC 9110, 5.6.7), without the C library's time zones and locales. */
#include <stdio.h>
#include <string.h>

#include "http/text.h"

static const char MONTHS[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
static const char DAYS[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};

#define DAY_S 86400
#define YEAR_MAX 9999
#define TEXT_BYTES_MAX 40u

/* Days since 1970-01-01 of a date in the Gregorian calendar, by Howard Hinnant's
 * days_from_civil: years begin in March, so that the leap day is the last. */
static int64_t days_from_date(int64_t year, int month, int day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static void date_from_days(int64_t days, int *year, int *month, int *day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t doe = days - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    *day = (int)(doy - (153 * mp + 2) / 5 + 1);
    *month = (int)(mp < 10 ? mp + 3 : mp - 9);
    *year = (int)(yoe + era * 400 + (*month <= 2));
}

void http_date_write(int64_t unix_s, char out[HTTP_DATE_BYTES])
{
    static const int64_t latest_s = 253402300799; /* the end of the year 9999 */
    int year, month, day;
    int64_t t = unix_s < 0 ? 0 : unix_s > latest_s ? latest_s : unix_s;
    int s = (int)(t % DAY_S);
    date_from_days(t / DAY_S, &year, &month, &day);
    snprintf(out, HTTP_DATE_BYTES, "%s, %02d %s %04d %02d:%02d:%02d GMT", DAYS[(t / DAY_S + 4) % 7],
             day, MONTHS[month - 1], year, s / 3600, s / 60 % 60, s % 60);
}

static int month_of(const char *name)
{
    for (int i = 0; i < 12; i++)
        if (strcmp(MONTHS[i], name) == 0)
            return i + 1;
    return 0;
}

struct stamp {
    char month[4];
    int year, day, hour, minute, second;
};

/* The three forms; each returns whether all of the text was of it. */
static bool read_fixdate(const char *text, struct stamp *t)
{
    int n = 0;
    return sscanf(text, "%*3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d GMT%n", &t->day, t->month,
                  &t->year, &t->hour, &t->minute, &t->second, &n) == 6 &&
           n && !text[n];
}

static bool read_rfc850(const char *text, struct stamp *t)
{
    int n = 0;
    bool ok = sscanf(text, "%*9[A-Za-z], %2d-%3[A-Za-z]-%2d %2d:%2d:%2d GMT%n", &t->day, t->month,
                     &t->year, &t->hour, &t->minute, &t->second, &n) == 6 &&
              n && !text[n];
    if (ok)
        t->year += t->year < 70 ? 2000 : 1900;
    return ok;
}

static bool read_asctime(const char *text, struct stamp *t)
{
    int n = 0;
    return sscanf(text, "%*3[A-Za-z] %3[A-Za-z] %2d %2d:%2d:%2d %4d%n", t->month, &t->day, &t->hour,
                  &t->minute, &t->second, &t->year, &n) == 6 &&
           n && !text[n];
}

static bool stamp_is_good(const struct stamp *t)
{
    return month_of(t->month) && t->day >= 1 && t->day <= 31 && t->hour >= 0 && t->hour <= 23 &&
           t->minute >= 0 && t->minute <= 59 && t->second >= 0 && t->second <= 60 &&
           t->year >= 1970 && t->year <= YEAR_MAX;
}

bool http_date_read(const char *text, int64_t *unix_s)
{
    struct stamp t = {0};
    if (strlen(text) > TEXT_BYTES_MAX ||
        !(read_fixdate(text, &t) || read_rfc850(text, &t) || read_asctime(text, &t)) ||
        !stamp_is_good(&t))
        return false;
    *unix_s = days_from_date(t.year, month_of(t.month), t.day) * DAY_S + t.hour * 3600 +
              t.minute * 60 + t.second;
    return true;
}
