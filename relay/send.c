/* relay/send.c - one host after the other until each recipient has a final answer or no host is left. Content that is too
 * long to be kept goes to one host only: once it flows, the others are not tried. */
#include "relay/relay_int.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/loop.h"

#include <stdio.h>
#include <stdlib.h>

static void try_next(struct session *s);

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
    r->relay = mem_dupz(s->peer[0] && !is_host ? s->peer : "none");
    r->conn_us = (uint64_t)((s->ready_us ? s->ready_us : now) - s->start_us);
    r->xfer_us = s->ready_us ? (uint64_t)(now - s->ready_us) : 0;
    r->is_host = is_host;
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

/* The goodbye is not waited for. */
static void
on_done(struct smtp_client *c, void *arg)
{
    struct session *s = arg;

    s->client = NULL;
    smtp_client_leave(c);
    try_next(s);
}

static void
on_ready(struct smtp_client *c, void *arg)
{
    struct session *s = arg;
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
    if (smtp_client_send(c, &tx))
        push_small(s);
    free(rcpts);
}

static void
on_body(struct smtp_client *c, void *arg)
{
    struct session *s = arg;

    (void)c;
    s->is_body_used = true;
    if (s->is_small)
        push_small(s);
    else
        server_wants_body(s);
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

    (void)c;
    set_result(s, at, r->outcome, r->dsn, r->text, false);
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
    if (!was_ready) {
        if (why->is_tls && !s->no_tls) {
            bool must;

            (void)relay_tls(s->conf, &must);
            log_info("relay.tls", LOG_NONE, "%.*s", SL_ARG(why->text));
            if (!must) { /* `may`: the same host once more, in the clear */
                s->no_tls = true;
                s->at--;
                try_next(s);
                return;
            }
        }
        log_info("relay.host", LOG_F(LF_Z("peer", s->peer)), "%.*s", SL_ARG(why->text));
        /* A 5xx greeting is about this host, not about the recipients: smtp_skip_5xx_greeting */
        set_rest(s, SMTP_DEFERRED, why->dsn[0] == '4' ? why->dsn : "4.0.0", why->text, true);
    }
    s->no_tls = false;
    try_next(s);
}

static const struct smtp_client_ops ops = {
    on_ready, on_body, on_drain, on_rcpt, on_done, on_closed
};

/* ---- trying ---- */

static void
fill_times(const struct conf *c, struct smtp_times *t)
{
    *t = (struct smtp_times){
        .connect = (uint64_t)c->smtp_connect_timeout,
        .greeting = (uint64_t)c->smtp_helo_timeout,
        .helo = (uint64_t)c->smtp_helo_timeout,
        .starttls = (uint64_t)c->smtp_starttls_timeout,
        .xforward = (uint64_t)c->smtp_xforward_timeout,
        .mail = (uint64_t)c->smtp_mail_timeout,
        .rcpt = (uint64_t)c->smtp_rcpt_timeout,
        .data_init = (uint64_t)c->smtp_data_init_timeout,
        .data_xfer = (uint64_t)c->smtp_data_xfer_timeout,
        .data_done = (uint64_t)c->smtp_data_done_timeout,
        .rset = (uint64_t)c->smtp_rset_timeout,
        .quit = (uint64_t)c->smtp_quit_timeout,
    };
}

static void
connect_to(struct session *s, const struct target *t)
{
    const struct conf *c = s->conf;
    struct smtp_client_opts o = { .is_lmtp = s->is_lmtp,
                                  .always_ehlo = c->smtp_always_send_ehlo,
                                  .helo_name = c->smtp_helo_name,
                                  .peer = s->peer,
                                  .line_max = (size_t)c->smtp_line_length_limit,
                                  .tls_host = t->host };
    const char *from =
        addr_family(&t->addr) == AF_INET6 ? c->smtp_bind_address6 : c->smtp_bind_address;
    char ip[ADDR_TEXT_OCTETS];
    struct addr bind_to;
    bool has_bind = from[0] && addr_parse_ip(sl_z(from), 0, &bind_to) == 0;

    snprintf(s->peer, sizeof s->peer, "%s[%s]:%u", t->host, addr_ip_text(&t->addr, ip),
             addr_port(&t->addr));
    fill_times(c, &o.times);
    if (!s->no_tls && !s->is_lmtp)
        o.tls = relay_tls(c, &o.must_tls);
    s->ready_us = 0;
    s->client = smtp_client_connect(&t->addr.u.sa, t->addr.len, has_bind ? &bind_to.u.sa : NULL,
                                    has_bind ? bind_to.len : 0, &o, &ops, s);
}

static void
try_next(struct session *s)
{
    size_t limit =
        s->conf->smtp_mx_session_limit > 0 ? (size_t)s->conf->smtp_mx_session_limit : SIZE_MAX;
    bool is_spent = s->is_body_used && !s->is_small;

    if (!has_open(s) || s->at == s->n_targets || s->sessions >= limit || is_spent) {
        finish(s);
        return;
    }
    connect_to(s, &s->targets[s->at++]);
}

static void
on_targets(uint64_t id, struct target *v, size_t n, const struct target_error *err)
{
    struct session *s = id_get(id);

    if (s == NULL) {
        free(v);
        return;
    }
    s->targets = v;
    s->n_targets = n;
    if (s->conn == NULL) {
        finish(s);
        return;
    }
    if (n == 0) {
        s->peer[0] = '\0';
        set_rest(s, err->outcome, err->dsn, sl_z(err->text), err->outcome == SMTP_DEFERRED);
        finish(s);
        return;
    }
    try_next(s);
}

void
send_start(struct session *s)
{
    s->is_sending = true;
    s->start_us = clock_unix_us();
    s->ready_us = 0;
    s->at = s->sessions = 0;
    s->no_tls = s->is_body_used = false;
    s->peer[0] = '\0';
    s->results = mem_zalloc(s->n_rcpts * sizeof *s->results);
    s->sent = mem_zalloc(s->n_rcpts * sizeof *s->sent);
    targets_find(s->conf, s->nexthop, s->is_lmtp, on_targets, s->id);
}

void
send_abort(struct session *s)
{
    if (s->client)
        smtp_client_quit(s->client); /* on_closed() goes on */
}
