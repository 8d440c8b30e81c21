/* smtpd/attr.c - see attr.h. */
#include "smtpd/attr.h"

#include "base/clock.h"
#include "base/mem.h"

#include <time.h>

/* "", "_name" or "_domain" after "sender" or "recipient". p NULL: there is no address yet. */
static bool
add_address(struct slice addr, struct slice part, struct buf *out)
{
    struct slice local = addr, domain = SL("");

    if (part.n > 0 && !sl_eqz(part, "_name") && !sl_eqz(part, "_domain"))
        return false;
    if (addr.p == NULL)
        return true;
    if (addr.n > 0)
        smtp_addr_split(addr, &local, &domain);
    if (sl_eqz(part, "_domain"))
        buf_adds(out, domain);
    else if (addr.n == 0)
        buf_addz(out, "<>");
    else
        buf_adds(out, part.n > 0 ? local : addr);
    return true;
}

static void
add_time(struct buf *out)
{
    time_t now = (time_t)clock_unix_s();
    struct tm tm;
    char text[32];

    localtime_r(&now, &tm);
    strftime(text, sizeof(text), "%b %d %H:%M:%S", &tm);
    buf_addz(out, text);
}

bool
smtpd_attr(const struct smtpd_sess *s, const struct restrict_subject *about, struct slice name,
           struct buf *out)
{
    char ip[ADDR_TEXT_OCTETS];

    if (sl_eqz(name, "client"))
        buf_addz(out, s->namaddr);
    else if (sl_eqz(name, "client_address"))
        buf_addz(out, addr_ip_text(&s->peer, ip));
    else if (sl_eqz(name, "client_name"))
        buf_addz(out, s->name);
    else if (sl_eqz(name, "client_port"))
        buf_addf(out, "%u", (unsigned)s->port);
    else if (sl_eqz(name, "reverse_client_name"))
        buf_addz(out, s->reverse_name);
    else if (sl_eqz(name, "helo_name"))
        buf_addz(out, about->helo ? about->helo : s->helo ? s->helo : "");
    else if (sl_eqz(name, "server_name"))
        buf_addz(out, s->cfg->conf->myhostname);
    else if (sl_eqz(name, "localtime"))
        add_time(out);
    else if (sl_take_prefix(&name, SL("sender")))
        return add_address(about->sender, name, out);
    else if (sl_take_prefix(&name, SL("recipient")))
        return add_address(about->recipient, name, out);
    else
        return false;
    return true;
}
