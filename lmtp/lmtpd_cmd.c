/* lmtp/lmtpd_cmd.c - the table of LMTP verbs (RFC 2033 §4) and those that read no content. Replies are worded as
 * Dovecot's lmtp words them. */
#include "lmtp/lmtpd.h"

#include "base/enc.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/lookup_keys.h"
#include "proto/smtp_addr.h"
#include "proto/smtp_param.h"

#include <stdio.h>
#include <stdlib.h>

void
lmtpd_refuse(struct lmtpd_sess *s, const char *reply)
{
    smtp_reply(&s->smtp, "%s", reply);
    smtp_sess_done(&s->smtp, false);
}

static void
answer(struct lmtpd_sess *s, const char *reply)
{
    smtp_reply(&s->smtp, "%s", reply);
    smtp_sess_done(&s->smtp, true);
}

static void
cmd_lhlo(struct smtp_sess *smtp, const struct smtp_words *w)
{
    struct lmtpd_sess *s = lmtpd_of(smtp);
    static const char *const words[] = { "PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME",
                                         "SMTPUTF8", "CHUNKING" };

    if (w->n != 2) {
        lmtpd_refuse(s, "501 5.5.4 Missing or bad host name");
        return;
    }
    lmtpd_tx_free(s);
    free(s->helo);
    s->helo = sl_dupz(sl_head(w->w[1].s, 255));
    smtp_reply(smtp, "250-%s", s->limits.myhostname);
    for (size_t i = 0; i < COUNT_OF(words); i++)
        smtp_reply(smtp, "250%c%s", i + 1 < COUNT_OF(words) || s->is_local ? '-' : ' ', words[i]);
    if (s->is_local)
        smtp_reply(smtp, "250 XFORWARD IDENT REPEAT");
    smtp_sess_done(smtp, true);
}

static void
cmd_helo(struct smtp_sess *smtp, const struct smtp_words *w)
{
    (void)w;
    lmtpd_refuse(lmtpd_of(smtp), "500 5.5.1 This is LMTP: use LHLO");
}

/* XFORWARD IDENT=queueid.row [REPEAT=1]: what the next message is called; from this host only, since file names are made
 * of it. Other attributes are heard and forgotten. */
static void
cmd_xforward(struct smtp_sess *smtp, const struct smtp_words *w)
{
    struct lmtpd_sess *s = lmtpd_of(smtp);
    struct buf b = { .max = sizeof(s->ident) - 1 };

    if (!s->is_local) {
        lmtpd_refuse(s, "550 5.7.1 You are not from this host");
        return;
    }
    if (s->tx) {
        lmtpd_refuse(s, "503 5.5.1 MAIL already given");
        return;
    }
    s->ident[0] = '\0';
    s->may_be_repeat = false;
    for (size_t i = 1; i < w->n; i++) {
        struct slice v = w->w[i].s;

        if (sl_take_iprefix(&v, SL("IDENT="))) {
            buf_reset(&b);
            if (enc_xtext_decode(&b, v)) {
                buf_free(&b);
                lmtpd_refuse(s, "501 5.5.4 Bad IDENT");
                return;
            }
            for (size_t k = 0; k < b.n; k++) /* it becomes part of a file's name */
                if (!sl_is_alnum_char(buf_slice(&b).p[k]) && buf_slice(&b).p[k] != '.')
                    buf_truncate(&b, 0);
            snprintf(s->ident, sizeof(s->ident), "%.*s", SL_ARG(buf_slice(&b)));
        } else if (sl_take_iprefix(&v, SL("REPEAT="))) {
            s->may_be_repeat = sl_eq(v, SL("1"));
        }
    }
    buf_free(&b);
    answer(s, "250 2.0.0 OK");
}

static void
cmd_mail(struct smtp_sess *smtp, const struct smtp_words *w)
{
    struct lmtpd_sess *s = lmtpd_of(smtp);
    struct smtp_mail_params params;
    struct slice sender;
    const char *why;

    if (s->helo == NULL) {
        lmtpd_refuse(s, "503 5.5.1 LHLO needed first");
    } else if (s->tx) {
        lmtpd_refuse(s, "503 5.5.1 MAIL already given");
    } else if (w->n < 3 || !sl_ieq(w->w[1].s, SL("from:")) || w->w[2].is_open ||
               smtp_path_parse(w->w[2].s, false, &smtp->cmd, &sender, NULL) != PARSE_OK) {
        lmtpd_refuse(s, "501 5.5.4 Invalid FROM");
    } else if ((why = smtp_mail_params(w, 3, SMTP_OFFER_UTF8 | SMTP_OFFER_DSN | SMTP_OFFER_AUTH,
                                       &smtp->cmd, &params)) != NULL) {
        lmtpd_refuse(s, why);
    } else {
        s->tx = MEM_NEW(struct lmtpd_tx);
        s->tx->mem.cap = LMTPD_TX_ARENA_OCTETS;
        s->tx->end = &s->tx->first;
        s->tx->sender = arena_dup(&s->tx->mem, sender);
        answer(s, "250 2.1.0 OK");
    }
}

/* ---- RCPT ---- */

/* What bare lacks of the address, without the delimiter. */
static struct slice
detail_of(const struct lmtpd_rcpt *r)
{
    struct slice local, domain;
    size_t n = r->given.n - r->bare.n;

    smtp_addr_split(r->given, &local, &domain);
    return sl_from(local, local.n - n + 1);
}

static void
on_user(uint64_t id, const struct auth_user *u)
{
    struct smtp_sess *smtp = id_get(id);
    struct lmtpd_sess *s;
    struct lmtpd_rcpt *r;

    if (smtp == NULL)
        return;
    s = lmtpd_of(smtp);
    r = s->asking;
    if (u->found == 0 && r->bare.n > 0) {
        r->detail = detail_of(r);
        r->user = r->bare;
        r->bare = SL("");
        auth_master_user(lmtpd_env.auth, r->user, "lmtp", on_user, id);
        return;
    }
    s->asking = NULL;
    if (u->found < 0) {
        smtp_reply(smtp, "451 4.3.0 <%.*s> Temporary internal error", SL_ARG(r->given));
        smtp_sess_done(smtp, true); /* not the client's error */
        return;
    }
    if (u->found == 0) {
        smtp_reply(smtp, "550 5.1.1 <%.*s> User doesn't exist: %.*s", SL_ARG(r->given),
                   SL_ARG(r->user));
        smtp_sess_done(smtp, true);
        return;
    }
    r->user = arena_dup(&s->tx->mem, u->user.n ? u->user : r->user);
    r->db.mail = arena_dup(&s->tx->mem, u->mail);
    r->db.quota = arena_dup(&s->tx->mem, u->quota);
    if (r->user.p == NULL || r->db.mail.p == NULL || r->db.quota.p == NULL) {
        smtp_reply(smtp, "452 4.5.3 Too many recipients");
        smtp_sess_done(smtp, true);
        return;
    }
    *s->tx->end = r;
    s->tx->end = &r->next;
    s->tx->n_rcpts++;
    answer(s, "250 2.1.5 OK");
}

/* By the newest configuration, not the session's: qmgr keeps its sessions open, and what smtpd has accepted since a
 * reload must not bounce. */
bool
lmtpd_names(struct slice given, struct arena *a, struct slice *user, struct slice *bare)
{
    const struct conf *c = lmtpd_env.conf;
    struct slice local, domain, ext;
    char *p = arena_alloc(a, 2 * given.n + 1), *short_one = p ? p + given.n : NULL;

    if (p == NULL || given.p == NULL)
        return false;
    for (size_t i = 0; i < given.n; i++)
        p[i] = sl_lower_char(given.p[i]);
    *user = sl_n(p, given.n);
    *bare = SL("");
    smtp_addr_split(*user, &local, &domain);
    ext = lookup_extension(local, c->recipient_delimiter, c->double_bounce_sender);
    if (ext.n > 0) {
        memcpy(short_one, p, local.n - ext.n);
        memcpy(short_one + local.n - ext.n, p + local.n, user->n - local.n);
        *bare = sl_n(short_one, user->n - ext.n);
    }
    return true;
}

static void
cmd_rcpt(struct smtp_sess *smtp, const struct smtp_words *w)
{
    struct lmtpd_sess *s = lmtpd_of(smtp);
    struct smtp_rcpt_params params;
    struct slice addr;
    struct lmtpd_rcpt *r;
    const char *why;

    if (s->tx == NULL) {
        lmtpd_refuse(s, "503 5.5.1 MAIL needed first");
        return;
    }
    if (s->tx->in_bdat) {
        lmtpd_refuse(s, "503 5.5.1 RCPT after BDAT");
        return;
    }
    if (w->n < 3 || !sl_ieq(w->w[1].s, SL("to:")) || w->w[2].is_open ||
        smtp_path_parse(w->w[2].s, false, &smtp->cmd, &addr, NULL) != PARSE_OK || addr.n == 0) {
        lmtpd_refuse(s, "501 5.5.4 Invalid TO");
        return;
    }
    if ((why = smtp_rcpt_params(w, 3, SMTP_OFFER_DSN, &smtp->cmd, &params)) != NULL) {
        lmtpd_refuse(s, why);
        return;
    }
    r = s->tx->n_rcpts < LMTPD_RCPTS_MAX ? ARENA_NEW(&s->tx->mem, struct lmtpd_rcpt) : NULL;
    if (r == NULL) {
        smtp_reply(smtp, "452 4.5.3 Too many recipients");
        smtp_sess_done(smtp, true);
        return;
    }
    r->s = s;
    r->given = arena_dup(&s->tx->mem, addr);
    if (!lmtpd_names(r->given, &s->tx->mem, &r->user, &r->bare)) {
        /* asked for like this nobody would be found, and good mail bounced */
        smtp_reply(smtp, "452 4.5.3 Too many recipients");
        smtp_sess_done(smtp, true);
        return;
    }
    s->asking = r;
    auth_master_user(lmtpd_env.auth, r->user, "lmtp", on_user, smtp->id);
}

/* ---- the small ones ---- */

static void
cmd_rset(struct smtp_sess *smtp, const struct smtp_words *w)
{
    (void)w;
    lmtpd_tx_free(lmtpd_of(smtp));
    answer(lmtpd_of(smtp), "250 2.0.0 OK");
}

static void
cmd_noop(struct smtp_sess *smtp, const struct smtp_words *w)
{
    (void)w;
    answer(lmtpd_of(smtp), "250 2.0.0 OK");
}

static void
cmd_vrfy(struct smtp_sess *smtp, const struct smtp_words *w)
{
    (void)w;
    answer(lmtpd_of(smtp), "252 2.3.3 Try RCPT instead");
}

static void
cmd_quit(struct smtp_sess *smtp, const struct smtp_words *w)
{
    (void)w;
    smtp_reply(smtp, "221 2.0.0 Bye");
    smtp_sess_end(smtp, SMTP_END_QUIT);
    smtp_sess_done(smtp, true);
}

/* clang-format off */
static const struct smtp_verb verbs[] = {
    { "LHLO",     SMTP_V_LAST, cmd_lhlo },
    { "HELO",     SMTP_V_LAST, cmd_helo },
    { "EHLO",     SMTP_V_LAST, cmd_helo },
    { "XFORWARD", 0,           cmd_xforward },
    { "MAIL",     0,           cmd_mail },
    { "RCPT",     0,           cmd_rcpt },
    { "DATA",     SMTP_V_LAST, lmtpd_cmd_data },
    { "BDAT",     0,           lmtpd_cmd_bdat },
    { "RSET",     0,           cmd_rset },
    { "NOOP",     SMTP_V_LAST, cmd_noop },
    { "VRFY",     SMTP_V_LAST, cmd_vrfy },
    { "QUIT",     SMTP_V_LAST, cmd_quit },
};
/* clang-format on */

static bool
gate(struct smtp_sess *smtp, const struct smtp_verb *v, const struct smtp_words *w,
     struct slice line)
{
    (void)w;
    (void)line;
    if (v)
        return true;
    lmtpd_refuse(lmtpd_of(smtp), "500 5.5.1 Unknown command");
    return false;
}

static void
secured(struct smtp_sess *smtp)
{
    smtp_sess_done(smtp, true); /* cannot come: STARTTLS is not offered */
}

const struct smtp_server_def lmtpd_def = {
    .verbs = verbs,
    .n_verbs = COUNT_OF(verbs),
    .gate = gate,
    .body = lmtpd_body,
    .body_end = lmtpd_body_end,
    .chunk_end = lmtpd_chunk_end,
    .backlog = lmtpd_backlog,
    .secured = secured,
    .closed = lmtpd_closed,
    .bad_syntax = "500 5.5.2 Bad syntax",
    .timeout = { "421 4.4.2 ", " Disconnected for inactivity" },
    .too_many_errors = { "421 4.7.0 ", " Too many invalid commands." },
    .shutting_down = { "421 4.3.2 ", " Shutting down" },
};
