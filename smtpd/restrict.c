/* smtpd/restrict.c - restriction lists are run step by step. A verb ends by saying its verdict to step_done(), at once or
 * when its answer has come; the runner goes round a loop, not down the stack. */
#include "smtpd/restrict.h"

#include "base/log.h"
#include "base/mem.h"
#include "smtpd/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const struct restrict_verb restrict_verbs[] = {
#define RESTRICT(name, needs, fn) { name, needs, fn },
#include "smtpd/restrict.def"
};

static const struct restrict_verb *
find_verb(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(restrict_verbs); i++)
        if (sl_ieq(sl_z(restrict_verbs[i].name), sl_z(name)))
            return &restrict_verbs[i];
    return NULL;
}

int
restrict_compile(const struct conf *c, enum restrict_list_id id, struct restrict_list *out,
                 struct err *e)
{
    struct conf_list l = restrict_conf_list(c, id);

    *out = (struct restrict_list){ .v = mem_zalloc((l.n + 1) * sizeof(*out->v)) };
    for (size_t i = 0; i < l.n; i++) {
        const struct restrict_verb *v = find_verb(l.v[i]);

        if (v == NULL) {
            restrict_list_free(out);
            return err_set(e, ERR_CONFIG, "%s: unknown restriction \"%s\"", restrict_list_name(id),
                           l.v[i]);
        }
        out->v[out->n] = (struct restrict_step){ .verb = v };
        if ((v->needs & NEEDS_ARG) && ++i < l.n)
            out->v[out->n].arg = l.v[i];
        out->n++;
    }
    return 0;
}

void
restrict_list_free(struct restrict_list *l)
{
    free(l->v);
    *l = (struct restrict_list){ 0 };
}

/* ---- running ---- */

/* Which lists a stage goes through, and in whose name they refuse. */
struct phase {
    enum restrict_list_id list;
    const char *reply_class;
};
static const struct phase phase_client = { RESTRICT_CLIENT, CLASS_TEXT_CLIENT };
static const struct phase phase_helo = { RESTRICT_HELO, CLASS_TEXT_HELO };
static const struct phase phase_sender = { RESTRICT_SENDER, CLASS_TEXT_SENDER };
static const struct phase phase_relay = { RESTRICT_RELAY, CLASS_TEXT_RECIPIENT };
static const struct phase phase_recipient = { RESTRICT_RECIPIENT, CLASS_TEXT_RECIPIENT };
static const struct phase phase_data = { RESTRICT_DATA, "Data command" };
static const struct phase phase_eod = { RESTRICT_END_OF_DATA, "End-of-data" };
static const struct phase phase_etrn = { RESTRICT_ETRN, "Etrn command" };

static void
plan(struct check *c, const struct phase *p)
{
    c->phases[c->n_phases++] = p;
}

static void
plan_stage(struct check *c)
{
    bool is_delayed = c->s->cfg->conf->smtpd_delay_reject;

    if (is_delayed && (c->stage == STAGE_RCPT || c->stage == STAGE_ETRN)) {
        plan(c, &phase_client);
        plan(c, &phase_helo);
        if (c->stage == STAGE_RCPT)
            plan(c, &phase_sender);
    }
    switch (c->stage) {
    case STAGE_CLIENT:
        plan(c, &phase_client);
        break;
    case STAGE_HELO:
        plan(c, &phase_helo);
        break;
    case STAGE_MAIL:
        plan(c, &phase_sender);
        break;
    case STAGE_RCPT:
        plan(c, c->s->cfg->relay_first ? &phase_relay : &phase_recipient);
        plan(c, c->s->cfg->relay_first ? &phase_recipient : &phase_relay);
        break;
    case STAGE_DATA:
        plan(c, &phase_data);
        break;
    case STAGE_END_OF_DATA:
        plan(c, &phase_eod);
        break;
    case STAGE_ETRN:
        plan(c, &phase_etrn);
    }
}

static void
finish(struct check *c)
{
    struct smtpd_sess *s = c->s;
    void (*done)(struct smtpd_sess *, const char *) = c->done;
    char reply[CHECK_REPLY_OCTETS];
    bool is_refused = c->is_refused;

    memcpy(reply, c->reply, sizeof(reply));
    s->check = NULL;
    done(s, is_refused ? reply : NULL);
}

/* After a stage's own lists: what an earlier temporary failure put off, then users that no list has looked for. */
static bool
stage_is_over(struct check *c)
{
    if (!c->is_refused && c->deferral[0] && (c->stage == STAGE_RCPT || c->stage == STAGE_ETRN)) {
        check_refuse_with(c, c->deferral);
        c->is_refused = true;
    }
    if (c->is_refused || c->tail_done)
        return true;
    c->tail_done = true;
    if (c->stage == STAGE_RCPT && c->s->cfg->conf->smtpd_reject_unlisted_recipient &&
        !c->rcpt_listed) {
        check_unlisted_recipient(c);
        return false;
    }
    if (c->stage == STAGE_MAIL && c->s->cfg->conf->smtpd_reject_unlisted_sender &&
        !c->sender_listed && c->about.sender.n) {
        check_unlisted_sender(c);
        return false;
    }
    return true;
}

static bool
has_subject(const struct check *c, unsigned needs)
{
    return !((needs & NEEDS_HELO) && c->about.helo == NULL) &&
           !((needs & NEEDS_SENDER) && c->about.sender.n == 0) &&
           !((needs & NEEDS_RCPT) && c->about.recipient.p == NULL);
}

/* The next step of the lists; false when they are all through. */
static bool
next_step(struct check *c)
{
    while (c->at_phase < c->n_phases) {
        const struct phase *p = c->phases[c->at_phase];
        const struct restrict_list *l = &c->s->cfg->lists[p->list];

        c->reply_class = p->reply_class;
        if (c->at_step < l->n) {
            const struct restrict_step *step = &l->v[c->at_step++];

            if (!has_subject(c, step->verb->needs))
                continue;
            c->arg = step->arg;
            step->verb->run(c);
            return true;
        }
        c->at_phase++;
        c->at_step = 0;
    }
    return false;
}

static void
run(struct check *c)
{
    c->is_running = true;
    for (;;) {
        c->is_answered = false;
        if (!next_step(c) && stage_is_over(c)) {
            finish(c);
            return;
        }
        if (!c->is_answered)
            break;
        if (c->verdict == VERDICT_REFUSE) {
            finish(c);
            return;
        }
        if (c->verdict == VERDICT_PERMIT &&
            !c->tail_done) { /* the rest of this list has nothing to say */
            c->at_phase++;
            c->at_step = 0;
        }
    }
    c->is_running = false;
}

void
check_done(struct check *c, enum verdict v)
{
    c->verdict = v;
    c->is_answered = true;
    if (v == VERDICT_REFUSE)
        c->is_refused = true;
    if (c->is_running)
        return;
    if (v == VERDICT_REFUSE) {
        finish(c);
        return;
    }
    if (v == VERDICT_PERMIT && !c->tail_done) {
        c->at_phase++;
        c->at_step = 0;
    }
    run(c);
}

void
restrict_run(struct smtpd_sess *s, enum restrict_stage stage, const struct restrict_subject *about,
             void (*done)(struct smtpd_sess *s, const char *reply))
{
    struct check *c = ARENA_NEW(&s->smtp.cmd, struct check);

    if (c == NULL) {
        done(s, "451 4.3.0 Error: too much memory wanted");
        return;
    }
    s->check = c;
    c->s = s;
    c->stage = stage;
    c->about = *about;
    c->done = done;
    if (s->tx && s->tx->deferral)
        snprintf(c->deferral, sizeof(c->deferral), "%s", s->tx->deferral);
    plan_stage(c);
    run(c);
}

/* ---- refusing ---- */

void
check_refuse_with(struct check *c, const char *reply)
{
    if (reply != c->reply)
        snprintf(c->reply, sizeof(c->reply), "%s", reply);
    for (char *p = c->reply; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 127)
            *p = ' ';
    c->reply[4] = c->reply[0]; /* the enhanced code's class follows the code */
    smtpd_log_reject(c->s, c->reply, c->about.sender, c->about.recipient);
}

static void format_reply(char *out, int64_t code, const char *esc, const char *fmt, va_list ap)
    __attribute__((format(printf, 4, 0)));
static void
format_reply(char *out, int64_t code, const char *esc, const char *fmt, va_list ap)
{
    int n = snprintf(out, CHECK_REPLY_OCTETS, "%d %s ", (int)code, esc);

    vsnprintf(out + n, (size_t)(CHECK_REPLY_OCTETS - n), fmt, ap);
}

void
check_refuse(struct check *c, int64_t code, const char *esc, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    format_reply(c->reply, code, esc, fmt, ap);
    va_end(ap);
    check_refuse_with(c, c->reply);
    check_done(c, VERDICT_REFUSE);
}

void
check_defer_if_permit(struct check *c, int64_t code, const char *esc, const char *fmt, ...)
{
    va_list ap;

    if (c->deferral[0] == '\0') { /* the first reason is the one that is told */
        va_start(ap, fmt);
        format_reply(c->deferral, code, esc, fmt, ap);
        va_end(ap);
    }
    if (c->stage == STAGE_MAIL && c->s->tx && c->s->tx->deferral == NULL)
        c->s->tx->deferral = mem_dupz(c->deferral);
    check_done(c, VERDICT_DUNNO);
}
