/* queue/transport.c - "transport:nexthop" as main.cf and transport(5) have it, to a way out. There is no master.cf: the names
 * are those of the services that it has in Debian, and "smtps", "discard", "retry" and "hold". */
#include "queue/qmgr_int.h"

#include "base/log.h"

/* Our own lmtpd: the first unix socket of listen_lmtp. */
static void
take_own(struct slice to, struct route *r)
{
    const struct conf_list *l = &qm.conf->listen_lmtp;

    (void)to;
    r->kind = ROUTE_LMTP;
    r->mailer = "lmtp";
    r->path = SL("private/dovecot-lmtp");
    for (size_t i = 0; i < l->n; i++) {
        struct slice s = sl_z(l->v[i]);

        if (sl_take_iprefix(&s, SL("unix:"))) {
            r->path = s;
            return;
        }
    }
}

static void
take_lmtp(struct slice to, struct route *r)
{
    r->mailer = "lmtp";
    if (sl_take_iprefix(&to, SL("unix:"))) {
        r->kind = ROUTE_LMTP;
        r->path = to;
        return;
    }
    sl_take_iprefix(&to, SL("inet:"));
    r->kind = ROUTE_RELAY;
    r->is_lmtp_inet = true;
    r->nexthop = to;
}

static void
take_smtp(struct slice to, struct route *r)
{
    r->kind = ROUTE_RELAY;
    r->mailer = "smtp";
    r->nexthop = to;
}

static void
take_smtps(struct slice to, struct route *r)
{
    take_smtp(to, r);
    r->is_wrapper = true;
}

static void
take_relay(struct slice to, struct route *r)
{
    take_smtp(to, r);
    r->mailer = "relay";
}

/* "5.7.1 text": an enhanced code may stand first, of the class that the transport is for. */
static void
take_text(struct slice to, struct route *r, char class, const char *dsn, const char *text)
{
    struct slice code, rest = to;

    r->dsn = sl_z(dsn);
    r->nexthop = to.n ? to : sl_z(text);
    if (sl_take_word(&rest, " ", &code) && code.n >= 5 && sl_starts(code, class) &&
        code.p[1] == '.' && sl_find_char(sl_from(code, 2), '.') != SL_NPOS) {
        r->dsn = code;
        r->nexthop = sl_trim(rest);
    }
}

static void
take_error(struct slice to, struct route *r)
{
    r->kind = ROUTE_ERROR;
    take_text(to, r, '5', "5.0.0", "mail is not accepted for this address");
}

static void
take_retry(struct slice to, struct route *r)
{
    r->kind = ROUTE_TEMP;
    take_text(to, r, '4', "4.0.0", "mail for this address is put off");
}

static void
take_discard(struct slice to, struct route *r)
{
    r->kind = ROUTE_DISCARD;
    r->dsn = SL("2.0.0");
    r->nexthop = to;
}

static void
take_hold(struct slice to, struct route *r)
{
    r->kind = ROUTE_HOLD;
    r->dsn = SL("4.0.0");
    r->nexthop = to.n ? to : SL("the transport table holds mail for this address");
}

static const struct {
    const char *name;
    void (*take)(struct slice to, struct route *r);
    bool is_text; /* what follows is for people: the domain does not stand in for it */
} transports[] = {
    { "smtp", take_smtp, false },   { "relay", take_relay, false },
    { "smtps", take_smtps, false }, { "lmtp", take_lmtp, false },
    { "virtual", take_own, false }, { "local", take_own, false },
    { "error", take_error, true },  { "retry", take_retry, true },
    { "hold", take_hold, true },    { "discard", take_discard, true },
};

void
transport_take(struct slice name, struct slice nexthop, struct slice domain, struct route *r)
{
    r->is_lmtp_inet = r->is_wrapper = false;
    for (size_t i = 0; i < sizeof(transports) / sizeof(transports[0]); i++)
        if (sl_eqz(name, transports[i].name)) {
            r->transport = transports[i].name;
            transports[i].take(nexthop.n || transports[i].is_text ? nexthop : domain, r);
            return;
        }
    r->transport = "unknown";
    r->kind = ROUTE_TEMP;
    r->dsn = SL("4.3.5");
    r->nexthop = SL("mail transport unavailable");
    log_warn("route.unknown", LOG_NONE, "transport \"%.*s\" is not known: mail for %.*s waits",
             SL_ARG(name), SL_ARG(domain));
}

void
transport_split(struct slice spec, struct slice *name, struct slice *nexthop)
{
    *nexthop = spec;
    if (!sl_take_until(nexthop, ':', name)) {
        *name = spec;
        *nexthop = SL("");
    }
}
