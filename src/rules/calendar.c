/* Dates of the proleptic Gregorian calendar in UTC, as milliseconds since 1970. */
#include <math.h>
#include <stdio.h>

#include "rules/api.h"

#define DAY_MS 86400000LL

struct date {
    int64_t year;
    int month; /* 1 to 12 */
    int day;   /* 1 to 31 */
};

static int64_t floor_div(int64_t number, int64_t by)
{
    return number / by - (number % by < 0);
}

static bool is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int days_in_month(int64_t year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

static int64_t days_before_year(int64_t year)
{
    int64_t full = year - 1;
    return year * 365 + floor_div(full, 4) - floor_div(full, 100) + floor_div(full, 400);
}

static int64_t days_of(struct date date)
{
    int64_t days = days_before_year(date.year) - days_before_year(1970) + date.day - 1;
    for (int month = 1; month < date.month; month++)
        days += days_in_month(date.year, month);
    return days;
}

static struct date date_of(int64_t days)
{
    struct date date = {1970 + floor_div(days * 400, 146097), 1, 1};
    while (days_of((struct date){date.year, 1, 1}) > days)
        date.year--;
    while (days_of((struct date){date.year + 1, 1, 1}) <= days)
        date.year++;
    int64_t rest = days - days_of((struct date){date.year, 1, 1});
    while (rest >= days_in_month(date.year, date.month)) {
        rest -= days_in_month(date.year, date.month);
        date.month++;
    }
    date.day = (int)rest + 1;
    return date;
}

bool calendar_has(double ms)
{
    return ms >= (double)CALENDAR_MIN_MS && ms <= (double)CALENDAR_MAX_MS && ms == floor(ms);
}

void calendar_format_iso(int64_t ms, char out[CALENDAR_ISO_SIZE])
{
    int64_t days = floor_div(ms, DAY_MS);
    int rest = (int)(ms - days * DAY_MS);
    struct date date = date_of(days);
    snprintf(out, CALENDAR_ISO_SIZE, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", (int)date.year,
             date.month, date.day, rest / 3600000, rest / 60000 % 60, rest / 1000 % 60,
             rest % 1000);
}

/* Exactly `n` digits at *text. */
static bool read_digits(const char **text, int n, int *number)
{
    *number = 0;
    for (int i = 0; i < n; i++, (*text)++) {
        if (**text < '0' || **text > '9')
            return false;
        *number = *number * 10 + (**text - '0');
    }
    return true;
}

static bool read_char(const char **text, char wanted)
{
    if (**text != wanted)
        return false;
    (*text)++;
    return true;
}

/* Digits after the point; those beyond the third are dropped. */
static bool read_fraction(const char **text, int *ms)
{
    *ms = 0;
    if (!read_char(text, '.'))
        return true;
    int n = 0;
    for (; **text >= '0' && **text <= '9'; (*text)++, n++)
        if (n < 3)
            *ms = *ms * 10 + (**text - '0');
    for (int i = n; i < 3; i++)
        *ms *= 10;
    return n > 0;
}

static bool read_time(const char **text, int64_t *ms)
{
    int hour, minute, second, fraction;
    if (!read_digits(text, 2, &hour) || !read_char(text, ':') || !read_digits(text, 2, &minute) ||
        !read_char(text, ':') || !read_digits(text, 2, &second) || !read_fraction(text, &fraction))
        return false;
    *ms = ((hour * 60 + minute) * 60 + second) * 1000LL + fraction;
    return hour < 24 && minute < 60 && second < 60;
}

/* "", "Z", "+01:00", "-0130", "+01"; to the end of the text. */
static bool read_zone(const char **text, int64_t *ms)
{
    *ms = 0;
    if (**text == '+' || **text == '-') {
        int sign = *(*text)++ == '-' ? -1 : 1;
        int hour, minute = 0;
        if (!read_digits(text, 2, &hour))
            return false;
        read_char(text, ':');
        if (**text != '\0' && !read_digits(text, 2, &minute))
            return false;
        *ms = sign * (hour * 60 + minute) * 60000LL;
        return hour < 24 && minute < 60 && **text == '\0';
    }
    read_char(text, 'Z');
    return **text == '\0';
}

bool calendar_parse_iso(const char *text, int64_t *ms)
{
    int year, month, day;
    if (!read_digits(&text, 4, &year) || !read_char(&text, '-') || !read_digits(&text, 2, &month) ||
        !read_char(&text, '-') || !read_digits(&text, 2, &day) || month < 1 || month > 12 ||
        day < 1 || day > days_in_month(year, month))
        return false;
    int64_t time_ms = 0, zone_ms = 0;
    if (*text == 'T' || *text == ' ') {
        text++;
        if (!read_time(&text, &time_ms) || !read_zone(&text, &zone_ms))
            return false;
    } else if (*text != '\0') {
        return false;
    }
    *ms = days_of((struct date){year, month, day}) * DAY_MS + time_ms - zone_ms;
    return true;
}

int64_t calendar_add_months(int64_t ms, int64_t months)
{
    int64_t days = floor_div(ms, DAY_MS);
    struct date date = date_of(days);
    int64_t month = date.year * 12 + date.month - 1 + months;
    date.year = floor_div(month, 12);
    date.month = (int)(month - date.year * 12) + 1;
    int last = days_in_month(date.year, date.month);
    if (date.day > last)
        date.day = last;
    return days_of(date) * DAY_MS + (ms - days * DAY_MS);
}
