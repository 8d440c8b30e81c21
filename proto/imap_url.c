/* proto/imap_url.c - see imap_url.h. */
#include "proto/imap_url.h"

#include "base/enc.h"
#include "base/utf8.h"

#include <time.h>

enum { TOKEN_MIN_OCTETS = 32 }; /* hex digits: enc-urlauth, RFC 5092 §11 */

/* ---- octets ---- */

static bool
is_alnum(char c)
{
    return sl_is_alnum_char(c);
}

/* achar of RFC 5092 §11, but for percent codes: what stands for itself in a user's name. */
static bool
is_achar(char c)
{
    return is_alnum(c) || (c != '\0' && strchr("-._~!$'()*+,&=", c) != NULL);
}

/* An '@' is to be percent-coded in enc-user, but in the access of URLAUTH clients don't. */
static bool
is_access_char(char c)
{
    return is_achar(c) || c == '@';
}

/* bchar: in a mailbox name or section. */
static bool
is_bchar(char c)
{
    return is_achar(c) || c == ':' || c == '@' || c == '/';
}

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = sl_lower_char(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Undo percent codes; what is neither `fits` nor a code is wrong. */
static enum parse_rc
decode(struct slice raw, bool (*fits)(char), struct arena *mem, struct slice *out, struct err *e)
{
    char *to = arena_alloc(mem, raw.n + 1);
    size_t n = 0;

    if (to == NULL)
        return err_parse(e, "URL too long");
    for (size_t i = 0; i < raw.n; i++) {
        int high, low;

        if (raw.p[i] != '%') {
            if (!fits(raw.p[i]))
                return err_parse(e, "an octet that must be percent-coded");
            to[n++] = raw.p[i];
            continue;
        }
        if (i + 2 >= raw.n || (high = hex_digit(raw.p[i + 1])) < 0 ||
            (low = hex_digit(raw.p[i + 2])) < 0)
            return err_parse(e, "'%%' without two hex digits");
        if (high * 16 + low == 0)
            return err_parse(e, "an octet of value zero");
        to[n++] = (char)(high * 16 + low);
        i += 2;
    }
    *out = sl_n(to, n);
    return utf8_is_valid(*out) ? PARSE_OK : err_parse(e, "not UTF-8");
}

void
imap_url_add_encoded(struct buf *out, struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (is_achar(s.p[i]) || s.p[i] == '/')
            buf_addc(out, s.p[i]);
        else
            buf_addf(out, "%%%02X", (unsigned char)s.p[i]);
}

/* The front up to one of the octets in `ends`, or all. */
static struct slice
take_span(struct slice *in, const char *ends)
{
    size_t n = 0;
    struct slice s;

    while (n < in->n && strchr(ends, in->p[n]) == NULL)
        n++;
    s = sl_head(*in, n);
    *in = sl_from(*in, n);
    return s;
}

static enum parse_rc
take_nz(struct slice *in, uint32_t *out, struct err *e)
{
    uint64_t n;

    if (!sl_take_u64(in, &n) || n == 0 || n > UINT32_MAX)
        return err_parse(e, "a number from 1 to 4294967295 is missing");
    *out = (uint32_t)n;
    return PARSE_OK;
}

/* ---- iserver: [user [";AUTH=" type] "@"] host [":" port] ---- */

static bool
is_host_char(char c)
{
    return is_achar(c) || c == ':' || c == '[' || c == ']';
}

static enum parse_rc
take_userinfo(struct slice in, struct arena *mem, struct imap_url *out, struct err *e)
{
    struct slice user = take_span(&in, ";");

    if (user.n > 0 && decode(user, is_achar, mem, &out->user, e) != PARSE_OK)
        return PARSE_BAD;
    if (in.n == 0)
        return user.n > 0 ? PARSE_OK : err_parse(e, "the user's name is empty");
    if (!sl_take_iprefix(&in, SL(";AUTH=")) || in.n == 0)
        return err_parse(e, "expected ;AUTH= and a mechanism after the user's name");
    return decode(in, is_achar, mem, &out->auth, e);
}

static enum parse_rc
take_host(struct slice in, struct arena *mem, struct imap_url *out, struct err *e)
{
    struct slice host;
    uint64_t port;

    host = sl_starts(in, '[') ? take_span(&in, "]") : take_span(&in, ":");
    if (sl_starts(host, '[')) {
        if (!sl_take_char(&in, ']'))
            return err_parse(e, "']' of an address is missing");
        host.n++;
    }
    if (host.n == 0)
        return err_parse(e, "the host's name is empty");
    if (decode(host, is_host_char, mem, &out->host, e) != PARSE_OK)
        return PARSE_BAD;
    out->host = arena_dup(mem, out->host);
    if (out->host.p == NULL)
        return err_parse(e, "URL too long");
    for (size_t i = 0; i < out->host.n; i++)
        ((char *)(uintptr_t)out->host.p)[i] = sl_lower_char(out->host.p[i]);
    if (in.n == 0)
        return PARSE_OK;
    if (!sl_take_char(&in, ':') || !sl_to_u64(in, &port) || port == 0 || port > UINT16_MAX)
        return err_parse(e, "the port is no number");
    out->port = (uint16_t)port;
    return PARSE_OK;
}

static enum parse_rc
take_server(struct slice *in, struct arena *mem, struct imap_url *out, struct err *e)
{
    struct slice server = take_span(in, "/?"), user;

    out->is_absolute = true;
    if (sl_take_until(&server, '@', &user) && take_userinfo(user, mem, out, e) != PARSE_OK)
        return PARSE_BAD;
    return take_host(server, mem, out, e);
}

/* ---- the path ---- */

/* Is there a parameter of that name? A name is not one's beginning: each ends in '='. */
static bool
take_param(struct slice *in, struct slice name)
{
    return sl_take_iprefix(in, name);
}

/* What follows parameter and mailbox: ";..." of the same segment, or "/;..." of the next. */
static void
drop_slash(struct slice *raw, struct slice rest)
{
    if (sl_starts(rest, ';') && sl_ends(*raw, '/'))
        raw->n--;
}

static enum parse_rc
take_mailbox(struct slice *in, struct arena *mem, struct imap_url *out, struct err *e)
{
    struct slice raw = take_span(in, ";");
    bool is_own_segment = sl_starts(*in, ';') && sl_ends(raw, '/');

    drop_slash(&raw, *in);
    if (raw.n == 0)
        return err_parse(e, "the mailbox's name is empty");
    if (decode(raw, is_bchar, mem, &out->mailbox, e) != PARSE_OK)
        return PARSE_BAD;
    if (!is_own_segment && take_param(in, SL(";UIDVALIDITY="))) {
        if (take_nz(in, &out->uidvalidity, e) != PARSE_OK)
            return PARSE_BAD;
        is_own_segment = sl_take_char(in, '/');
    }
    if (sl_starts(*in, ';') != is_own_segment)
        return err_parse(e, "what follows the mailbox's name is not understood");
    return PARSE_OK;
}

/* number ["." nz-number] */
static enum parse_rc
take_partial(struct slice *in, struct imap_url *out, struct err *e)
{
    out->is_partial = true;
    if (!sl_take_u64(in, &out->first))
        return err_parse(e, "the first octet of ;PARTIAL= is missing");
    if (!sl_take_char(in, '.'))
        return PARSE_OK;
    if (!sl_take_u64(in, &out->count) || out->count == 0)
        return err_parse(e, "the count of ;PARTIAL= is missing");
    return PARSE_OK;
}

/* Of a message: [;UID=n] ["/" ;SECTION=x] ["/" ;PARTIAL=n.n]; in relative forms from any of them on. */
static enum parse_rc
take_message(struct slice *in, struct arena *mem, struct imap_url *out, struct err *e)
{
    struct slice raw;

    if (take_param(in, SL(";UID="))) {
        if (take_nz(in, &out->uid, e) != PARSE_OK)
            return PARSE_BAD;
        if (!sl_take_char(in, '/'))
            return PARSE_OK;
        if (!sl_starts(*in, ';'))
            return err_parse(e, "what follows the UID is not understood");
    }
    if (take_param(in, SL(";SECTION="))) {
        raw = take_span(in, ";");
        if (sl_starts(*in, ';') && sl_ends(raw, '/')) {
            raw.n--;
            if (!sl_has_iprefix(*in, SL(";PARTIAL=")))
                return err_parse(e, "what follows the section is not understood");
        } else if (sl_has_iprefix(*in, SL(";PARTIAL="))) {
            return err_parse(e, "';PARTIAL=' without '/' before it");
        }
        if (raw.n == 0)
            return err_parse(e, "the section is empty");
        if (decode(raw, is_bchar, mem, &out->section, e) != PARSE_OK)
            return PARSE_BAD;
    }
    if (take_param(in, SL(";PARTIAL=")))
        return take_partial(in, out, e);
    return PARSE_OK;
}

/* ---- URLAUTH ---- */

static bool
take_digits(struct slice *in, size_t n, int *out)
{
    *out = 0;
    if (in->n < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (in->p[i] < '0' || in->p[i] > '9')
            return false;
        *out = *out * 10 + (in->p[i] - '0');
    }
    *in = sl_from(*in, n);
    return true;
}

/* date-time of RFC 3339 §5.6. A fraction of a second counts as none. */
static enum parse_rc
take_expire(struct slice in, struct imap_url *out, struct err *e)
{
    struct tm tm = { 0 };
    int hours = 0, minutes = 0, sign = 1;
    uint64_t fraction;
    bool is_ok;

    is_ok = take_digits(&in, 4, &tm.tm_year) && sl_take_char(&in, '-') &&
            take_digits(&in, 2, &tm.tm_mon) && sl_take_char(&in, '-') &&
            take_digits(&in, 2, &tm.tm_mday) && sl_take_iprefix(&in, SL("T")) &&
            take_digits(&in, 2, &tm.tm_hour) && sl_take_char(&in, ':') &&
            take_digits(&in, 2, &tm.tm_min) && sl_take_char(&in, ':') &&
            take_digits(&in, 2, &tm.tm_sec);
    is_ok = is_ok && tm.tm_mon >= 1 && tm.tm_mon <= 12 && tm.tm_mday >= 1 && tm.tm_mday <= 31 &&
            tm.tm_hour < 24 && tm.tm_min < 60 && tm.tm_sec <= 60;
    if (is_ok && sl_take_char(&in, '.'))
        is_ok = sl_take_u64(&in, &fraction);
    if (is_ok && !sl_take_iprefix(&in, SL("Z"))) {
        sign = sl_starts(in, '-') ? -1 : 1;
        is_ok = (sl_take_char(&in, '+') || sl_take_char(&in, '-')) && take_digits(&in, 2, &hours) &&
                sl_take_char(&in, ':') && take_digits(&in, 2, &minutes) && hours < 24 &&
                minutes < 60;
    }
    if (!is_ok || in.n > 0)
        return err_parse(e, "the date-time of ;EXPIRE= is not understood");
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    out->has_expire = true;
    out->expire_unix_s = (int64_t)timegm(&tm) - sign * (hours * 3600 + minutes * 60);
    return PARSE_OK;
}

/* access [":" mechanism ":" token]. in is the end of url. */
static enum parse_rc
take_access(struct slice url, struct slice *in, struct arena *mem, struct imap_url *out,
            struct err *e)
{
    struct slice user;
    size_t n = 0;

    while (n < in->n && (is_alnum(in->p[n]) || in->p[n] == '-' || in->p[n] == '.'))
        n++;
    if (n == 0)
        return err_parse(e, "the access of ;URLAUTH= is missing");
    out->access = sl_head(*in, n);
    *in = sl_from(*in, n);
    if (sl_take_char(in, '+')) {
        user = take_span(in, ":");
        if (user.n == 0)
            return err_parse(e, "the user of ;URLAUTH= is missing");
        if (decode(user, is_access_char, mem, &out->access_user, e) != PARSE_OK)
            return PARSE_BAD;
    }
    out->rump = sl_head(url, (size_t)(in->p - url.p));
    if (in->n == 0)
        return PARSE_OK;
    if (!sl_take_char(in, ':'))
        return err_parse(e, "the access of ;URLAUTH= is not understood");
    for (n = 0; n < in->n && (is_alnum(in->p[n]) || in->p[n] == '-' || in->p[n] == '.');)
        n++;
    out->mechanism = sl_head(*in, n);
    *in = sl_from(*in, n);
    if (n == 0 || !sl_take_char(in, ':'))
        return err_parse(e, "the mechanism of ;URLAUTH= is missing");
    for (n = 0; n < in->n && hex_digit(in->p[n]) >= 0;)
        n++;
    out->token = sl_head(*in, n);
    *in = sl_from(*in, n);
    return n >= TOKEN_MIN_OCTETS ? PARSE_OK : err_parse(e, "the token of ;URLAUTH= is too short");
}

static enum parse_rc
take_urlauth(struct slice url, struct slice *in, struct arena *mem, struct imap_url *out,
             struct err *e)
{
    bool may_have = out->mailbox.p != NULL && out->uid != 0 && sl_has_iprefix(url, SL("imap://"));

    if (!may_have)
        return err_parse(e, "URLAUTH is for absolute URLs of messages");
    if (take_param(in, SL(";EXPIRE=")) && take_expire(take_span(in, ";"), out, e) != PARSE_OK)
        return PARSE_BAD;
    if (!take_param(in, SL(";URLAUTH=")))
        return err_parse(e, "expected ;URLAUTH=");
    return take_access(url, in, mem, out, e);
}

/* ---- all ---- */

/* "imap:", or some other scheme: before any '/', '?' or ';' there is a colon. */
static bool
has_scheme(struct slice url)
{
    struct slice first = take_span(&url, ":/?;");

    return first.n > 0 && sl_starts(url, ':');
}

static void
take_base(const struct imap_url *base, struct imap_url *out)
{
    if (out->mailbox.p != NULL || base == NULL)
        return;
    out->mailbox = base->mailbox;
    out->uidvalidity = base->uidvalidity;
    if (out->uid == 0 && out->query.p == NULL)
        out->uid = base->uid;
}

static enum parse_rc
take_path(struct slice url, struct slice in, const struct imap_url *base, struct arena *mem,
          struct imap_url *out, struct err *e)
{
    bool is_rooted = sl_take_char(&in, '/');

    if (in.n > 0 && !sl_starts(in, ';') && !sl_starts(in, '?')) {
        if (sl_starts(in, '/'))
            return err_parse(e, "the mailbox's name begins with '/'");
        if (take_mailbox(&in, mem, out, e) != PARSE_OK)
            return PARSE_BAD;
    } else if (in.n > 0 && (is_rooted || out->is_absolute)) {
        return err_parse(e, "the mailbox's name is empty");
    }
    if (take_message(&in, mem, out, e) != PARSE_OK)
        return PARSE_BAD;
    if (!out->is_absolute && !is_rooted)
        take_base(base, out);
    if (in.n > 0 && take_urlauth(url, &in, mem, out, e) != PARSE_OK)
        return PARSE_BAD;
    return in.n == 0 ? PARSE_OK : err_parse(e, "the end is not understood");
}

enum parse_rc
imap_url_parse(struct slice url, const struct imap_url *base, struct arena *mem,
               struct imap_url *out, struct err *e)
{
    struct slice in = url, path;

    *out = (struct imap_url){ 0 };
    if (url.n > IMAP_URL_MAX_OCTETS)
        return err_parse(e, "URL too long");
    for (size_t i = 0; i < url.n; i++)
        if (url.p[i] <= ' ' || url.p[i] >= 0x7f || url.p[i] == '#')
            return err_parse(e, "an octet that must be percent-coded");
    if (sl_take_iprefix(&in, SL("imap://")) || sl_take_prefix(&in, SL("//"))) {
        if (take_server(&in, mem, out, e) != PARSE_OK)
            return PARSE_BAD;
    } else if (has_scheme(in)) {
        return err_parse(e, "no IMAP URL");
    }
    path = take_span(&in, "?");
    if (sl_take_char(&in, '?')) {
        if (in.n == 0)
            return err_parse(e, "the query is empty");
        out->query = in;
    }
    if (take_path(sl_head(url, (size_t)(path.p + path.n - url.p)), path, base, mem, out, e) !=
        PARSE_OK)
        return PARSE_BAD;
    if (out->query.p != NULL && (out->uid != 0 || out->section.p != NULL || out->is_partial))
        return err_parse(e, "a query of a message");
    return PARSE_OK;
}
