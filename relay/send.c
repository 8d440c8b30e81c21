/* relay/send.c - one host after the other until each recipient has a final answer or no host is left. Content that is too
 * long to be kept goes to one host only: once it flows, the others are not tried. */
#include "relay/generic.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "core/daemon.h"
#include "core/loop.h"

#include <stdio.h>
#include <stdlib.h>

static void try_next(struct session *s);
static void connect_to(struct session *s, struct target *t);

/* ---- results ---- */

static void
set_result(struct session *s, size_t i, enum smtp_outcome outcome, const char *dsn,
           struct slice text, bool is_host)
{
    struct rcpt_result *r = &s->results[i];
    int64_t now = clock_unix_us();

    free(r->text);
    free(r->relay);
    r->outcome = outcome;
    snprintf(r->dsn, sizeof r->dsn, "%s", dsn);
    r->text = sl_dupz(sl_head(text, RELAY_TEXT_OCTETS));
    r->relay = mem_dupz(s->peer[0] && !s->has_no_peer ? s->peer : "none");
    r->conn_us = (uint64_t)((s->ready_us ? s->ready_us : now) - s->start_us);
    r->xfer_us = s->ready_us ? (uint64_t)(now - s->ready_us) : 0;
    r->is_host = is_host;
    r->uses = s->ready_us && !is_host ? s->use.times + 1 : 0;
    r->is_final = outcome != SMTP_DEFERRED;
}

static void
set_rest(struct session *s, enum smtp_outcome outcome, const char *dsn, struct slice text,
         bool is_host)
{
    for (size_t i = 0; i < s->n_rcpts; i++)
        if (!s->results[i].is_final)
            set_result(s, i, outcome, dsn, text, is_host);
}

static bool
has_open(const struct session *s)
{
    for (size_t i = 0; i < s->n_rcpts; i++)
        if (!s->results[i].is_final)
            return true;
    return false;
}

static void
finish(struct session *s)
{
    s->is_sending = false;
    free(s->targets);
    s->targets = NULL;
    free(s->sent);
    s->sent = NULL;
    if (s->conn == NULL)
        server_free(s);
    else
        server_finish(s);
}

/* ---- the client's callbacks ---- */

/* smtp_tls_loglevel = 1, in Postfix's words. */
static void
log_tls(const struct session *s, struct smtp_client *c)
{
    struct tls_info t;
    char details[TLS_DETAILS_OCTETS];
    const char *trust;

    if (s->conf->smtp_tls_loglevel < 1 || !tls_info_of(smtp_client_conn(c), &t))
        return;
    /* a host that was named by MX records that anybody could have forged is not more than trusted */
    trust = t.demanded == TLS_DEMAND_DANE && !s->targets[s->at - 1].is_mx_secure ? "Trusted"
            : t.demanded != TLS_DEMAND_NOTHING                                   ? "Verified"
            : t.peer_verified                                                    ? "Trusted"
            : t.has_peer_cert                                                    ? "Untrusted"
                                                                                 : "Anonymous";
    log_event(LOG_LV_INFO, "postfix/smtp", "tls.up", LOG_F(LF_Z("peer", s->peer)),
              "%s TLS connection established to %s: %s with cipher %s (%d/%d bits)%s", trust,
              s->peer, t.protocol, t.cipher, t.bits, t.algbits, tls_details(&t, details));
}

static void
push_small(struct session *s)
{
    smtp_client_body(s->client, buf_slice(&s->body));
    smtp_client_body_end(s->client);
}

/* The message needs what the host does not offer. */
static bool
is_beyond(struct session *s, struct smtp_client *c)
{
    uint64_t limit = smtp_client_size_limit(c);
    char text[512];

    if (limit > 0 && s->tx.size > limit) {
        snprintf(text, sizeof text, "message size %llu exceeds size limit %llu of server %s",
                 (unsigned long long)s->tx.size, (unsigned long long)limit, s->peer);
        set_rest(s, SMTP_FAILED, "5.3.4", sl_z(text), false);
        return true;
    }
    if (s->tx.is_utf8 && !(smtp_client_exts(c) & SMTP_EXT_SMTPUTF8)) {
        snprintf(text, sizeof text, "SMTPUTF8 is required, but was not offered by host %s",
                 s->peer);
        set_rest(s, SMTP_FAILED, "5.6.7", sl_z(text), false);
        return true;
    }
    return false;
}

static bool
is_listed(const struct conf_list *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (sl_ieqz(sl_z(l->v[i]), name) || strncmp(l->v[i], "static:", 7) == 0)
            return true;
    return false;
}

/* Is the session to wait for the next message? */
static bool
is_to_keep(const struct session *s, const struct smtp_client *c)
{
    const struct conf *o = s->conf;
    bool is_wanted = (o->smtp_connection_cache_on_demand && s->manner.has_more) ||
                     is_listed(&o->smtp_connection_cache_destinations, s->domain);
    uint64_t limit = (uint64_t)o->smtp_connection_reuse_count_limit;

    return is_wanted && s->conn && s->pool_key[0] && o == daemon_conf() &&
           loop_now_ms() - s->use.begun_ms < (uint64_t)o->smtp_connection_reuse_time_limit &&
           (limit == 0 || s->use.times < limit) && smtp_client_is_usable(c);
}

/* The goodbye is not waited for. */
static void
on_done(struct smtp_client *c, void *arg)
{
    struct session *s = arg;

    s->client = NULL;
    if (is_to_keep(s, c))
        pool_keep(s->pool_key, c, &s->use);
    else
        smtp_client_leave(c);
    try_next(s);
}

static void
transact(struct session *s, struct smtp_client *c)
{
    struct smtp_tx tx = s->tx;
    struct smtp_tx_rcpt *rcpts;
    size_t n = 0;

    s->ready_us = clock_unix_us();
    if (is_beyond(s, c)) {
        on_done(c, s);
        return;
    }
    s->sessions++;
    rcpts = mem_alloc(s->n_rcpts * sizeof *rcpts);
    for (size_t i = 0; i < s->n_rcpts; i++) {
        if (s->results[i].is_final)
            continue;
        s->sent[n] = i;
        rcpts[n++] = s->rcpts[i];
    }
    tx.rcpts = rcpts;
    tx.n_rcpts = n;
    tx.maybe_8bit = !s->is_small;
    if (!s->is_small && content_is_wanted(s))
        tx.size = 0; /* who knows what becomes of it */
    if (smtp_client_send(c, &tx))
        push_small(s);
    free(rcpts);
}

static void
on_ready(struct smtp_client *c, void *arg)
{
    struct session *s = arg;

    log_tls(s, c);
    manner_log_discarded(s->conf);
    transact(s, c);
}

static void
on_body(struct smtp_client *c, void *arg)
{
    struct session *s = arg;

    (void)c;
    s->is_body_used = true;
    if (s->is_small) {
        push_small(s);
    } else {
        if (content_is_wanted(s))
            content_flow(s);
        server_wants_body(s);
    }
}

static void
on_drain(struct smtp_client *c, void *arg)
{
    struct session *s = arg;

    (void)c;
    if (s->is_flowing)
        server_body_room(s);
}

static void
on_rcpt(struct smtp_client *c, void *arg, size_t i, const struct smtp_result *r)
{
    struct session *s = arg;
    size_t at = s->sent[i];

    /* A kept session that ended meanwhile says nothing of this message. */
    if (s->use.times > 0 && !smtp_client_has_answered(c) &&
        ((r->is_lost && !r->is_timeout) || r->code == 421)) {
        s->is_stale = true;
        return;
    }
    set_result(s, at, r->outcome, r->dsn, r->text, false);
    s->results[at].has_dsn = (smtp_client_exts(c) & SMTP_EXT_DSN) != 0;
    if (r->maybe_sent)
        s->results[at].is_final = true; /* another host would make it two for certain */
}

static void
on_closed(struct smtp_client *c, void *arg, const struct smtp_result *why)
{
    struct session *s = arg;
    bool was_ready = s->ready_us != 0;

    (void)c;
    s->client = NULL;
    if (s->conn == NULL) {
        finish(s);
        return;
    }
    if (s->is_stale) {
        s->is_stale = false;
        s->sessions--;
        connect_to(s, &s->targets[s->at - 1]);
        return;
    }
    if (!was_ready) {
        /* The same host once more, in the clear; a login waits for TLS: who breaks the handshake does not get to see it. */
        if (why->is_tls && !s->no_tls && s->level == LEVEL_MAY && s->manner.auth.n == 0) {
            log_info("relay.tls", LOG_NONE, "%.*s", SL_ARG(why->text));
            s->no_tls = true;
            connect_to(s, &s->targets[s->at - 1]);
            return;
        }
        log_info("relay.host", LOG_F(LF_Z("peer", s->peer)), "%.*s", SL_ARG(why->text));
        s->has_no_peer = why->is_connect;
        if (why->outcome == SMTP_FAILED) /* the host's verdict: no other is asked */
            set_rest(s, SMTP_FAILED, why->dsn, why->text, false);
        else
            set_rest(s, SMTP_DEFERRED, why->dsn, why->text, true);
    }
    try_next(s);
}

static const struct smtp_client_ops ops = {
    on_ready, on_body, on_drain, on_rcpt, on_done, on_closed
};

/* ---- trying ---- */

static void
connect_to(struct session *s, struct target *t)
{
    const struct conf *c = s->conf;
    struct smtp_client_opts o;
    const char *from =
        addr_family(&t->addr) == AF_INET6 ? c->smtp_bind_address6 : c->smtp_bind_address;
    char ip[ADDR_TEXT_OCTETS];
    struct addr bind_to;
    bool has_bind = from[0] && addr_parse_ip(sl_z(from), 0, &bind_to) == 0;

    snprintf(s->peer, sizeof s->peer, "%s[%s]:%u", t->host, addr_ip_text(&t->addr, ip),
             addr_port(&t->addr));
    manner_opts(s, t, &o);
    s->ready_us = 0;
    s->has_no_peer = false;
    s->use = (struct pool_use){ .begun_ms = loop_now_ms() };
    if (!pool_key(s, t, s->pool_key)) /* as it is now: without TLS it is another session */
        s->pool_key[0] = '\0';
    s->client = smtp_client_connect(&t->addr.u.sa, t->addr.len, has_bind ? &bind_to.u.sa : NULL,
                                    has_bind ? bind_to.len : 0, &o, &ops, s);
}

/* ---- one target: what its TLS must be, then it ---- */

/* This host is left out. */
static void
skip_target(struct session *s, const struct target *t, const char *why)
{
    char text[512];

    snprintf(text, sizeof text, "%s %s:%u", why, t->host, addr_port(&t->addr));
    s->peer[0] = '\0';
    set_rest(s, SMTP_DEFERRED, "4.7.5", sl_z(text), false);
    try_next(s);
}

/* A session that is there already. */
static bool
use_kept(struct session *s, const struct target *t)
{
    char ip[ADDR_TEXT_OCTETS];

    if (pool_is_empty() || !pool_key(s, t, s->pool_key))
        return false;
    s->client = pool_take(s->pool_key, &s->use);
    if (s->client == NULL)
        return false;
    snprintf(s->peer, sizeof s->peer, "%s[%s]:%u", t->host, addr_ip_text(&t->addr, ip),
             addr_port(&t->addr));
    smtp_client_set_ops(s->client, &ops, s);
    transact(s, s->client);
    return true;
}

static void
go_to(struct session *s, struct target *t, enum tls_level level, const struct dns_answer *tlsa)
{
    s->level = level;
    s->no_tls = false;
    tls_policy_expect(&s->policy, t, s->domain, tlsa, &s->arena, &s->expect);
    if (!use_kept(s, t))
        connect_to(s, t);
}

/* A host with records of its own, named by MX records that nobody signed (RFC 7672 §2.2.1). */
static enum tls_level
insecure_mx_level(const struct conf *c)
{
    const char *name = c->smtp_tls_dane_insecure_mx_policy;

    return strcmp(name, "dane") == 0      ? LEVEL_DANE
           : strcmp(name, "encrypt") == 0 ? LEVEL_ENCRYPT
                                          : LEVEL_MAY;
}

/* RFC 7672 §2.2: records that were validated decide; without such, dane is may, and dane-only goes nowhere. */
static void
on_dane(uint64_t id, enum dane_rc rc, const struct dns_answer *a)
{
    struct session *s = id_get(id);
    struct target *t;
    bool is_only;

    if (s == NULL)
        return;
    if (s->conn == NULL) {
        finish(s);
        return;
    }
    t = &s->targets[s->at - 1];
    is_only = s->policy.level == LEVEL_DANE_ONLY;
    switch (rc) {
    case DANE_RECORDS:
        if (!t->is_mx_secure && insecure_mx_level(s->conf) == LEVEL_ENCRYPT)
            go_to(s, t, LEVEL_ENCRYPT, NULL);
        else
            go_to(s, t, s->policy.level, a);
        break;
    case DANE_ENCRYPT:
        if (is_only)
            skip_target(s, t, "no usable TLSA records for");
        else
            go_to(s, t, LEVEL_ENCRYPT, NULL);
        break;
    case DANE_NONE:
        if (is_only)
            skip_target(s, t, "no TLSA records found for");
        else
            go_to(s, t, LEVEL_MAY, NULL);
        break;
    case DANE_TEMP:
        skip_target(s, t, "TLSA lookup error for");
    }
}

static void
try_target(struct session *s, struct target *t)
{
    bool is_only = s->policy.level == LEVEL_DANE_ONLY;

    if (s->policy.level != LEVEL_DANE && !is_only)
        go_to(s, t, s->policy.level, NULL);
    else if (t->is_secure &&
             (t->is_mx_secure || (!is_only && insecure_mx_level(s->conf) > LEVEL_MAY)))
        dane_find(t, on_dane, s->id);
    else if (is_only)
        skip_target(s, t, "non DNSSEC destination");
    else
        go_to(s, t, LEVEL_MAY, NULL);
}

/* ---- hops, and their targets ---- */

static void try_hop(struct session *s);

static void
try_next(struct session *s)
{
    size_t limit =
        s->conf->smtp_mx_session_limit > 0 ? (size_t)s->conf->smtp_mx_session_limit : SIZE_MAX;
    bool is_spent = s->is_body_used && !s->is_small;

    if (!has_open(s) || is_spent)
        finish(s);
    else if (s->at == s->n_targets || s->sessions >= limit)
        try_hop(s);
    else
        try_target(s, &s->targets[s->at++]);
}

/* Among the hosts that are wanted most one comes first with which there is a session. What DANE's sessions are like is only
 * known later. */
static void
prefer_kept(struct session *s)
{
    char key[POOL_KEY_OCTETS];

    if (pool_is_empty() || s->policy.level == LEVEL_DANE || s->policy.level == LEVEL_DANE_ONLY)
        return;
    s->level = s->policy.level;
    s->no_tls = false;
    for (size_t i = 0; i < s->n_targets && s->targets[i].pref == s->targets[0].pref; i++) {
        struct target t = s->targets[i];

        tls_policy_expect(&s->policy, &t, s->domain, NULL, &s->arena, &s->expect);
        if (!pool_key(s, &t, key) || !pool_has(key))
            continue;
        s->targets[i] = s->targets[0];
        s->targets[0] = t;
        return;
    }
}

static void
on_targets(uint64_t id, struct target *v, size_t n, const struct target_error *err)
{
    struct session *s = id_get(id);
    bool is_last;

    if (s == NULL) {
        free(v);
        return;
    }
    s->targets = v;
    s->n_targets = n;
    s->at = s->sessions = 0;
    if (s->conn == NULL) {
        finish(s);
        return;
    }
    if (n > 0) {
        prefer_kept(s);
        try_next(s);
        return;
    }
    s->peer[0] = '\0';
    is_last = s->at_hop == s->n_hops;
    set_rest(s, is_last ? err->outcome : SMTP_DEFERRED, err->dsn, sl_z(err->text),
             is_last && err->outcome == SMTP_DEFERRED);
    try_next(s);
}

static void
next_hop_later(void *arg)
{
    struct session *s = arg;

    if (s->conn == NULL)
        finish(s);
    else
        try_hop(s);
}

/* Each hop has its own TLS policy and login: what one is told is not for the next. */
static void
try_hop(struct session *s)
{
    const struct hop *hop;
    const char *why;

    free(s->targets);
    s->targets = NULL;
    s->n_targets = s->at = 0;
    tls_unref(&s->policy.ctx);
    if (s->at_hop == s->n_hops) {
        finish(s);
        return;
    }
    hop = &s->hops[s->at_hop++];
    s->manner.auth = hop->auth;
    targets_hop_name(hop->name, s->domain);
    if (tls_policy_of(s->conf, s->is_lmtp, s->manner.is_wrapper, hop->tls_policy, &s->arena,
                      &s->policy, &why)) {
        targets_find(s->conf, hop->name, s->is_lmtp, on_targets, s->id);
        return;
    }
    log_warn("relay.tls", LOG_NONE, "%.*s: %s", SL_ARG(hop->name), why);
    s->peer[0] = '\0';
    set_rest(s, SMTP_DEFERRED, "4.7.5", sl_z(why), false);
    loop_defer(next_hop_later, s);
}

static void
on_generic(struct session *s, bool good)
{
    if (good) {
        loop_defer(next_hop_later, s);
        return;
    }
    set_rest(s, SMTP_DEFERRED, "4.3.0", SL("generic maps lookup error"), false);
    s->at_hop = s->n_hops;
    loop_defer(next_hop_later, s);
}

void
send_start(struct session *s)
{
    const struct conf *c = s->conf;

    s->is_sending = true;
    s->is_stale = false;
    s->manner.is_wrapper = s->manner.is_wrapper || (!s->is_lmtp && c->smtp_tls_wrappermode);
    s->tx.is_8bit = s->tx.is_8bit || (s->is_small && !utf8_is_ascii(buf_slice(&s->body)));
    s->start_us = clock_unix_us();
    s->ready_us = 0;
    s->sessions = 0;
    s->no_tls = s->is_body_used = false;
    s->peer[0] = '\0';
    s->results = mem_zalloc(s->n_rcpts * sizeof *s->results);
    s->sent = mem_zalloc(s->n_rcpts * sizeof *s->sent);
    /* Until somebody says otherwise nothing was sent; also where the list of next hops is empty. */
    set_rest(s, SMTP_DEFERRED, "4.3.5", SL("the route names no next hop"), false);
    s->at_hop = 0;
    if (generic_is_wanted(s))
        generic_envelope(s, on_generic);
    else
        loop_defer(next_hop_later, s);
}

void
send_defer(struct session *s, const char *dsn, const char *why)
{
    s->start_us = clock_unix_us();
    s->ready_us = 0;
    s->peer[0] = '\0';
    s->results = mem_zalloc(s->n_rcpts * sizeof *s->results);
    set_rest(s, SMTP_DEFERRED, dsn, sl_z(why), false);
    server_finish(s);
}

void
send_abort(struct session *s)
{
    if (s->client)
        smtp_client_quit(s->client); /* on_closed() goes on */
}
