/* proto/xattr.c - one table says which attributes there are, in which command, and what may stand in them. */
#include "proto/xattr.h"

#include "base/utf8.h"
#include "proto/hostname.h"

enum rule { R_HOST, R_ADDR, R_PORT, R_PROTO, R_TEXT, R_LOGIN, R_SOURCE };

static const struct row {
    const char *name;
    enum rule rule;
    bool in_xclient, in_xforward;
} rows[XATTRS] = {
    [XATTR_NAME] = { "NAME", R_HOST, true, true },
    [XATTR_REVERSE_NAME] = { "REVERSE_NAME", R_HOST, true, false },
    [XATTR_ADDR] = { "ADDR", R_ADDR, true, true },
    [XATTR_PORT] = { "PORT", R_PORT, true, true },
    [XATTR_PROTO] = { "PROTO", R_PROTO, true, true },
    [XATTR_HELO] = { "HELO", R_TEXT, true, true },
    [XATTR_LOGIN] = { "LOGIN", R_LOGIN, true, false },
    [XATTR_DESTADDR] = { "DESTADDR", R_ADDR, true, false },
    [XATTR_DESTPORT] = { "DESTPORT", R_PORT, true, false },
    [XATTR_IDENT] = { "IDENT", R_TEXT, false, true },
    [XATTR_SOURCE] = { "SOURCE", R_SOURCE, false, true },
};

const char *
xattr_keyword(enum xattr_cmd cmd)
{
    return cmd == XATTR_XCLIENT
               ? "XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT"
               : "XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT";
}

static const char *
verb(enum xattr_cmd cmd)
{
    return cmd == XATTR_XCLIENT ? "XCLIENT" : "XFORWARD";
}

static const struct row *
find_row(enum xattr_cmd cmd, struct slice name)
{
    for (size_t i = 0; i < XATTRS; i++)
        if ((cmd == XATTR_XCLIENT ? rows[i].in_xclient : rows[i].in_xforward) &&
            sl_ieqz(name, rows[i].name))
            return &rows[i];
    return NULL;
}

/* ---- the value as octets ---- */

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = sl_lower_char(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* More lenient than enc_xtext_decode(): '=' and octets above 127 stand for themselves. False: no xtext. */
static bool
decode(struct slice in, char *out, size_t *n)
{
    *n = 0;
    for (size_t i = 0; i < in.n; i++) {
        int high, low;

        if (in.p[i] != '+') {
            out[(*n)++] = in.p[i];
            continue;
        }
        if (in.n - i < 3 || (high = hex_digit(in.p[i + 1])) < 0 ||
            (low = hex_digit(in.p[i + 2])) < 0)
            return false;
        out[(*n)++] = (char)(high * 16 + low);
        i += 2;
    }
    return true;
}

/* What is shown in logs and header lines must not be able to end them. */
static void
make_printable(char *p, size_t n)
{
    bool is_utf8 = utf8_is_valid(sl_n(p, n));

    for (size_t i = 0; i < n; i++)
        if ((unsigned char)p[i] < ' ' || p[i] == 127 || ((unsigned char)p[i] > 127 && !is_utf8))
            p[i] = '?';
}

static void
neuter(char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memchr(" <>()\\\";@", p[i], 9) != NULL)
            p[i] = '?';
}

/* ---- the value as what it is ---- */

static bool
is_port(struct slice s)
{
    if (s.n == 0 || s.n > XATTR_PORT_DIGITS)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return true;
}

static bool
is_right(enum xattr_cmd cmd, enum rule rule, struct slice *v)
{
    switch (rule) {
    case R_HOST:
        return hostname_is_valid(*v);
    case R_ADDR:
        if (!hostname_is_literal_addr(*v))
            return false;
        (void)sl_take_iprefix(v, SL("IPv6:"));
        return true;
    case R_PORT:
        return is_port(*v);
    case R_PROTO:
        return cmd == XATTR_XCLIENT ? sl_ieq(*v, SL("SMTP")) || sl_ieq(*v, SL("ESMTP"))
                                    : v->n <= XATTR_PROTO_OCTETS;
    case R_SOURCE:
        return sl_ieq(*v, SL("LOCAL")) || sl_ieq(*v, SL("REMOTE"));
    case R_TEXT:
    case R_LOGIN:
        return true;
    }
    return false;
}

static enum xattr_status
status_of(enum xattr_cmd cmd, const struct row *row, struct slice v)
{
    if (cmd == XATTR_XCLIENT && row->rule == R_PROTO)
        return XATTR_GIVEN;
    if (sl_ieq(v, SL("[UNAVAILABLE]")))
        return XATTR_UNAVAILABLE;
    if (cmd == XATTR_XCLIENT && row->rule == R_HOST && sl_ieq(v, SL("[TEMPUNAVAIL]")))
        return XATTR_TEMPUNAVAIL;
    return XATTR_GIVEN;
}

/* XCLIENT leaves a name's octets alone and a login's too: the first must be a host name anyway, the second may be an
 * address. */
static bool
is_neutered(enum xattr_cmd cmd, enum rule rule)
{
    return rule == R_ADDR || rule == R_TEXT ||
           (cmd == XATTR_XFORWARD && (rule == R_HOST || rule == R_PROTO));
}

const char *
xattr_parse(enum xattr_cmd cmd, struct slice word, struct arena *a, struct xattr_value *out)
{
    static const char no_room[] = "451 4.3.0 Error: out of room for this command";
    const struct row *row;
    struct slice name, raw = word, v;
    const char *reply;
    char *p;
    size_t n;

    if (!sl_take_until(&raw, '=', &name) || raw.n == 0)
        return "501 5.5.4 Error: attribute=value expected";
    if (raw.n > XATTR_VALUE_OCTETS)
        return "501 5.5.4 Error: attribute value too long";
    p = arena_alloc(a, raw.n);
    if (p == NULL)
        return no_room;
    if (!decode(raw, p, &n)) {
        memcpy(p, raw.p, raw.n);
        n = raw.n;
    }
    make_printable(p, n);
    row = find_row(cmd, name);
    if (row == NULL) {
        reply = arena_printf(a, "501 5.5.4 Bad %s attribute name: %.*s", verb(cmd), SL_ARG(name));
        return reply ? reply : no_room;
    }
    v = sl_n(p, n);
    out->attr = (enum xattr)(row - rows);
    out->status = status_of(cmd, row, v);
    out->value = SL("");
    if (out->status != XATTR_GIVEN)
        return NULL;
    if (is_neutered(cmd, row->rule))
        neuter(p, n);
    out->value = v;
    if (is_right(cmd, row->rule, &out->value))
        return NULL;
    reply = arena_printf(a, "501 5.5.4 Bad %s syntax: %.*s", row->name, SL_ARG(v));
    return reply ? reply : no_room;
}
