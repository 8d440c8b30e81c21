/* session/smtp_sasl.c */
#include "session/smtp_sasl.h"

#include "base/enc.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

struct exchange { /* hangs on the session's line_arg */
    struct auth_client *client;
    uint32_t request; /* 0: none out */
    void (*done)(struct smtp_sess *s, const struct smtp_sasl_result *r);
};

static void on_response(struct smtp_sess *s, struct slice line, bool is_too_long);

static void
finish(struct smtp_sess *s, const struct smtp_sasl_result *r)
{
    struct exchange *x = s->line_arg;
    void (*done)(struct smtp_sess *, const struct smtp_sasl_result *) = x->done;

    s->line_arg = NULL;
    free(x);
    done(s, r);
}

void
smtp_sasl_cancel(struct smtp_sess *s)
{
    struct exchange *x = s->line_arg;

    if (x == NULL)
        return;
    if (x->request)
        auth_client_cancel(x->client, x->request);
    free(x);
    s->line_arg = NULL;
}

static void
fail(struct smtp_sess *s, const char *reason, struct slice user)
{
    smtp_reply(s, "535 5.7.8 Error: authentication failed: %s", reason);
    finish(s, &(struct smtp_sasl_result){ .rc = SMTP_SASL_FAILED, .user = user, .reason = reason });
}

/* The client's word is no base64; authd's exchange, if one is open, is given up. */
static void
fail_local(struct smtp_sess *s, const char *reason)
{
    struct exchange *x = s->line_arg;

    if (x->request)
        auth_client_cancel(x->client, x->request);
    fail(s, reason, SL(""));
}

static uint32_t
response_octets(const struct smtp_sess *s)
{
    return s->lim->sasl_octets ? (uint32_t)s->lim->sasl_octets : SMTP_SASL_RESPONSE_OCTETS;
}

static void
send_challenge(struct smtp_sess *s, struct slice challenge)
{
    struct buf b = { 0 };

    enc_b64(&b, challenge);
    /* Not by smtp_reply(): a challenge may be longer than a reply line. */
    conn_printf(s->conn, "334 %.*s\r\n", SL_ARG(buf_slice(&b)));
    buf_free(&b);
    smtp_sess_read_line(s, response_octets(s) - 1,
                        on_response); /* a line of the limit is too long for Postfix */
}

static void
on_auth(uint64_t id, const struct auth_result *r)
{
    struct smtp_sess *s = id_get(id);
    struct exchange *x;
    char reason[200];

    if (s == NULL || s->line_arg == NULL)
        return;
    x = s->line_arg;
    snprintf(reason, sizeof(reason), "%.*s",
             SL_ARG(r->reason.n ? r->reason : SL("(reason unavailable)")));
    switch (r->rc) {
    case AUTH_CONTINUE:
        send_challenge(s, r->challenge);
        return;
    case AUTH_OK:
        x->request = 0;
        smtp_reply(s, "235 2.7.0 Authentication successful");
        finish(s, &(struct smtp_sasl_result){ .rc = SMTP_SASL_OK, .user = r->user });
        return;
    case AUTH_FAIL:
        x->request = 0;
        fail(s, reason, r->user);
        return;
    case AUTH_TEMPFAIL:
        x->request = 0;
        smtp_reply(s, "454 4.7.0 Temporary authentication failure: %s", reason);
        finish(s, &(struct smtp_sasl_result){ .rc = SMTP_SASL_TEMPFAIL, .reason = reason });
    }
}

static void
on_response(struct smtp_sess *s, struct slice line, bool is_too_long)
{
    struct exchange *x = s->line_arg;
    struct buf b = { .max = response_octets(s) };

    if (is_too_long || sl_eq(line, SL("*"))) {
        auth_client_cancel(x->client, x->request);
        smtp_reply(s, "%s",
                   is_too_long ? "500 5.5.6 SASL response limit exceeded"
                               : "501 5.7.0 Authentication aborted");
        finish(s, &(struct smtp_sasl_result){ .rc = SMTP_SASL_ABORTED,
                                              .reason =
                                                  is_too_long ? "response too long" : "aborted" });
        return;
    }
    if (enc_b64_decode(&b, line))
        fail_local(s, "Invalid base64 data in continued response");
    else
        auth_client_continue(x->client, x->request, b.n ? buf_slice(&b) : SL(""));
    buf_wipe(&b);
    mem_wipe((char *)(uintptr_t)line.p, line.n); /* our own copy, in the command's arena */
}

void
smtp_sasl_start(struct smtp_sess *s, struct auth_client *a, const struct auth_ask *ask,
                struct slice initial,
                void (*done)(struct smtp_sess *s, const struct smtp_sasl_result *r))
{
    struct exchange *x = MEM_NEW(struct exchange);
    struct auth_ask mine = *ask;
    struct buf b = { 0 };

    *x = (struct exchange){ .client = a, .done = done };
    s->line_arg = x;
    mine.initial = sl_n(NULL, 0);
    if (initial.p && enc_b64_decode(&b, sl_eq(initial, SL("=")) ? SL("") : initial)) {
        fail(s, "Invalid base64 data in initial response", SL(""));
        return;
    }
    if (initial.p)
        mine.initial = b.n ? buf_slice(&b) : SL("");
    x->request = auth_client_start(a, &mine, on_auth, s->id);
    buf_wipe(&b);
}
