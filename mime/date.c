/* mime/date.c - RFC 5322 and IMAP dates. */
#include "mime/mime_int.h"

#include <stdio.h>
#include <time.h>

static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
static const char weekdays[] = "SunMonTueWedThuFriSat";

/* Days from civil: the proleptic Gregorian calendar counted from 1970-01-01. */
int64_t
mime_day_of(int year, int month, int day)
{
    int64_t y = year - (month <= 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t yoe = y - era * 400;
    int64_t doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void
civil_of(int64_t days, int *year, int *month, int *day)
{
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;

    *day = (int)(doy - (153 * mp + 2) / 5 + 1);
    *month = (int)(mp < 10 ? mp + 3 : mp - 9);
    *year = (int)(yoe + era * 400 + (*month <= 2));
}

static int64_t
floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

int64_t
mime_day_of_time(int64_t unix_s, int16_t tz_minutes)
{
    return floor_div(unix_s + tz_minutes * 60, 86400);
}

int16_t
mime_local_tz_minutes(int64_t unix_s)
{
    time_t t = (time_t)unix_s;
    struct tm tm;

    if (localtime_r(&t, &tm) == NULL)
        return 0;
    return (int16_t)(tm.tm_gmtoff / 60);
}

static bool
take_number(struct slice *in, size_t max_digits, int *out, size_t *digits)
{
    size_t n = 0;
    int v = 0;

    while (n < in->n && n < max_digits && in->p[n] >= '0' && in->p[n] <= '9')
        v = v * 10 + (in->p[n++] - '0');
    *in = sl_from(*in, n);
    *out = v;
    if (digits != NULL)
        *digits = n;
    return n > 0;
}

static bool
take_month(struct slice *in, int *month)
{
    if (in->n < 3)
        return false;
    for (int m = 0; m < 12; m++) {
        if (!sl_ieq(sl_head(*in, 3), sl_n(months + 3 * m, 3)))
            continue;
        *month = m + 1;
        *in = sl_from(*in, 3);
        while (in->n > 0 && sl_lower_char(in->p[0]) >= 'a' && sl_lower_char(in->p[0]) <= 'z')
            *in = sl_from(*in, 1); /* a month written out */
        return true;
    }
    return false;
}

/* "+hhmm", or a name of RFC 5322 §4.3; anything else counts as -0000. */
static int
take_zone(struct slice *in)
{
    static const struct {
        const char *name;
        int minutes;
    } zones[] = { { "EST", -300 }, { "EDT", -240 }, { "CST", -360 }, { "CDT", -300 },
                  { "MST", -420 }, { "MDT", -360 }, { "PST", -480 }, { "PDT", -420 } };
    int sign = 1, v;
    size_t digits;

    if (sl_starts(*in, '+') || sl_starts(*in, '-')) {
        sign = in->p[0] == '-' ? -1 : 1;
        *in = sl_from(*in, 1);
        if (!take_number(in, 4, &v, &digits) || digits != 4 || v / 100 > 23 || v % 100 > 59)
            return 0;
        return sign * (v / 100 * 60 + v % 100);
    }
    for (size_t i = 0; i < sizeof(zones) / sizeof(zones[0]); i++)
        if (sl_take_iprefix(in, sl_z(zones[i].name)))
            return zones[i].minutes;
    return 0;
}

static bool
take_time(struct slice *in, int *seconds)
{
    int h, m, s = 0;

    if (!take_number(in, 2, &h, NULL) || h > 23)
        return false;
    mime_skip_cfws(in);
    if (!sl_take_char(in, ':'))
        return false;
    mime_skip_cfws(in);
    if (!take_number(in, 2, &m, NULL) || m > 59)
        return false;
    mime_skip_cfws(in);
    if (sl_take_char(in, ':')) {
        mime_skip_cfws(in);
        if (!take_number(in, 2, &s, NULL) || s > 60)
            return false;
    }
    *seconds = h * 3600 + m * 60 + s;
    return true;
}

static bool
is_day(int year, int month, int day)
{
    static const int lengths[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

    if (day < 1 || day > lengths[month - 1])
        return false;
    return month != 2 || day < 29 || (year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
}

bool
mime_parse_date(struct slice text, int64_t *unix_s, int16_t *tz_minutes)
{
    int day, month, year, seconds, zone;
    size_t digits;

    mime_skip_cfws(&text);
    if (text.n > 0 && sl_lower_char(text.p[0]) >= 'a' && sl_lower_char(text.p[0]) <= 'z') {
        while (text.n > 0 && sl_lower_char(text.p[0]) >= 'a' && sl_lower_char(text.p[0]) <= 'z')
            text = sl_from(text, 1);
        mime_skip_cfws(&text);
        sl_take_char(&text, ',');
        mime_skip_cfws(&text);
    }
    if (!take_number(&text, 2, &day, NULL))
        return false;
    mime_skip_cfws(&text);
    sl_take_char(&text, '-');
    if (!take_month(&text, &month))
        return false;
    mime_skip_cfws(&text);
    sl_take_char(&text, '-');
    if (!take_number(&text, 4, &year, &digits))
        return false;
    if (digits == 2)
        year += year < 50 ? 2000 : 1900;
    else if (digits == 3)
        year += 1900;
    if (!is_day(year, month, day))
        return false;
    mime_skip_cfws(&text);
    if (!take_time(&text, &seconds))
        return false;
    mime_skip_cfws(&text);
    zone = take_zone(&text);
    *unix_s = mime_day_of(year, month, day) * 86400 + seconds - zone * 60;
    *tz_minutes = (int16_t)zone;
    return true;
}

struct civil {
    int year, month, day, hour, minute, second, weekday, zone;
    char sign;
};

static struct civil
to_civil(int64_t unix_s, int16_t tz_minutes)
{
    int64_t local = unix_s + tz_minutes * 60, days = floor_div(local, 86400);
    int in_day = (int)(local - days * 86400);
    struct civil c = { .hour = in_day / 3600, .minute = in_day / 60 % 60, .second = in_day % 60 };

    civil_of(days, &c.year, &c.month, &c.day);
    c.weekday = (int)((days % 7 + 11) % 7);
    c.sign = tz_minutes < 0 ? '-' : '+';
    c.zone = tz_minutes < 0 ? -tz_minutes : tz_minutes;
    c.zone = c.zone / 60 * 100 + c.zone % 60;
    return c;
}

const char *
mime_format_date(int64_t unix_s, int16_t tz_minutes, char *out)
{
    struct civil c = to_civil(unix_s, tz_minutes);

    snprintf(out, MIME_DATE_OCTETS, "%.3s, %d %.3s %04d %02d:%02d:%02d %c%04d",
             weekdays + 3 * c.weekday, c.day, months + 3 * (c.month - 1), c.year, c.hour, c.minute,
             c.second, c.sign, c.zone);
    return out;
}

const char *
mime_format_imap_date(int64_t unix_s, int16_t tz_minutes, char *out)
{
    struct civil c = to_civil(unix_s, tz_minutes);

    snprintf(out, MIME_DATE_OCTETS, "%02d-%.3s-%04d %02d:%02d:%02d %c%04d", c.day,
             months + 3 * (c.month - 1), c.year, c.hour, c.minute, c.second, c.sign, c.zone);
    return out;
}

bool
mime_parse_imap_date(struct slice text, int64_t *unix_s, int16_t *tz_minutes)
{
    int day, month, year, seconds, zone;
    size_t digits;

    if (text.n != 26)
        return false;
    sl_take_char(&text, ' ');
    if (!take_number(&text, 2, &day, NULL) || !sl_take_char(&text, '-') ||
        !take_month(&text, &month) || !sl_take_char(&text, '-') ||
        !take_number(&text, 4, &year, &digits) || digits != 4 || !is_day(year, month, day) ||
        !sl_take_char(&text, ' ') || !take_time(&text, &seconds) || !sl_take_char(&text, ' ') ||
        (!sl_starts(text, '+') && !sl_starts(text, '-')) || text.n != 5)
        return false;
    zone = take_zone(&text);
    if (text.n != 0)
        return false;
    *unix_s = mime_day_of(year, month, day) * 86400 + seconds - zone * 60;
    *tz_minutes = (int16_t)zone;
    return true;
}
