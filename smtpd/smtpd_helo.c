/* smtpd/smtpd_helo.c - HELO and EHLO: RFC 5321 §4.1.1.1. */
#include "smtpd/smtpd.h"

#include "base/log.h"
#include "base/mem.h"
#include "proto/xattr.h"

#include <stdlib.h>

static void
refuse(struct smtp_sess *s, const char *reply)
{
    smtp_reply(s, "%s", reply);
    smtp_sess_done(s, false);
}

/* As it is kept: printable, and without what could end a comment or a path where it is shown. */
static char *
clean_helo(struct slice words)
{
    char *h = sl_dupz(words);

    for (char *p = h; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == 127 || strchr("<>()\\\";@", *p) != NULL)
            *p = '?';
    return h;
}

static void
add_keyword(struct buf *b, const char *text)
{
    buf_addf(b, "250-%s\r\n", text);
}

static void
ehlo_lines(struct smtpd_sess *s, struct buf *b)
{
    const struct conf *conf = s->cfg->conf;
    unsigned no = s->discard;
    struct buf mechs = { 0 };

    add_keyword(b, conf->myhostname);
    if (!(no & DISCARD_PIPELINING))
        add_keyword(b, "PIPELINING");
    if (!(no & DISCARD_SIZE)) {
        if (conf->message_size_limit)
            buf_addf(b, "250-SIZE %lld\r\n", (long long)conf->message_size_limit);
        else
            add_keyword(b, "SIZE");
    }
    if (!(no & DISCARD_VRFY) && !conf->disable_vrfy_command)
        add_keyword(b, "VRFY");
    if (!(no & DISCARD_ETRN))
        add_keyword(b, "ETRN");
    if (!(no & DISCARD_STARTTLS) && s->cfg->has_tls && !smtp_sess_is_tls(&s->smtp))
        add_keyword(b, "STARTTLS");
    if (!(no & DISCARD_AUTH) && smtpd_sasl_is_active(s) &&
        !netlist_match(&s->cfg->no_auth, &s->peer)) { /* who uses it all the same may */
        smtpd_sasl_mechs(s, &mechs);
        if (mechs.n)
            buf_addf(b, "250-AUTH %s\r\n", buf_z(&mechs));
        if (mechs.n && conf->broken_sasl_auth_clients)
            buf_addf(b, "250-AUTH=%s\r\n", buf_z(&mechs));
        buf_free(&mechs);
    }
    if (!(no & DISCARD_XCLIENT) && s->may_xclient)
        add_keyword(b, xattr_keyword(XATTR_XCLIENT));
    if (!(no & DISCARD_XFORWARD) && s->may_xforward)
        add_keyword(b, xattr_keyword(XATTR_XFORWARD));
    if (!(no & DISCARD_ENHANCED))
        add_keyword(b, "ENHANCEDSTATUSCODES");
    if (!(no & DISCARD_8BITMIME))
        add_keyword(b, "8BITMIME");
    if (!(no & DISCARD_DSN))
        add_keyword(b, "DSN");
    if (!(no & DISCARD_UTF8) && conf->smtputf8_enable)
        add_keyword(b, "SMTPUTF8");
    if (!(no & DISCARD_CHUNKING))
        add_keyword(b, "CHUNKING");
    /* RFC 9422: no more is bounded than the recipients of a message. */
    if (!(no & DISCARD_LIMITS))
        buf_addf(b, "250-LIMITS RCPTMAX=%lld\r\n", (long long)conf->smtpd_recipient_limit);
}

static void
log_discards(const struct smtpd_sess *s)
{
    struct buf names = { 0 };

    if (s->discard == 0 || (s->discard & DISCARD_SILENT))
        return;
    smtpd_discard_names(s->discard, &names);
    log_event(LOG_LV_INFO, s->cfg->ident, "ehlo.discard", LOG_F(LF_Z("client", s->namaddr)),
              "discarding EHLO keywords: %s", buf_z(&names));
    buf_free(&names);
}

/* One reply line each; the last has a blank after its code. */
static void
send_ehlo(struct smtpd_sess *s)
{
    struct buf b = { 0 };
    struct slice lines, line;

    log_discards(s);
    ehlo_lines(s, &b);
    lines = buf_slice(&b);
    while (sl_take_until(&lines, '\n', &line)) {
        line.n--; /* CR */
        smtp_reply(&s->smtp, "250%c%.*s", lines.n ? '-' : ' ', SL_ARG(sl_from(line, 4)));
    }
    buf_free(&b);
}

static void
helo_restricted(struct smtpd_sess *s, const char *reply)
{
    char *helo = s->new_helo;

    s->new_helo = NULL;
    if (reply) {
        free(helo);
        refuse(&s->smtp, reply);
        return;
    }
    smtpd_reset(s);
    free(s->helo);
    s->helo = helo;
    s->is_esmtp =
        !strcmp(s->smtp.where, "EHLO"); /* not before it is accepted: the log says what holds */
    if (s->is_esmtp)
        send_ehlo(s);
    else
        smtp_reply(&s->smtp, "250 %s", s->cfg->limits.myhostname);
    smtp_sess_done(&s->smtp, true);
}

static void
greet_back(struct smtp_sess *smtp, const struct smtp_words *w, bool is_ehlo)
{
    struct smtpd_sess *s = smtpd_of(smtp);
    struct restrict_subject about = { 0 };

    if (w->n < 2) {
        refuse(smtp, is_ehlo ? "501 Syntax: EHLO hostname" : "501 Syntax: HELO hostname");
        return;
    }
    s->new_helo = clean_helo(smtp_words_rest(w, 1));
    about.helo = s->new_helo;
    if (s->cfg->conf->smtpd_delay_reject)
        helo_restricted(s, NULL);
    else
        restrict_run(s, STAGE_HELO, &about, helo_restricted);
}

void
smtpd_cmd_helo(struct smtp_sess *s, const struct smtp_words *w)
{
    greet_back(s, w, false);
}

void
smtpd_cmd_ehlo(struct smtp_sess *s, const struct smtp_words *w)
{
    greet_back(s, w, true);
}
