/* smtpd/verbs_quota.c - has the recipient's mailbox room? Asked at RCPT of lmtpd's private/quota where quota is set, after all
 * restrictions have let the recipient pass, so that what would be returned is not taken in the first place. Only who is one
 * mailbox of our own lmtpd is asked about, also behind aliases that lead to this one alone. Whatever cannot be found out
 * is no reason to refuse: lmtpd looks again at delivery. */
#include "smtpd/check.h"

#include "base/log.h"
#include "base/mem.h"
#include "proto/lookup_keys.h"
#include "proto/policy.h"
#include "session/quota_tell.h"
#include "smtpd/access.h"
#include "smtpd/expand.h"
#include "smtpd/policy_arg.h"
#include "smtpd/rewrite.h"

#include <stdlib.h>

enum {
    QUOTA_FOLLOWED_MAX = 20, /* aliases one behind the other */
    QUOTA_AWAY_MS = 5000,    /* a service that has not answered is left alone for so long */
    QUOTA_IDLE_MS = 100 * 1000,
    QUOTA_TTL_MS = 1000 * 1000
};

struct quota { /* in the command's memory */
    struct addr_info at;
    unsigned depth;
    struct lookup_keys keys; /* of transport(5) */
    struct lookup_key room[LOOKUP_TRANSPORT_KEYS_MAX];
    size_t key_at;
};

static uint64_t away_until_ms; /* of this process */
static bool is_away;           /* told in the log */

static void follow(struct check *c, struct slice addr);

/* ---- the question ---- */

static void
is_answered(struct check *c, bool ok)
{
    if (!ok && !is_away)
        log_event(LOG_LV_WARN, c->s->cfg->ident, "quota.away", LOG_NONE,
                  "quota service %s does not answer: recipients are accepted unasked",
                  c->s->cfg->conf->smtpd_quota_service);
    if (ok && is_away)
        log_event(LOG_LV_INFO, c->s->cfg->ident, "quota.back", LOG_NONE,
                  "quota service %s answers again", c->s->cfg->conf->smtpd_quota_service);
    if (!ok)
        away_until_ms = loop_now_ms() + QUOTA_AWAY_MS;
    is_away = !ok;
}

static void
on_answer(uint64_t session, bool ok, struct slice action)
{
    struct check *c = check_of_session(session);
    struct access_action a;

    if (c == NULL)
        return;
    is_answered(c, ok);
    access_action_parse(action, &a);
    if (ok && (a.kind == ACCESS_REJECT || a.kind == ACCESS_DEFER || a.kind == ACCESS_CODE))
        check_action(c, action, c->s->cfg->conf->smtpd_quota_service, SL("policy query"));
    else
        check_done(c, VERDICT_DUNNO);
}

static void
ask(struct check *c)
{
    const struct conf *conf = c->s->cfg->conf;
    struct policy_arg a;
    struct quota *q = c->own;
    struct buf request = { 0 };

    if (loop_now_ms() < away_until_ms ||
        policy_arg_parse(conf->smtpd_quota_service, conf, &c->s->smtp.cmd, &a, NULL)) {
        check_done(c, VERDICT_DUNNO);
        return;
    }
    a.server.timeout_ms = (uint64_t)conf->smtpd_quota_timeout;
    a.server.max_idle_ms = QUOTA_IDLE_MS;
    a.server.max_ttl_ms = QUOTA_TTL_MS;
    a.server.try_limit = 1;
    a.server.request_limit = 0;
    a.server.is_quiet = true;
    policy_add(&request, "request", SL("smtpd_access_policy"));
    policy_add(&request, "protocol_state", SL("RCPT"));
    policy_add(&request, "sender", c->about.sender);
    policy_add(&request, "recipient", q->at.to.addr);
    policy_add_number(&request, "size", c->s->tx ? c->s->tx->params.size_octets : 0);
    policy_add(&request, "policy_context", SL(QUOTA_OWN_CONTEXT));
    policy_end(&request);
    policy_ask(smtpd_env.policy, &a.server, c->s->cfg->ident, buf_slice(&request), on_answer,
               c->s->smtp.id);
    buf_free(&request);
}

/* ---- is its way that to our own lmtpd? ---- */

static bool
is_own_transport(const struct conf *c, struct slice transport)
{
    if (sl_eqz(transport, "virtual") || sl_has_prefix(transport, SL("virtual:")))
        return true;
    if (!sl_take_prefix(&transport, SL("lmtp:")))
        return false;
    for (size_t i = 0; i < c->listen_lmtp.n; i++)
        if (sl_has_prefix(transport, SL("unix:")) && sl_eqz(transport, c->listen_lmtp.v[i]))
            return true;
    return false;
}

static void
got_transport(struct check *c, struct slice transport)
{
    if (is_own_transport(c->s->cfg->conf, sl_trim(transport)))
        ask(c);
    else
        check_done(c, VERDICT_DUNNO);
}

static void
on_transport(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct quota *q = arg;
    const struct lookup_key *k;

    (void)ext;
    value = sl_trim(value);
    if (f == FOUND_TEMP) {
        check_done(s->check, VERDICT_DUNNO);
    } else if (f == FOUND_YES && value.n > 0 && !sl_starts(value, ':')) {
        got_transport(s->check, value);
    } else if (f == FOUND_YES || q->key_at == q->keys.n) {
        got_transport(s->check, sl_z(s->cfg->conf->virtual_transport));
    } else {
        k = &q->keys.v[q->key_at++];
        (k->is_part ? find_part : find_key)(s, "transport_maps", k->key, on_transport, q);
    }
}

static void
on_class(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct quota *q = arg;
    struct slice local, domain;

    (void)value;
    (void)ext;
    if (f != FOUND_YES || q->at.cls != CLASS_VIRTUAL) {
        check_done(s->check, VERDICT_DUNNO);
        return;
    }
    if (s->cfg->conf->transport_maps.n == 0) {
        got_transport(s->check, sl_z(s->cfg->conf->virtual_transport));
        return;
    }
    q->keys = (struct lookup_keys){ .v = q->room, .max = LOOKUP_TRANSPORT_KEYS_MAX };
    smtp_addr_split(q->at.to.addr, &local, &domain);
    lookup_keys_transport(&q->keys, q->at.to.addr, find_extension(s->cfg, local), &s->smtp.cmd);
    on_transport(s, q, q->keys.is_full ? FOUND_TEMP : FOUND_NO, SL(""), SL(""));
}

/* ---- aliases ---- */

static void
on_alias(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct quota *q = arg;
    struct slice one, to = { 0 };
    size_t n = 0;

    if (!expand_keeps_extension(s))
        ext = SL("");
    while (f == FOUND_YES && n < 2 && lookup_take_listed(&value, &one))
        if (expand_target(s, q->at.to.addr, one, ext, &to) && to.n > 0)
            n++;
    if (f == FOUND_TEMP || n > 1 || (n == 1 && ++q->depth > QUOTA_FOLLOWED_MAX))
        check_done(s->check, VERDICT_DUNNO);
    else if (n == 0 || sl_ieq(to, q->at.to.addr))
        find_class(s, &q->at, on_class, q);
    else
        follow(s->check, to);
}

static void
on_route(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct quota *q = arg;

    (void)value;
    (void)ext;
    if (f != FOUND_YES)
        check_done(s->check, VERDICT_DUNNO);
    else if (s->cfg->conf->virtual_alias_maps.n > 0)
        find_addr(s, "virtual_alias_maps", q->at.to.addr, q->at.to.is_local, on_alias, q);
    else
        find_class(s, &q->at, on_class, q);
}

static void
follow(struct check *c, struct slice addr)
{
    struct quota *q = c->own;

    q->at = (struct addr_info){ .given = addr };
    find_route(c->s, &q->at, &c->s->smtp.cmd, on_route, q);
}

static void
on_mapped(struct smtpd_sess *s, bool good, struct slice addr)
{
    if (good)
        follow(s->check, addr);
    else
        check_done(s->check, VERDICT_DUNNO);
}

bool
check_wants_room(const struct check *c)
{
    const struct conf *conf = c->s->cfg->conf;

    return conf->quota[0] != '\0' && conf->smtpd_quota_service[0] != '\0';
}

void
check_room(struct check *c)
{
    c->own = ARENA_NEW(&c->s->smtp.cmd, struct quota);
    c->after = NULL;
    c->warn_depth = 0;
    c->reply_class = CLASS_TEXT_RECIPIENT;
    c->reply_name = c->about.recipient;
    if (c->own)
        rewrite_recipient(c->s, c->about.recipient, on_mapped);
    else
        check_done(c, VERDICT_DUNNO);
}
