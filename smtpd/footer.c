/* smtpd/footer.c - smtpd_reject_footer and smtpd_reject_footer_maps: what is added to replies that refuse. "\n" in the
 * text begins a new reply line with the same codes, "\c" at its beginning goes on in the reply's own line. */
#include "smtpd/attr.h"
#include "smtpd/find.h"
#include "smtpd/smtpd.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

struct footer_ask { /* a reply while the tables are asked; the session's */
    char *reply, *sender, *rcpt;
};

struct attrs {
    const struct smtpd_sess *s;
    const struct restrict_subject *about;
};

static bool
look_up(void *arg, struct slice name, struct buf *out)
{
    const struct attrs *a = arg;

    return smtpd_attr(a->s, a->about, name, out);
}

/* The "5.7.1 " of a reply, or "". */
static struct slice
enhanced_code(struct slice reply)
{
    struct slice at = reply, part;
    size_t digits = 0;

    if (reply.n < 5 || !strchr("245", reply.p[4]))
        return SL("");
    at = sl_from(reply, 4);
    if (!sl_take_until(&at, ' ', &part))
        return SL("");
    for (size_t i = 0, dots = 0; i < part.n; i++) {
        if (part.p[i] == '.' && digits > 0 && dots++ < 2)
            digits = 0;
        else if (part.p[i] < '0' || part.p[i] > '9' || ++digits > 3)
            return SL("");
        if (i + 1 == part.n && (dots != 2 || digits == 0))
            return SL("");
    }
    return sl_n(part.p, part.n + 1);
}

static bool
take_line(struct slice *text, struct slice *line)
{
    for (size_t i = 0; i + 1 < text->n; i++)
        if (text->p[i] == '\\' && text->p[i + 1] == 'n') {
            *line = sl_head(*text, i);
            *text = sl_from(*text, i + 2);
            return true;
        }
    *line = *text;
    *text = sl_n(NULL, 0);
    return false;
}

/* The reply with its footer, lines parted by CRLF. False: the footer cannot be read. */
static bool
add_footer(const struct attrs *a, struct slice reply, struct slice text, struct buf *out,
           struct err *e)
{
    const struct conf_template t = { .look_up = look_up,
                                     .arg = (void *)(uintptr_t)a,
                                     .allowed = a->s->cfg->expansion_set };
    struct slice esc = enhanced_code(reply), line;
    bool is_more = true, is_first = true;
    size_t last = 0; /* where the last reply line begins */

    buf_adds(out, reply);
    while (is_more) {
        is_more = take_line(&text, &line);
        if (!is_first || !sl_take_prefix(&line, SL("\\c"))) {
            out->p[out->off + last + 3] = '-';
            buf_adds(out, SL("\r\n"));
            last = out->n;
            buf_addf(out, "%.3s %.*s", reply.p, SL_ARG(esc));
        }
        is_first = false;
        if (conf_expand_template(line, &t, out, e) < 0)
            return false;
    }
    return true;
}

static void
send_with(struct smtpd_sess *s, struct slice reply, const struct restrict_subject *about,
          struct slice footer)
{
    struct attrs a = { s, about };
    struct buf out = { 0 };
    struct err e = { 0 };

    if (footer.n > 0 && !add_footer(&a, reply, footer, &out, &e)) {
        log_event(LOG_LV_WARN, s->cfg->ident, "footer.bad", LOG_F(LF_Z("why", e.msg)),
                  "smtpd_reject_footer: %s", e.msg);
        buf_reset(&out);
    }
    smtp_reply_decorated(&s->smtp, out.n ? buf_slice(&out) : reply);
    buf_free(&out);
}

void
smtpd_footer_free(struct smtpd_sess *s)
{
    if (s->footer == NULL)
        return;
    free(s->footer->reply);
    free(s->footer->sender);
    free(s->footer->rcpt);
    free(s->footer);
    s->footer = NULL;
}

static void
on_footer(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct footer_ask *k = s->footer;
    struct restrict_subject about = { .helo = s->helo,
                                      .sender = k->sender ? sl_z(k->sender) : sl_n(NULL, 0),
                                      .recipient = k->rcpt ? sl_z(k->rcpt) : sl_n(NULL, 0) };

    (void)arg;
    (void)ext;
    s->footer = NULL; /* the next reply may ask anew */
    send_with(s, sl_z(k->reply), &about,
              f == FOUND_YES ? value : sl_z(s->cfg->conf->smtpd_reject_footer));
    free(k->reply);
    free(k->sender);
    free(k->rcpt);
    free(k);
}

void
smtpd_decorate(struct smtp_sess *smtp, struct slice reply)
{
    struct smtpd_sess *s = smtpd_of(smtp);
    struct restrict_subject about = { .helo = s->helo,
                                      .sender = s->tx ? s->tx->sender.given : sl_n(NULL, 0),
                                      .recipient = s->now_rcpt };
    struct footer_ask *k;

    if (s->cfg->conf->smtpd_reject_footer_maps.n == 0) {
        send_with(s, reply, &about, sl_z(s->cfg->conf->smtpd_reject_footer));
        return;
    }
    k = s->footer = MEM_NEW(struct footer_ask);
    k->reply = sl_dupz(reply);
    k->sender = about.sender.p ? sl_dupz(about.sender) : NULL;
    k->rcpt = about.recipient.p ? sl_dupz(about.recipient) : NULL;
    find_key(s, "smtpd_reject_footer_maps", sl_z(k->reply), on_footer, NULL);
}

int
smtpd_footer_check(const struct conf *c, struct err *e)
{
    struct smtpd_cfg cfg = { .conf = (struct conf *)(uintptr_t)c };
    char none[1] = "";
    struct smtpd_sess s = { .cfg = &cfg, .name = none, .reverse_name = none, .namaddr = none };
    struct restrict_subject about = { 0 };
    struct attrs a = { &s, &about };
    struct buf out = { 0 };
    struct err why = { 0 };
    int rc = 0;

    if (c->smtpd_reject_footer[0] &&
        !add_footer(&a, SL("550 5.7.1 No"), sl_z(c->smtpd_reject_footer), &out, &why))
        rc = err_set(e, ERR_CONFIG, "smtpd_reject_footer: %s", why.msg);
    buf_free(&out);
    return rc;
}
