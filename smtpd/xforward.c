/* smtpd/xforward.c - XFORWARD: a filter that may do so says where the message to come was from first, for the log and
 * the queue (XFORWARD_README). It decides nothing. Replies and their order are Postfix's. */
#include "smtpd/smtpd.h"

#include "base/mem.h"
#include "proto/xattr.h"

#include <stdlib.h>

enum { XFORWARD_ARENA_OCTETS = 64 * 1024 }; /* of all XFORWARD commands before one message */

struct xforward {
    struct arena mem;
    struct slice v[XATTRS];
    bool given[XATTRS];
    bool is_local;
};

static void
refuse(struct smtp_sess *smtp, const char *reply)
{
    smtp_reply(smtp, "%s", reply);
    smtp_sess_done(smtp, false);
}

void
smtpd_xforward_free(struct smtpd_sess *s)
{
    if (s->xforward == NULL)
        return;
    arena_free(&s->xforward->mem);
    free(s->xforward);
    s->xforward = NULL;
}

/* ---- what was said ---- */

/* One of the client's attributes was said: then all of them are as said, or unknown, and none is the session's. */
static bool
has_client(const struct xforward *x)
{
    return x && (x->given[XATTR_NAME] || x->given[XATTR_ADDR] || x->given[XATTR_PROTO] ||
                 x->given[XATTR_HELO] || x->given[XATTR_PORT]);
}

static struct slice
or_unknown(struct slice s)
{
    return s.n ? s : SL("unknown");
}

void
smtpd_origin(const struct smtpd_sess *s, char ip[ADDR_TEXT_OCTETS], struct smtpd_origin *out)
{
    const struct xforward *x = s->xforward;

    if (has_client(x)) {
        out->name = or_unknown(x->v[XATTR_NAME]);
        out->ip = or_unknown(x->v[XATTR_ADDR]);
        out->helo = x->v[XATTR_HELO];
        out->protocol = or_unknown(x->v[XATTR_PROTO]);
        return;
    }
    out->name = sl_z(s->name);
    out->ip = sl_z(addr_ip_text(&s->peer, ip));
    out->helo = sl_z(s->helo);
    out->protocol = s->is_esmtp ? SL("ESMTP") : SL("SMTP");
}

bool
smtpd_xforward_source(const struct smtpd_sess *s, bool *is_local)
{
    if (s->xforward == NULL || !s->xforward->given[XATTR_SOURCE])
        return false;
    *is_local = s->xforward->is_local;
    return true;
}

void
smtpd_xforward_log(const struct smtpd_sess *s, struct buf *out)
{
    const struct xforward *x = s->xforward;

    if (x && x->v[XATTR_IDENT].n)
        buf_addf(out, ", orig_queue_id=%.*s", SL_ARG(x->v[XATTR_IDENT]));
    if (!has_client(x))
        return;
    buf_addf(out, ", orig_client=%.*s", SL_ARG(or_unknown(x->v[XATTR_NAME])));
    if (x->v[XATTR_ADDR].n == 0)
        return;
    buf_addf(out, "[%.*s]", SL_ARG(x->v[XATTR_ADDR]));
    if (s->cfg->conf->smtpd_client_port_logging)
        buf_addf(out, ":%.*s", SL_ARG(or_unknown(x->v[XATTR_PORT])));
}

/* ---- the command ---- */

/* As it is kept: an address in its shortest form. */
static struct slice
keep(struct xforward *x, const struct xattr_value *v)
{
    char ip[ADDR_TEXT_OCTETS];
    struct slice text = v->value;
    struct addr a;

    if (v->attr == XATTR_ADDR && text.n && addr_parse_ip(text, 0, &a) == 0)
        text = sl_z(addr_ip_text(&a, ip));
    return arena_dup(&x->mem, text);
}

static const char *
take_words(struct smtpd_sess *s, const struct smtp_words *w)
{
    struct xforward *x = s->xforward;

    for (size_t i = 1; i < w->n; i++) {
        struct xattr_value v;
        const char *why = xattr_parse(XATTR_XFORWARD, w->w[i].s, &s->smtp.cmd, &v);

        if (why)
            return why;
        x->v[v.attr] = keep(x, &v);
        if (x->v[v.attr].p == NULL)
            return "451 4.3.0 Error: out of room for this command";
        x->given[v.attr] = true;
        if (v.attr == XATTR_SOURCE) /* not available: as if it were ours */
            x->is_local = v.status != XATTR_GIVEN || sl_ieq(v.value, SL("LOCAL"));
    }
    return NULL;
}

void
smtpd_cmd_xforward(struct smtp_sess *smtp, const struct smtp_words *w)
{
    struct smtpd_sess *s = smtpd_of(smtp);
    const char *why;

    if (s->tx) {
        refuse(smtp, "503 5.5.1 Error: MAIL transaction in progress");
        return;
    }
    if (w->n < 2) {
        refuse(smtp, "501 5.5.4 Syntax: XFORWARD attribute=value...");
        return;
    }
    if (!s->may_xforward) {
        refuse(smtp, "550 5.7.0 Error: insufficient authorization");
        return;
    }
    if (s->xforward == NULL) {
        s->xforward = MEM_NEW(struct xforward);
        s->xforward->mem.cap = XFORWARD_ARENA_OCTETS;
    }
    why = take_words(s, w);
    if (why) {
        refuse(smtp, why);
        return;
    }
    smtp_reply(smtp, "250 2.0.0 Ok");
    smtp_sess_done(smtp, true);
}
