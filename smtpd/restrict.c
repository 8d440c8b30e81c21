/* smtpd/restrict.c - restriction lists are run step by step. A verb ends by saying its verdict to check_done(), at once or
 * when its answer has come; the runner goes round a loop, not down the stack, however deep lists are nested. */
#include "smtpd/restrict.h"

#include "base/log.h"
#include "base/mem.h"
#include "smtpd/check.h"

#include <stdio.h>
#include <stdlib.h>

const struct restrict_verb restrict_verbs[] = {
#define RESTRICT(name, needs, fn) { name, fn },
#include "smtpd/restrict.def"
};

/* ---- which lists a stage goes through, and in whose name they refuse ---- */

struct phase {
    enum restrict_list_id list;
    const char *reply_class;
    const char *bare_verb; /* what a table alone stands for; NULL: nothing */
    bool
        goes_on; /* what could not be asked in the list before still counts: two lists make one stage */
};
static const struct phase phase_client = { RESTRICT_CLIENT, CLASS_TEXT_CLIENT,
                                           "check_client_access", false };
static const struct phase phase_helo = { RESTRICT_HELO, CLASS_TEXT_HELO, "check_helo_access",
                                         false };
static const struct phase phase_sender = { RESTRICT_SENDER, CLASS_TEXT_SENDER,
                                           "check_sender_access", false };
static const struct phase phase_relay = { RESTRICT_RELAY, CLASS_TEXT_RECIPIENT,
                                          "check_recipient_access", false };
static const struct phase phase_recipient = { RESTRICT_RECIPIENT, CLASS_TEXT_RECIPIENT,
                                              "check_recipient_access", false };
static const struct phase phase_relay_2 = { RESTRICT_RELAY, CLASS_TEXT_RECIPIENT,
                                            "check_recipient_access", true };
static const struct phase phase_recipient_2 = { RESTRICT_RECIPIENT, CLASS_TEXT_RECIPIENT,
                                                "check_recipient_access", true };
static const struct phase phase_data = { RESTRICT_DATA, CLASS_TEXT_DATA, NULL, false };
static const struct phase phase_eod = { RESTRICT_END_OF_DATA, CLASS_TEXT_EOD, NULL, false };
static const struct phase phase_etrn = { RESTRICT_ETRN, CLASS_TEXT_ETRN, "check_etrn_access",
                                         false };

static void
plan(struct check *c, const struct phase *p)
{
    c->phases[c->n_phases++] = p;
}

static void
plan_helo(struct check *c)
{
    if (c->about.helo)
        plan(c, &phase_helo);
}

static void
plan_sender(struct check *c)
{
    if (c->about.sender.p)
        plan(c, &phase_sender);
}

static void
plan_stage(struct check *c)
{
    bool is_delayed = c->s->cfg->conf->smtpd_delay_reject;

    if (is_delayed && (c->stage == STAGE_RCPT || c->stage == STAGE_ETRN)) {
        plan(c, &phase_client);
        plan_helo(c);
        if (c->stage == STAGE_RCPT)
            plan_sender(c);
    }
    switch (c->stage) {
    case STAGE_CLIENT:
        plan(c, &phase_client);
        break;
    case STAGE_HELO:
        plan_helo(c);
        break;
    case STAGE_MAIL:
        plan_sender(c);
        break;
    case STAGE_RCPT:
        plan(c, c->s->cfg->relay_first ? &phase_relay : &phase_recipient);
        plan(c, c->s->cfg->relay_first ? &phase_recipient_2 : &phase_relay_2);
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

static struct slice
phase_name(const struct check *c, const struct phase *p)
{
    switch (p->list) {
    case RESTRICT_CLIENT:
        return sl_z(c->s->namaddr);
    case RESTRICT_HELO:
        return sl_z(c->about.helo);
    case RESTRICT_SENDER:
        return c->about.sender;
    case RESTRICT_DATA:
        return SL("DATA");
    case RESTRICT_END_OF_DATA:
        return SL("END-OF-MESSAGE");
    case RESTRICT_ETRN:
        return c->about.etrn;
    default:
        return c->about.recipient;
    }
}

struct slice
check_reply_name(const struct check *c)
{
    return c->reply_name;
}

/* ---- deferrals go on from stage to stage, where each is evaluated in its time ---- */

static void
take_over_deferral(struct check *c)
{
    const struct smtpd_sess *s = c->s;
    const char *from = NULL;

    if (s->cfg->conf->smtpd_delay_reject)
        return; /* the stages before are evaluated again */
    if (c->stage == STAGE_RCPT)
        from = s->tx ? s->tx->deferral : s->helo_deferral;
    else if (c->stage == STAGE_MAIL || c->stage == STAGE_ETRN)
        from = s->helo_deferral ? s->helo_deferral : s->client_deferral;
    else if (c->stage == STAGE_HELO)
        from = s->client_deferral;
    if (from)
        snprintf(c->if_permit, sizeof(c->if_permit), "%s", from);
}

static void
hand_on_deferral(const struct check *c)
{
    struct smtpd_sess *s = c->s;
    char **to = c->stage == STAGE_CLIENT          ? &s->client_deferral
                : c->stage == STAGE_HELO          ? &s->helo_deferral
                : c->stage == STAGE_MAIL && s->tx ? &s->tx->deferral
                                                  : NULL;

    if (to == NULL)
        return;
    free(*to);
    *to = c->if_permit[0] ? mem_dupz(c->if_permit) : NULL;
}

/* ---- lists in lists ---- */

struct frame {
    struct frame *up;
    const struct restrict_list *list;
    size_t at;
    const char *reply_class; /* of all its steps */
    struct slice reply_name;
    /* The step outside that this list is evaluated for. */
    const struct restrict_step *step;
    const char *arg;
    const char *outer_class;
    struct slice outer_name;
    check_after_fn *after;
    struct addr_info *addr;
    bool is_sender;
    int64_t code;
    const char *esc;
    void *own;
};

/* False: there is no more memory for this command. */
static bool
push(struct check *c, const struct restrict_list *l)
{
    struct frame *f = c->spare;

    if (f)
        c->spare = f->up;
    else
        f = ARENA_NEW(&c->s->smtp.cmd, struct frame);
    if (f == NULL)
        return false;
    *f = (struct frame){ .up = c->frame,
                         .list = l,
                         .reply_class = c->reply_class,
                         .reply_name = c->reply_name,
                         .step = c->step,
                         .arg = c->arg,
                         .outer_class = c->reply_class,
                         .outer_name = c->reply_name,
                         .after = c->after,
                         .addr = c->addr,
                         .is_sender = c->is_sender,
                         .code = c->code,
                         .esc = c->esc,
                         .own = c->own };
    c->frame = f;
    c->depth++;
    c->after = NULL;
    return true;
}

static void
pop(struct check *c)
{
    struct frame *f = c->frame;

    c->frame = f->up;
    c->step = f->step;
    c->arg = f->arg;
    c->reply_class = f->outer_class;
    c->reply_name = f->outer_name;
    c->after = f->after;
    c->addr = f->addr;
    c->is_sender = f->is_sender;
    c->code = f->code;
    c->esc = f->esc;
    c->own = f->own;
    f->up = c->spare;
    c->spare = f;
    c->depth--;
    if (c->warn_depth >= c->depth) /* it stood last in the list */
        c->warn_depth = 0;
}

static void run(struct check *c);

static void
config_error(struct check *c, const char *before, const char *what, const char *after)
{
    log_event(LOG_LV_WARN, c->s->cfg->ident, "restrict.config", LOG_F(LF_Z("what", what)), "%s%s%s",
              before, what, after);
    check_server_error(c);
}

void
check_enter(struct check *c, const struct restrict_list *l, const char *what)
{
    if (c->depth > RESTRICT_DEPTH_MAX) {
        config_error(c, "", what, " causes unreasonable recursion");
    } else if (!push(c, l)) {
        check_fail(c, 451, "4.3.0", "Error: too much memory wanted");
    } else {
        c->state = CHECK_READY;
        if (!c->is_running)
            run(c);
    }
}

/* ---- steps ---- */

/* DISCARD was said: there is nobody left to protect from this message. */
static bool
is_discarded(const struct check *c)
{
    return c->s->tx && c->s->tx->wishes.discard;
}

static bool
has_subject(const struct check *c, unsigned needs)
{
    return !((needs & NEEDS_HELO) && c->about.helo == NULL) &&
           !((needs & NEEDS_SENDER) && c->about.sender.n == 0) &&
           !((needs & NEEDS_RCPT) && c->about.recipient.p == NULL);
}

static void
run_verb(struct check *c, int verb)
{
    restrict_verbs[verb].run(c);
}

static void
run_bare(struct check *c)
{
    const struct phase *p = c->phases[c->at_phase];
    int verb = p->bare_verb ? restrict_verb_of(sl_z(p->bare_verb)) : -1;

    if (verb >= 0 && has_subject(c, restrict_verb_needs(verb)))
        run_verb(c, verb);
    else if (verb >= 0)
        check_done(c, VERDICT_DUNNO);
    else
        config_error(c,
                     "specify one of (check_client_access, check_reverse_client_hostname_access, "
                     "check_helo_access, check_sender_access, check_recipient_access, "
                     "check_etrn_access) before restriction ",
                     c->arg, "");
}

static void
list_over(struct check *c, enum verdict v)
{
    pop(c);
    c->verdict = v;
    c->state = CHECK_LIST_OVER;
}

const struct restrict_step *
check_step_ahead(const struct check *c, size_t ahead)
{
    const struct frame *f = c->frame;

    return f && ahead < f->list->n - f->at ? &f->list->v[f->at + ahead] : NULL;
}

/* Start the next step of the list, or end the list. */
static void
next_step(struct check *c)
{
    struct frame *f = c->frame;
    const struct restrict_step *step;

    while (f->at < f->list->n && !is_discarded(c)) {
        step = &f->list->v[f->at++];
        c->step = step;
        c->arg = step->arg;
        c->reply_class = f->reply_class;
        c->reply_name = f->reply_name;
        if (step->kind == RESTRICT_WARN) {
            if (c->warn_depth == 0)
                c->warn_depth = c->depth;
            continue;
        }
        if (++c->n_steps > RESTRICT_STEPS_MAX)
            config_error(c, "", step->name, " causes unreasonable work");
        else if (step->kind == RESTRICT_CLASS)
            check_enter(c, &step->cls->list, step->name);
        else if (step->kind == RESTRICT_BARE)
            run_bare(c);
        else if (has_subject(c, step->needs))
            run_verb(c, step->verb);
        else
            check_done(c, VERDICT_DUNNO);
        return;
    }
    list_over(c, VERDICT_DUNNO);
}

/* ---- stages ---- */

static void
finish(struct check *c)
{
    struct smtpd_sess *s = c->s;
    void (*done)(struct smtpd_sess *, const char *) = c->done;
    char reply[CHECK_REPLY_OCTETS];
    bool is_refused = c->is_refused;

    hand_on_deferral(c);
    memcpy(reply, c->reply, sizeof(reply));
    s->check = NULL;
    done(s, is_refused ? reply : NULL);
}

static void
start_phase(struct check *c)
{
    const struct phase *p = c->phases[c->at_phase];

    if (!p->goes_on)
        c->if_reject[0] = '\0';
    c->warn_depth = 0;
    c->step = NULL;
    c->reply_class = p->reply_class;
    c->reply_name = phase_name(c, p);
    check_enter(c, &c->s->cfg->restrictions.lists[p->list], restrict_list_name(p->list));
}

/* Users that no list has looked for; room in a mailbox. True: it is being done. */
static bool
starts_tail(struct check *c)
{
    const struct conf *conf = c->s->cfg->conf;

    if (is_discarded(c))
        return false;
    if (c->at_phase < c->n_phases) {
        if (c->phases[c->at_phase] != &phase_sender || c->sender_tail ||
            !conf->smtpd_reject_unlisted_sender || c->sender_listed || c->about.sender.n == 0)
            return false;
        c->sender_tail = c->in_tail = true;
        check_unlisted_sender(c);
        return true;
    }
    if (c->stage != STAGE_RCPT)
        return false;
    if (!c->rcpt_tail && conf->smtpd_reject_unlisted_recipient && !c->rcpt_listed) {
        c->rcpt_tail = c->in_tail = true;
        check_unlisted_recipient(c);
        return true;
    }
    if (c->quota_tail || !check_wants_room(c))
        return false;
    c->quota_tail = c->in_tail = true;
    check_room(c);
    return true;
}

/* A list of the stage is through, or what follows it. True: more was started; false: the stage is over. */
static bool
go_on_with_stage(struct check *c)
{
    if (starts_tail(c))
        return true;
    if (c->at_phase < c->n_phases && ++c->at_phase < c->n_phases) {
        start_phase(c);
        return true;
    }
    /* What an earlier temporary failure put off, where the client is told whether its mail is taken. */
    if (c->if_permit[0] && !c->rcpt_tail && !c->quota_tail && c->stage != STAGE_CLIENT &&
        c->stage != STAGE_HELO && c->stage != STAGE_MAIL) {
        check_refuse_with(c, c->if_permit);
        c->is_refused = true;
        return false;
    }
    return starts_tail(c);
}

/* Of a step, of a whole list inside a step, or of a tail. False: all is over. */
static bool
take_verdict(struct check *c)
{
    enum verdict v = c->verdict;
    check_after_fn *after = c->after;

    c->state = CHECK_WAITING;
    if (v == VERDICT_REFUSE) { /* nothing makes it less */
        c->is_refused = true;
        return false;
    }
    if (c->in_tail) {
        c->in_tail = false;
        return go_on_with_stage(c);
    }
    if (after) {
        c->after = NULL;
        after(c, v);
        return true;
    }
    if (c->warn_depth >= c->depth)
        c->warn_depth = 0;
    if (v == VERDICT_DUNNO && !(c->if_permit[0] && c->if_reject[0]))
        c->state = CHECK_READY;
    else
        list_over(c, v);
    return true;
}

static void
run(struct check *c)
{
    bool goes_on = true;

    c->is_running = true;
    while (goes_on && c->state != CHECK_WAITING) {
        if (c->state == CHECK_READY) {
            c->state = CHECK_WAITING;
            next_step(c);
        } else if (c->state == CHECK_ANSWERED || c->frame) {
            goes_on = take_verdict(c); /* CHECK_LIST_OVER: it is that of the step outside */
        } else {
            c->state = CHECK_WAITING;
            goes_on = go_on_with_stage(c);
        }
    }
    c->is_running = false;
    if (!goes_on)
        finish(c);
}

/* Verbs need not tell that what they permitted is logged. */
static void
log_permit_of_verb(struct check *c)
{
    const struct restrict_step *st = c->step;

    if (c->in_tail || c->after || st == NULL || st->kind != RESTRICT_VERB ||
        (st->needs & (ARG_TABLE | ARG_COLON) & ~(unsigned)NEEDS_ARG))
        return; /* an action's: logged where it was carried out */
    if (restrict_verbs[st->verb].run == verb_permit)
        check_log_permit(c, st->name, c->reply_class, c->reply_name, "");
    else if (st->needs & NEEDS_RCPT)
        check_log_permit(c, st->name, CLASS_TEXT_RECIPIENT, c->about.recipient, "");
    else
        check_log_permit(c, st->name, CLASS_TEXT_CLIENT, sl_z(c->s->namaddr), "");
}

void
check_done(struct check *c, enum verdict v)
{
    if (v == VERDICT_PERMIT)
        log_permit_of_verb(c);
    c->verdict = v;
    c->state = CHECK_ANSWERED;
    if (!c->is_running)
        run(c);
}

void
restrict_run(struct smtpd_sess *s, enum restrict_stage stage, const struct restrict_subject *about,
             void (*done)(struct smtpd_sess *s, const char *reply))
{
    struct check *c = s->pickup ? NULL : ARENA_NEW(&s->smtp.cmd, struct check);

    if (s->pickup) { /* it is no stranger */
        done(s, NULL);
        return;
    }
    if (c == NULL) {
        done(s, "451 4.3.0 Error: too much memory wanted");
        return;
    }
    s->check = c;
    c->s = s;
    c->stage = stage;
    c->about = *about;
    c->done = done;
    take_over_deferral(c);
    plan_stage(c);
    c->is_running = true; /* until here nothing runs */
    if (c->n_phases)
        start_phase(c);
    else
        c->state = CHECK_LIST_OVER; /* HELO that was not said: nothing to look at */
    run(c);
}
