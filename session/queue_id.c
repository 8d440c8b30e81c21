/* session/queue_id.c - see queue_id.h. */
#include "session/queue_id.h"

/* 52 characters: digits and consonants; the last, 'z', ends the time and so is no digit after it. */
static const char digits[] = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz";

enum { TIME_BASE = 52, TAIL_BASE = 51, US_DIGITS = 4, SECONDS_DIGITS = 6, US_PER_S = 1000000 };

/* Write v in this base, at least `least` digits, at out; the number of digits. */
static size_t
put_number(char *out, uint64_t v, unsigned base, size_t least)
{
    char rev[64];
    size_t n = 0;

    for (uint64_t left = v; n == 0 || left != 0 || n < least; left /= base)
        rev[n++] = digits[left % base];
    for (size_t i = 0; i < n; i++)
        out[i] = rev[n - 1 - i];
    return n;
}

static bool
get_number(struct slice s, unsigned base, uint64_t *out)
{
    uint64_t v = 0;

    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        const char *at = s.p[i] ? strchr(digits, s.p[i]) : NULL;
        uint64_t digit;

        if (at == NULL || (digit = (uint64_t)(at - digits)) >= base)
            return false;
        if (v > (UINT64_MAX - digit) / base)
            return false;
        v = v * base + digit;
    }
    *out = v;
    return true;
}

void
queue_id_format(int64_t unix_us, uint64_t counter, uint32_t db_bits, char out[QUEUE_ID_TEXT_OCTETS])
{
    uint64_t us = unix_us > 0 ? (uint64_t)unix_us : 0;
    uint64_t tail = (counter & ((1ULL << QUEUE_ID_COUNTER_BITS) - 1)) << QUEUE_ID_DB_BITS |
                    (db_bits & ((1U << QUEUE_ID_DB_BITS) - 1));
    size_t n = put_number(out, us / US_PER_S, TIME_BASE, SECONDS_DIGITS);

    n += put_number(out + n, us % US_PER_S, TIME_BASE, US_DIGITS);
    out[n++] = 'z';
    n += put_number(out + n, tail, TAIL_BASE, 1);
    out[n] = '\0';
}

bool
queue_id_parse(struct slice id, int64_t *unix_us, uint64_t *counter, uint32_t *db_bits)
{
    size_t z = sl_rfind_char(id, 'z');
    uint64_t s, us, tail;

    if (id.n >= QUEUE_ID_TEXT_OCTETS || z == SL_NPOS || z < SECONDS_DIGITS + US_DIGITS)
        return false;
    if (!get_number(sl_head(id, z - US_DIGITS), TIME_BASE, &s) || s > INT64_MAX / US_PER_S - 1 ||
        !get_number(sl_n(id.p + z - US_DIGITS, US_DIGITS), TIME_BASE, &us) ||
        !get_number(sl_from(id, z + 1), TAIL_BASE, &tail))
        return false;
    if (unix_us)
        *unix_us = (int64_t)(s * US_PER_S + us);
    if (counter)
        *counter = tail >> QUEUE_ID_DB_BITS;
    if (db_bits)
        *db_bits = (uint32_t)(tail & ((1U << QUEUE_ID_DB_BITS) - 1));
    return true;
}
