/* oauth/url.c - see url.h. */
#include "oauth/url.h"

#include "base/buf.h"
#include "base/enc.h"
#include "base/mem.h"
#include "core/addr.h"

#include <stdlib.h>

static bool
unescape(struct slice in, char **out)
{
    struct buf b = { 0 };

    while (in.n > 0) {
        if (!sl_take_char(&in, '%')) {
            buf_addc(&b, in.p[0]);
            in = sl_from(in, 1);
        } else if (in.n >= 2 && enc_hex_decode(&b, sl_head(in, 2)) == 0) {
            in = sl_from(in, 2);
        } else {
            buf_free(&b);
            return false;
        }
    }
    *out = b.n > 0 ? sl_dupz(buf_slice(&b)) : mem_dupz("");
    buf_wipe(&b);
    return true;
}

/* Neither blanks nor what would end a line of the request. */
static bool
is_printable(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= 0x20 || (unsigned char)s.p[i] >= 0x7f)
            return false;
    return true;
}

static bool
take_host(struct slice *in, struct slice *host)
{
    size_t n = 0;

    if (sl_take_char(in, '['))
        return sl_take_until(in, ']', host);
    while (n < in->n && (sl_is_alnum_char(in->p[n]) || strchr("-._", in->p[n])))
        n++;
    *host = sl_head(*in, n);
    *in = sl_from(*in, n);
    return n > 0;
}

/* [user:password@]host[:port] */
static bool
take_authority(struct url *u, struct slice in)
{
    size_t at = sl_rfind_char(in, '@');
    struct slice user, host;
    uint32_t port;

    if (at != SL_NPOS) {
        struct slice login = sl_head(in, at);

        in = sl_from(in, at + 1);
        if (!sl_take_until(&login, ':', &user) || !unescape(user, &u->user) ||
            !unescape(login, &u->password))
            return false;
    }
    u->authority = sl_dupz(in);
    if (!take_host(&in, &host) || host.n > URL_HOST_OCTETS)
        return false;
    memcpy(u->host, host.p, host.n);
    u->host[host.n] = '\0';
    u->port = u->is_tls ? 443 : 80;
    if (sl_take_char(&in, ':')) {
        if (!sl_to_u32(in, &port) || port == 0 || port > UINT16_MAX)
            return false;
        u->port = (uint16_t)port;
        return true;
    }
    return in.n == 0;
}

static bool
is_here(const char *host)
{
    struct addr a;

    return sl_ieqz(SL("localhost"), host) ||
           (addr_parse_ip(sl_z(host), 0, &a) == 0 && addr_is_loopback(&a));
}

static int
fill(struct url *u, struct slice in, struct err *e)
{
    size_t end;

    if (in.n > URL_OCTETS)
        return err_set(e, ERR_CONFIG, "the URL is too long");
    u->is_tls = sl_take_iprefix(&in, SL("https://"));
    if (!u->is_tls && !sl_take_iprefix(&in, SL("http://")))
        return err_set(e, ERR_CONFIG, "no URL that begins with https://");
    if (!is_printable(in) || sl_find_char(in, '#') != SL_NPOS)
        return err_set(e, ERR_CONFIG, "no URL: blanks, fragments and non-ASCII are not for it");
    for (end = 0; end < in.n && in.p[end] != '/' && in.p[end] != '?'; end++)
        ;
    if (!take_authority(u, sl_head(in, end)))
        return err_set(e, ERR_CONFIG, "no URL: what is its host and port?");
    if (!u->is_tls && !is_here(u->host))
        return err_set(
            e, ERR_CONFIG,
            "http sends tokens for everybody to read; https, or a provider on this host");
    in = sl_from(in, end);
    u->target = mem_zalloc(in.n + 2);
    if (!sl_starts(in, '/'))
        u->target[0] = '/';
    if (in.n > 0)
        memcpy(u->target + strlen(u->target), in.p, in.n);
    return 0;
}

int
url_parse(const char *text, struct url *out, struct err *e)
{
    *out = (struct url){ 0 };
    if (fill(out, sl_z(text), e) == 0)
        return 0;
    url_free(out);
    return -1;
}

void
url_free(struct url *u)
{
    free(u->authority);
    free(u->target);
    free(u->user);
    if (u->password)
        mem_wipe(u->password, strlen(u->password));
    free(u->password);
    *u = (struct url){ 0 };
}
