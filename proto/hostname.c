/* proto/hostname.c */
#include "proto/hostname.h"

#include "base/utf8.h"
#include "proto/idn.h"

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool
check_labels(struct slice s, bool with_utf8)
{
    size_t label = 0;
    bool all_digits = true;

    if (s.n == 0 || s.n > HOSTNAME_OCTETS)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool is_last = i + 1 == s.n;

        if (c == '.') {
            if (label == 0 || is_last)
                return false;
            label = 0;
            continue;
        }
        if (c == '-') {
            if (label == 0 || is_last || s.p[i + 1] == '.')
                return false;
        } else if (!sl_is_alnum_char(c) && c != '_' && !(with_utf8 && (unsigned char)c > 127)) {
            return false;
        }
        if (!is_digit(c))
            all_digits = false;
        if (++label > HOSTNAME_LABEL_OCTETS)
            return false;
    }
    return !all_digits;
}

bool
hostname_is_valid(struct slice name)
{
    return check_labels(name, false);
}

bool
hostname_is_valid_utf8(struct slice name)
{
    struct idn d;

    if (!utf8_is_ascii(name) && idn_forms(name, &d))
        return hostname_is_valid(sl_z(d.ascii));
    return check_labels(name, true) && utf8_is_valid(name);
}

bool
hostname_is_ipv4(struct slice text)
{
    struct slice in = text, part;
    uint64_t v;
    bool starts_zero = false, rest_zero = true;

    for (int i = 0; i < 4; i++) {
        if (i < 3 ? !sl_take_until(&in, '.', &part) : (part = in, false))
            return false;
        if (part.n == 0 || !sl_to_u64(part, &v) || v > 255)
            return false;
        if (i == 0)
            starts_zero = v == 0;
        else if (v != 0)
            rest_zero = false;
    }
    return !starts_zero || rest_zero;
}

/* Hex digits at the front. */
static size_t
hex_span(struct slice s)
{
    size_t n = 0;

    while (n < s.n && (is_digit(s.p[n]) || (s.p[n] >= 'a' && s.p[n] <= 'f') ||
                       (s.p[n] >= 'A' && s.p[n] <= 'F')))
        n++;
    return n;
}

/* Eight groups, or fewer with one "::"; the last two may be an IPv4 address (RFC 4291 §2.2). */
bool
hostname_is_ipv6(struct slice text)
{
    struct slice in = text;
    unsigned groups = 0;
    bool has_gap = false, after_colon = false;

    if (sl_take_prefix(&in, SL("::")))
        has_gap = true;
    else if (sl_starts(in, ':'))
        return false;
    while (in.n) {
        size_t n = hex_span(in);

        if (n < in.n && in.p[n] == '.') {
            if (!hostname_is_ipv4(in))
                return false;
            groups += 2;
            after_colon = false;
            in = sl_from(in, in.n);
            break;
        }
        if (n == 0 || n > 4)
            return false;
        groups++;
        after_colon = false;
        in = sl_from(in, n);
        if (in.n == 0)
            break;
        if (sl_take_prefix(&in, SL("::"))) {
            if (has_gap)
                return false;
            has_gap = true;
        } else if (sl_take_char(&in, ':')) {
            after_colon = true;
        } else {
            return false;
        }
    }
    return !after_colon && (has_gap ? groups <= 7 : groups == 8);
}

bool
hostname_is_literal_addr(struct slice text)
{
    return sl_take_iprefix(&text, SL("IPv6:")) ? hostname_is_ipv6(text) : hostname_is_ipv4(text);
}

bool
hostname_is_literal(struct slice text)
{
    return text.n > 2 && sl_starts(text, '[') && sl_ends(text, ']') &&
           hostname_is_literal_addr(sl_n(text.p + 1, text.n - 2));
}

struct slice
hostname_trim_dot(struct slice name)
{
    if (name.n > 1 && sl_ends(name, '.') && name.p[name.n - 2] != '.')
        name.n--;
    return name;
}
