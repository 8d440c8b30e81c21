/* smtpd/gate.c - what is looked at before a command is carried out: smtpd_command_filter, words that mean nothing or the
 * end, whom the client restrictions have refused, TLS, and whether the client waited its turn. The order is Postfix's.
 * Tables may have to be asked on the way. */
#include "smtpd/bare_lf.h"
#include "smtpd/find.h"
#include "smtpd/smtpd.h"
#include "session/words.h"

#include "base/log.h"

#include <stdlib.h>

enum step { STEP_CERT, STEP_FILTER, STEP_NOOP, STEP_FORBIDDEN, STEP_LAST };

/* A command at the gate. In the command's memory while a table is asked. */
struct entry {
    const struct smtp_verb *v; /* NULL: a word that is none */
    const struct smtp_words *w;
    struct slice line;
    enum step step;
    size_t at;      /* in the list of words */
    bool is_spared; /* by the table that is asked, if the word is in it */
};

static bool go_on(struct smtpd_sess *s, struct entry *e);

static bool
refuse(struct smtp_sess *s, const char *reply)
{
    smtp_reply(s, "%s", reply);
    smtp_sess_done(s, false);
    return false;
}

/* After a table was asked. */
static void
resume(struct smtpd_sess *s, struct entry *e)
{
    if (go_on(s, e) && e->v)
        e->v->run(&s->smtp, e->w);
}

static bool
ask(struct smtpd_sess *s, const struct entry *e, const char *table, struct slice key, find_fn *cb)
{
    struct entry *kept = ARENA_NEW(&s->smtp.cmd, struct entry);

    if (kept == NULL)
        return refuse(&s->smtp, "451 4.3.0 Error: out of room for this command");
    *kept = *e;
    find_key(s, table, key, cb, kept);
    return false;
}

/* ---- smtpd_command_filter ---- */

/* A command as it may be logged. */
static void
show(struct slice line, struct buf *out)
{
    struct slice part = smtp_shown(&smtpd_def, line);

    buf_adds(out, sl_head(part, 100));
    if (part.n < line.n)
        buf_addz(out, " ...");
}

static void
on_filtered(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct entry *e = arg;
    struct buf was = { 0 }, is = { 0 };

    (void)ext;
    show(e->line, &was);
    show(value, &is);
    if (f == FOUND_TEMP) {
        log_event(LOG_LV_WARN, s->cfg->ident, "filter.fail", LOG_F(LF_Z("client", s->namaddr)),
                  "%s lookup error for \"%s\"", s->cfg->conf->smtpd_command_filter, buf_z(&was));
        smtp_reply(&s->smtp, "421 4.3.0 %s Server local data error", s->cfg->conf->myhostname);
        smtp_sess_done(&s->smtp, false);
    } else if (f == FOUND_YES) {
        log_event(LOG_LV_INFO, s->cfg->ident, "filter",
                  LOG_F(LF_Z("client", s->namaddr), LF_Z("to", buf_z(&is))),
                  "%s: replacing command \"%s\" with \"%s\"", s->namaddr, buf_z(&was), buf_z(&is));
        s->is_filtered = true;
        smtp_sess_run(&s->smtp, value);
    } else {
        resume(s, e);
    }
    buf_free(&was);
    buf_free(&is);
}

static struct slice
without_blanks(struct slice line)
{
    while (line.n && (line.p[0] == ' ' || line.p[0] == '\t'))
        line = sl_from(line, 1);
    return line;
}

/* ---- words ---- */

static bool
is_noop(struct smtpd_sess *s)
{
    smtp_reply(&s->smtp, "250 2.0.0 Ok");
    smtp_sess_uncount(&s->smtp);
    smtp_sess_done(&s->smtp, true);
    return false;
}

static bool
is_forbidden(struct smtpd_sess *s, const struct entry *e)
{
    log_event(LOG_LV_WARN, s->cfg->ident, "smtp.forbidden", LOG_F(LF_Z("client", s->namaddr)),
              "non-SMTP command from %s: %.*s", s->namaddr, SL_ARG(sl_head(e->line, 100)));
    smtp_reply(&s->smtp, "221 2.7.0 Error: I can break rules, too. Goodbye.");
    smtp_sess_end(&s->smtp, SMTP_END_FORBIDDEN);
    smtp_sess_done(&s->smtp, false);
    return false;
}

static void
on_word(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct entry *e = arg;

    (void)value;
    (void)ext;
    if (f == FOUND_YES && !e->is_spared) {
        (void)(e->step == STEP_NOOP ? is_noop(s) : is_forbidden(s, e));
        return;
    }
    if (f == FOUND_YES)
        e->at = SIZE_MAX; /* it is not in the list, whatever follows */
    else
        e->at++; /* a table that cannot be asked is no reason to end a session */
    resume(s, e);
}

/* False: answered, or it will be. */
static bool
pass_words(struct smtpd_sess *s, struct entry *e, const struct words *list)
{
    const char *table;

    enum words_rc rc = words_match(list, e->w->w[0].s, &e->at, &table);

    switch (rc) {
    case WORDS_ASK:
    case WORDS_ASK_NOT:
        e->is_spared = rc == WORDS_ASK_NOT;
        return ask(s, e, table, e->w->w[0].s, on_word);
    case WORDS_YES:
        return e->step == STEP_NOOP ? is_noop(s) : is_forbidden(s, e);
    default:
        e->at = 0;
        return true;
    }
}

/* ---- the rest ---- */

static bool
pass_last(struct smtpd_sess *s, const struct entry *e)
{
    const struct smtp_verb *v = e->v;
    struct smtp_sess *smtp = &s->smtp;

    if (s->access_denied && !(v && v->run == smtpd_cmd_quit)) {
        smtp_reply(smtp, "503 5.7.0 Error: access denied for %s", s->namaddr);
        smtp_sess_done(smtp, false);
        return false;
    }
    if (v == NULL)
        return refuse(smtp, "500 5.5.2 Error: command not recognized");
    if (s->cfg->must_tls && !smtp_sess_is_tls(smtp) && !(v->flags & SMTP_V_PRE_TLS)) {
        if (v->run == smtpd_cmd_bdat &&
            smtpd_skip_bdat(s, e->w, "530 5.7.0 Must issue a STARTTLS command first"))
            return false; /* its octets must not be taken for commands */
        return refuse(smtp, "530 5.7.0 Must issue a STARTTLS command first");
    }
    if (!s->is_esmtp || (v->flags & SMTP_V_LAST))
        return smtpd_check_pipelining(s);
    return true;
}

/* True: the command may be run now. */
static bool
go_on(struct smtpd_sess *s, struct entry *e)
{
    const char *filter = s->cfg->conf->smtpd_command_filter;

    for (;; e->step++) {
        switch (e->step) {
        case STEP_CERT:
            if (s->cert_refusal) {
                smtp_reply(&s->smtp, "421 4.7.1 %s Error: %s", s->cfg->conf->myhostname,
                           s->cert_refusal);
                smtp_sess_done(&s->smtp, false);
                return false;
            }
            break;
        case STEP_FILTER:
            if (filter[0] && !s->is_filtered) {
                e->step++; /* when it is over */
                return ask(s, e, filter, without_blanks(e->line), on_filtered);
            }
            s->is_filtered = false;
            break;
        case STEP_NOOP:
            if (!pass_words(s, e, s->cfg->noops))
                return false;
            break;
        case STEP_FORBIDDEN:
            if (e->v == NULL && smtp_word_is_header(e->w->w[0].s))
                return is_forbidden(s, e);
            if (e->v == NULL && !pass_words(s, e, s->cfg->forbidden))
                return false;
            break;
        case STEP_LAST:
            return pass_last(s, e);
        }
    }
}

bool
smtpd_gate(struct smtp_sess *smtp, const struct smtp_verb *v, const struct smtp_words *w,
           struct slice line)
{
    struct entry e = { .v = v, .w = w, .line = line };

    smtpd_of(smtp)->now_rcpt = sl_n(NULL, 0);
    if (v && smtpd_of(smtp)->pickup)
        return true; /* it is our own client */
    if (smtp->line_is_bare && !bare_lf_take_command(smtpd_of(smtp)))
        return false;
    return go_on(smtpd_of(smtp), &e);
}
