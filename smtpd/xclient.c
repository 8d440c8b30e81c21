/* smtpd/xclient.c - XCLIENT: a client that may do so says who it speaks for; then the session begins anew
 * (XCLIENT_README). Replies and their order are Postfix's. */
#include "smtpd/smtpd.h"

#include "base/mem.h"
#include "proto/xattr.h"

#include <stdlib.h>

/* What the words say. Nothing is changed before all of them are understood. */
struct wishes {
    struct xattr_value v[XATTRS];
    bool given[XATTRS];
};

static void
refuse(struct smtp_sess *smtp, const char *reply)
{
    smtp_reply(smtp, "%s", reply);
    smtp_sess_done(smtp, false);
}

static void
set_text(char **where, struct slice text)
{
    free(*where);
    *where = text.n ? sl_dupz(text) : NULL;
}

static enum peer_status
status_of(const struct xattr_value *v)
{
    return v->status == XATTR_GIVEN         ? PEER_OK
           : v->status == XATTR_TEMPUNAVAIL ? PEER_TEMP
                                            : PEER_PERM;
}

static struct slice
name_of(const struct xattr_value *v)
{
    return v->status == XATTR_GIVEN ? v->value : SL("unknown");
}

static void
set_names(struct smtpd_sess *s, const struct wishes *w)
{
    const struct xattr_value *name = &w->v[XATTR_NAME], *reverse = &w->v[XATTR_REVERSE_NAME];

    if (w->given[XATTR_NAME]) {
        set_text(&s->name, name_of(name));
        s->name_status = status_of(name);
    }
    if (w->given[XATTR_REVERSE_NAME]) {
        set_text(&s->reverse_name, name_of(reverse));
        s->reverse_status = status_of(reverse);
    }
}

static uint16_t
port_of(const struct xattr_value *v)
{
    uint64_t port = 0;

    return v->status == XATTR_GIVEN && sl_to_u64(v->value, &port) && port <= UINT16_MAX
               ? (uint16_t)port
               : 0;
}

/* An address that is not available is none: it is shown as "unknown" and is in no network. */
static void
set_end(struct addr *a, const struct wishes *w, enum xattr addr, enum xattr port_attr)
{
    uint16_t port = w->given[port_attr] ? port_of(&w->v[port_attr]) : addr_port(a);
    struct slice ip = w->v[addr].value;
    char was[ADDR_TEXT_OCTETS];

    if (!w->given[addr])
        ip = sl_z(addr_ip_text(a, was));
    if (addr_parse_ip(ip, port, a))
        *a = (struct addr){ 0 };
}

static void
set_login(struct smtpd_sess *s, const struct wishes *w)
{
    bool is_known = w->given[XATTR_LOGIN] && w->v[XATTR_LOGIN].status == XATTR_GIVEN;

    set_text(&s->sasl_user, is_known ? w->v[XATTR_LOGIN].value : SL(""));
    set_text(&s->sasl_method, is_known ? SL("XCLIENT") : SL(""));
}

static void
become(struct smtpd_sess *s, const struct wishes *w)
{
    smtpd_reset(s);
    set_names(s, w);
    set_end(&s->peer, w, XATTR_ADDR, XATTR_PORT);
    if (w->given[XATTR_PORT])
        s->port = port_of(&w->v[XATTR_PORT]);
    set_end(&s->local, w, XATTR_DESTADDR, XATTR_DESTPORT);
    set_text(&s->helo, w->given[XATTR_HELO] ? w->v[XATTR_HELO].value : SL(""));
    s->is_esmtp = w->given[XATTR_PROTO] && sl_ieq(w->v[XATTR_PROTO].value, SL("ESMTP"));
    set_login(s, w);
    smtpd_set_namaddr(s);
    /* Usually the last time: the client that it is now is not in the list. */
    s->may_xclient = hostlist_match(&s->cfg->xclient_hosts, s->name, &s->peer);
}

static const char *
read_words(const struct smtp_words *w, struct arena *a, struct wishes *out)
{
    for (size_t i = 1; i < w->n; i++) {
        struct xattr_value v;
        const char *why = xattr_parse(XATTR_XCLIENT, w->w[i].s, a, &v);

        if (why)
            return why;
        out->v[v.attr] = v;
        out->given[v.attr] = true;
        if (v.attr == XATTR_NAME && v.status == XATTR_GIVEN) { /* until REVERSE_NAME says more */
            out->v[XATTR_REVERSE_NAME] = v;
            out->given[XATTR_REVERSE_NAME] = true;
        }
    }
    return NULL;
}

void
smtpd_cmd_xclient(struct smtp_sess *smtp, const struct smtp_words *w)
{
    struct smtpd_sess *s = smtpd_of(smtp);
    struct wishes *wishes;
    const char *why;

    if (s->tx) {
        refuse(smtp, "503 5.5.1 Error: MAIL transaction in progress");
    } else if (w->n < 2) {
        refuse(smtp, "501 5.5.4 Syntax: XCLIENT attribute=value...");
    } else if (!s->may_xclient) {
        refuse(smtp, "550 5.7.0 Error: insufficient authorization");
    } else if ((wishes = ARENA_NEW(&smtp->cmd, struct wishes)) == NULL) {
        refuse(smtp, "451 4.3.0 Error: out of room for this command");
    } else if ((why = read_words(w, &smtp->cmd, wishes)) != NULL) {
        refuse(smtp, why);
    } else {
        become(s, wishes);
        smtpd_meet_again(s);
    }
}
