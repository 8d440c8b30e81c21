/* smtpd/verbs_verify.c - reject_unverified_sender and _recipient: is there a mailbox? qmgr knows what its last probe found, or
 * probes; this asks again a few times, as address_verify_poll_count and _delay say, and otherwise lets the client try later.
 * The address that is probed is what virtual aliases make of it, so one mailbox behind many aliases is probed once. */
#include "smtpd/check.h"

#include "base/log.h"
#include "base/mem.h"
#include "proto/lookup_keys.h"
#include "smtpd/expand.h"
#include "smtpd/rewrite.h"
#include "smtpd/srs.h"

#include <stdlib.h>

enum { ALIASES_FOLLOWED_MAX = 100, REASON_OCTETS = 250 };

struct verify { /* in the command's memory */
    bool is_sender;
    struct slice given;
    struct addr_info at; /* what aliases have made of it so far */
    struct slice probed; /* ... and where mail for that would go */
    unsigned depth;
    int64_t polls_left;
};

/* The next question, later. The session may be gone by then. */
struct poll {
    struct timer timer;
    uint64_t session;
};

static void ask_qmgr(struct check *c);
static void follow(struct check *c, struct slice addr);

/* ---- the outcome ---- */

static const char *
class_of(const struct verify *v)
{
    return v->is_sender ? CLASS_TEXT_SENDER : CLASS_TEXT_RECIPIENT;
}

static const char *
esc_of(const struct verify *v)
{
    return v->is_sender ? "4.1.7" : "4.1.1";
}

static const char *
tempfail_action(const struct check *c, const struct verify *v)
{
    return v->is_sender ? c->s->cfg->conf->unverified_sender_tempfail_action
                        : c->s->cfg->conf->unverified_recipient_tempfail_action;
}

static void
trouble(struct check *c)
{
    struct verify *v = c->own;

    check_tempfail(c, tempfail_action(c, v), 450, esc_of(v),
                   "<%.*s>: %s rejected: address verification problem", SL_ARG(v->given),
                   class_of(v));
}

static void
conclude(struct check *c, enum verify_status status, struct slice why)
{
    const struct conf *conf = c->s->cfg->conf;
    struct verify *v = c->own;
    int64_t defer_code =
        v->is_sender ? conf->unverified_sender_defer_code : conf->unverified_recipient_defer_code;
    int64_t reject_code =
        v->is_sender ? conf->unverified_sender_reject_code : conf->unverified_recipient_reject_code;
    int64_t code = status == VERIFY_OK ? 250 : status == VERIFY_BOUNCE ? reject_code : defer_code;
    const char *reason = v->is_sender ? conf->unverified_sender_reject_reason
                                      : conf->unverified_recipient_reject_reason;

    if (reason[0])
        why = sl_z(reason);
    if (code < 400)
        check_done(c, VERDICT_DUNNO);
    else if (code < 500)
        check_tempfail(c, tempfail_action(c, v), code, esc_of(v),
                       "<%.*s>: %s rejected: unverified address: %.*s", SL_ARG(v->given),
                       class_of(v), SL_ARG(sl_head(why, REASON_OCTETS)));
    else
        check_refuse(c, code, esc_of(v), "<%.*s>: %s rejected: undeliverable address: %.*s",
                     SL_ARG(v->given), class_of(v), SL_ARG(why));
}

/* ---- asking qmgr ---- */

static void
on_poll(void *arg)
{
    struct poll *p = arg;
    struct check *c = check_of_session(p->session);

    free(p);
    if (c)
        ask_qmgr(c);
}

static void
on_verdict(uint64_t session, int rc, enum verify_status status, struct slice text)
{
    struct check *c = check_of_session(session);
    struct verify *v;
    struct poll *p;

    if (c == NULL)
        return;
    v = c->own;
    v->polls_left--;
    if (v->polls_left > 0 &&
        (rc != 0 || status == VERIFY_TODO)) { /* a new qmgr may be there by then */
        p = MEM_NEW(struct poll);
        p->session = session;
        timer_start(&p->timer, (uint64_t)c->s->cfg->conf->address_verify_poll_delay, on_poll, p);
        return;
    }
    if (rc == 0) {
        conclude(c, status, text);
        return;
    }
    log_event(LOG_LV_WARN, c->s->cfg->ident, "verify.away", LOG_F(LF_S("addr", v->given)),
              "verify service failure");
    trouble(c);
}

static void
ask_qmgr(struct check *c)
{
    struct verify *v = c->own;

    queue_verify(smtpd_env.queue, v->probed, v->given, on_verdict, c->s->smtp.id);
}

/* ---- aliases ---- */

static void
on_local_alias(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct check *c = s->check;

    (void)arg;
    (void)value;
    (void)ext;
    if (f == FOUND_TEMP)
        trouble(c);
    else if (f == FOUND_YES) /* aliases(5): as Postfix's local(8), that is all there is to know */
        conclude(c, VERIFY_OK, SL(""));
    else
        ask_qmgr(c);
}

/* No virtual alias any more. */
static void
followed(struct check *c)
{
    struct verify *v = c->own;
    struct slice local, domain;

    if (!v->at.to.is_local || c->s->cfg->conf->alias_maps.n == 0) {
        ask_qmgr(c);
        return;
    }
    smtp_addr_split(v->at.to.addr, &local, &domain);
    find_name(c->s, "alias_maps", local, true, on_local_alias, NULL);
}

static void
on_virtual_alias(struct smtpd_sess *s, void *arg, enum found f, struct slice value,
                 struct slice ext)
{
    struct check *c = s->check;
    struct verify *v = c->own;
    struct slice one, to = { 0 };
    size_t n = 0;

    (void)arg;
    if (f == FOUND_TEMP) {
        trouble(c);
        return;
    }
    if (!expand_keeps_extension(s))
        ext = SL("");
    while (f == FOUND_YES && n < 2 && lookup_take_listed(&value, &one))
        if (expand_target(s, v->at.to.addr, one, ext, &to) && to.n > 0)
            n++;
    if (n > 1) /* one of them may well be no good: that says nothing about the alias */
        conclude(c, VERIFY_OK, SL(""));
    else if (n == 0 || sl_ieq(to, v->at.to.addr))
        followed(c);
    else if (++v->depth > ALIASES_FOLLOWED_MAX)
        trouble(c);
    else
        follow(c, to);
}

/* A sender of ours whose signature holds is good: what is behind it need not be tried. */
static void
on_srs(struct smtpd_sess *s, void *arg, enum srs_verdict verdict, struct slice value)
{
    struct check *c = s->check;
    struct verify *v = c->own;

    (void)arg;
    (void)value;
    if (verdict == SRS_UNKNOWN)
        trouble(c);
    else if (verdict == SRS_STANDS)
        conclude(c, VERIFY_OK, SL(""));
    else if (verdict == SRS_TOO_OLD)
        conclude(c, VERIFY_BOUNCE, SL("SRS address has expired"));
    else if (s->cfg->conf->virtual_alias_maps.n > 0)
        find_addr(s, "virtual_alias_maps", v->at.to.addr, v->at.to.is_local, on_virtual_alias,
                  NULL);
    else
        followed(c);
}

static void
on_route(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct check *c = s->check;
    struct verify *v = c->own;

    (void)arg;
    (void)value;
    (void)ext;
    if (f == FOUND_YES)
        v->probed = expand_destination(smtp_addr_rewrite(&s->cfg->rules, v->at.given, &s->smtp.cmd),
                                       &v->at, &s->smtp.cmd);
    if (f == FOUND_TEMP || (f == FOUND_YES && v->probed.p == NULL))
        trouble(c);
    else if (f == FOUND_NO)
        conclude(c, VERIFY_BOUNCE, SL("bad address syntax"));
    else
        srs_ask(s, v->at.to.addr, on_srs, NULL);
}

static void
follow(struct check *c, struct slice addr)
{
    struct verify *v = c->own;

    v->at = (struct addr_info){ .given = addr };
    find_route(c->s, &v->at, &c->s->smtp.cmd, on_route, NULL);
}

/* A probe would be mapped as other mail is. */
static void
on_mapped(struct smtpd_sess *s, bool good, struct slice addr)
{
    struct check *c = s->check;

    if (good)
        follow(c, addr);
    else
        trouble(c);
}

/* ---- the verbs ---- */

static void
verify(struct check *c, bool is_sender)
{
    struct verify *v = ARENA_NEW(&c->s->smtp.cmd, struct verify);

    if (v == NULL) {
        check_fail(c, 451, "4.3.0", "Error: out of room for this command");
        return;
    }
    c->own = v;
    v->is_sender = is_sender;
    v->given = is_sender ? c->about.sender : c->about.recipient;
    v->polls_left = c->s->cfg->conf->address_verify_poll_count;
    rewrite_recipient(c->s, v->given, on_mapped);
}

void
verb_reject_unverified_sender(struct check *c)
{
    verify(c, true);
}

void
verb_reject_unverified_recipient(struct check *c)
{
    verify(c, false);
}
