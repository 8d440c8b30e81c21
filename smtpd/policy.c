/* smtpd/policy.c - check_policy_service: what is known is asked of a policy server (SMTPD_POLICY_README), its answer is an
 * action as access tables have it. Attributes and their order are those that Postfix sends. */
#include "smtpd/check.h"
#include "smtpd/policy_arg.h"

#include "base/clock.h"
#include "base/enc.h"
#include "base/log.h"
#include "base/utf8.h"
#include "proto/policy.h"

#include <stdlib.h>
#include <unistd.h>

#define POLICY_BUILT_IN_ACTION "451 4.3.5 Server configuration problem"

/* ---- the request ---- */

static void
add_client(struct buf *b, const struct smtpd_sess *s)
{
    char ip[ADDR_TEXT_OCTETS], own_ip[ADDR_TEXT_OCTETS];

    policy_add(b, "client_address", sl_z(addr_ip_text(&s->peer, ip)));
    policy_add(b, "client_name", sl_z(s->name));
    policy_add_number(b, "client_port", s->port);
    policy_add(b, "reverse_client_name", sl_z(s->reverse_name));
    policy_add(b, "server_address", sl_z(addr_ip_text(&s->local, own_ip)));
    policy_add_number(b, "server_port", addr_port(&s->local));
}

/* Requests about one message have one instance: process, time of the connection, number of the message in it. */
static void
add_instance(struct buf *b, const struct smtpd_sess *s)
{
    buf_addf(b, "instance=%x.%llx.%llx.%x\n", (unsigned)getpid(),
             (unsigned long long)(s->began_unix_us / 1000000),
             (unsigned long long)(s->began_unix_us % 1000000), s->n_messages);
}

static void
add_message(struct buf *b, const struct check *c)
{
    const struct smtpd_tx *tx = c->s->tx;
    bool is_whole = c->stage == STAGE_DATA || c->stage == STAGE_END_OF_DATA;
    uint64_t size = tx == NULL ? 0 : tx->size_octets > 0 ? tx->size_octets : tx->params.size_octets;

    policy_add(b, "helo_name", sl_z(c->about.helo));
    policy_add(b, "sender", c->about.sender);
    policy_add(b, "recipient", c->about.recipient);
    policy_add_number(b, "recipient_count", is_whole && tx ? tx->n_rcpts : 0);
    policy_add(b, "queue_id", sl_z(tx ? tx->id : ""));
    add_instance(b, c->s);
    policy_add_number(b, "size", size);
    policy_add(b, "etrn_domain", c->about.etrn);
}

/* What no authority has vouched for is not told; a fingerprint is, for it cannot be made up. */
static void
add_cert_name(struct buf *b, const char *attribute, const struct tls_info *t, const char *cn)
{
    struct buf text = { 0 };

    if (t->peer_verified)
        (void)enc_xtext(&text, sl_z(cn));
    policy_add(b, attribute, buf_slice(&text));
    buf_free(&text);
}

static void
add_security(struct buf *b, const struct smtpd_sess *s)
{
    struct tls_info t = { 0 };
    bool is_tls = tls_info_of(s->smtp.conn, &t);

    policy_add(b, "sasl_method", sl_z(s->sasl_method));
    policy_add(b, "sasl_username", sl_z(s->sasl_user));
    policy_add(b, "sasl_sender", s->tx && s->sasl_user ? s->tx->params.auth : SL(""));
    add_cert_name(b, "ccert_subject", &t, t.peer_cn);
    add_cert_name(b, "ccert_issuer", &t, t.issuer_cn);
    policy_add(b, "ccert_fingerprint", sl_z(t.peer_fingerprint));
    policy_add(b, "ccert_pubkey_fingerprint", sl_z(t.peer_key_fingerprint));
    policy_add(b, "encryption_protocol", sl_z(t.protocol));
    policy_add(b, "encryption_cipher", sl_z(t.cipher));
    policy_add_number(b, "encryption_keysize", is_tls ? (uint64_t)t.bits : 0);
}

static void
make_request(struct buf *b, const struct check *c, const struct policy_arg *a)
{
    const struct smtpd_sess *s = c->s;
    const struct conf *conf = s->cfg->conf;
    const char *where = s->smtp.where;
    char *level = conf_value_text(conf, "compatibility_level", false); /* as written: "3.6" */

    policy_add(b, "request", SL("smtpd_access_policy"));
    policy_add(b, "protocol_state", strcmp(where, "BDAT") == 0 ? SL("DATA") : sl_z(where));
    policy_add(b, "protocol_name", s->is_esmtp ? SL("ESMTP") : SL("SMTP"));
    add_client(b, s);
    add_message(b, c);
    policy_add(b, "stress", sl_z(conf->stress));
    add_security(b, s);
    policy_add(b, "policy_context", a->context);
    policy_add(b, "compatibility_level", sl_z(level));
    free(level);
    policy_add(b, "mail_version", sl_z(conf->mail_version));
    policy_end(b);
}

/* ---- the answer ---- */

static void
default_is_over(struct check *c, enum verdict v)
{
    c->in_policy_default = false;
    check_done(c, v);
}

/* A default action that asks a policy server in its turn gets the built-in one, or there would be no end. */
static void
no_answer(struct check *c)
{
    const struct policy_arg *a = c->own;

    if (c->in_policy_default) {
        check_action(c, SL(POLICY_BUILT_IN_ACTION), c->arg, SL("policy query"));
        return;
    }
    c->in_policy_default = true;
    check_after(c, default_is_over);
    check_action(c, a->default_action, c->arg, SL("policy query"));
}

static void
on_answer(uint64_t id, bool ok, struct slice action)
{
    struct smtp_sess *smtp = id_get(id);
    struct smtpd_sess *s;
    struct check *c;

    if (smtp == NULL)
        return;
    s = smtpd_of(smtp);
    c = s->check;
    if (ok && s->cfg->conf->smtputf8_enable && !utf8_is_valid(action)) {
        log_event(LOG_LV_WARN, s->cfg->ident, "policy.utf8", LOG_F(LF_Z("server", c->arg)),
                  "malformed UTF-8 in policy server %s response: \"%.*s\"", c->arg,
                  SL_ARG(sl_head(action, 200)));
        ok = false;
    }
    if (ok)
        check_action(c, action, c->arg, SL("policy query"));
    else
        no_answer(c);
}

void
verb_check_policy_service(struct check *c)
{
    struct arena *mem = &c->s->smtp.cmd;
    struct policy_arg *a = ARENA_NEW(mem, struct policy_arg);
    struct buf request = { 0 };
    struct err e = { 0 };

    if (a == NULL || policy_arg_parse(c->arg, c->s->cfg->conf, mem, a, &e)) {
        log_event(LOG_LV_ERROR, c->s->cfg->ident, "policy.config", LOG_NONE,
                  "check_policy_service: %s", e.msg);
        check_server_error(c);
        return;
    }
    c->own = a;
    make_request(&request, c, a);
    policy_ask(smtpd_env.policy, &a->server, c->s->cfg->ident, buf_slice(&request), on_answer,
               c->s->smtp.id);
    buf_free(&request);
}
