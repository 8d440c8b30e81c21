/* cli/quota_units.c - see quota_units.h. */
#include "cli/quota_units.h"

#include <stdio.h>

enum { FRACTION_DIGITS = 3 };
static const char units[] = "BKMGT";

bool
quota_parse_size(struct slice text, int64_t *octets)
{
    uint64_t n, fraction = 0, of = 1, unit = 1;
    int shift = 0;

    if (!sl_take_u64(&text, &n))
        return false;
    if (sl_take_char(&text, '.')) {
        while (text.n > 0 && text.p[0] >= '0' && text.p[0] <= '9' && of < 1000) {
            fraction = fraction * 10 + (uint64_t)(text.p[0] - '0');
            of *= 10;
            text = sl_from(text, 1);
        }
        if (of == 1)
            return false;
    }
    if (text.n > 0) {
        for (shift = 0; units[shift] != '\0'; shift++)
            if (sl_lower_char(text.p[0]) == sl_lower_char(units[shift]))
                break;
        if (units[shift] == '\0')
            return false;
        text = sl_from(text, 1);
        if (text.n > 0 && shift > 0 && sl_lower_char(text.p[0]) == 'b')
            text = sl_from(text, 1); /* "GB" */
    }
    unit <<= 10 * shift;
    if (text.n > 0 || (of > 1 && shift == 0) || n > (uint64_t)INT64_MAX / unit - 1)
        return false;
    *octets = (int64_t)(n * unit + fraction * unit / of);
    return true;
}

const char *
quota_size_text(int64_t octets, char out[QUOTA_SIZE_TEXT])
{
    double v = (double)octets;
    int at = 0;

    while (v >= 1024 && at < 4) {
        v /= 1024;
        at++;
    }
    if (at == 0)
        snprintf(out, QUOTA_SIZE_TEXT, "%lld", (long long)octets);
    else if (v >= 100 || v == (double)(int64_t)v)
        snprintf(out, QUOTA_SIZE_TEXT, "%.0f%c", v, units[at]);
    else
        snprintf(out, QUOTA_SIZE_TEXT, "%.1f%c", v, units[at]);
    return out;
}
