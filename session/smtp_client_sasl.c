/* session/smtp_client_sasl.c - login at another host: AUTH (RFC 4954). Texts are Postfix's; a failed login is a matter of
 * this host, so by default mail waits. No secret is ever logged. */
#include "session/smtp_client_int.h"

#include "base/enc.h"
#include "base/mem.h"
#include "core/loop.h"
#include "core/work.h"

#include <stdlib.h>

enum {
    STEPS_MAX = 100,
    INITIAL_OCTETS_MAX = 400, /* AUTH and an initial response fit a command line of 512 octets */
    OFFER_OCTETS_MAX = 2048,
    MECHANISM_OCTETS_MAX = 64,
    HASHES_MAX = 1000 /* waiting; beyond that a login fails for now */
};

/* PBKDF2 takes milliseconds: not on the loop. Outlives the client when that is gone meanwhile. */
struct sasl_hash {
    struct work_job job;
    struct smtp_client *owner; /* NULL: gone */
    struct sasl_client *sasl;
};

static struct work_pool *hash_pool;

/* ---- which mechanism ---- */

/* Postfix's match list: the first word that fits decides; "static:" fits all. */
static bool
is_let_through(const struct smtp_client_sasl *o, struct slice name)
{
    if (o->n_filter == 0)
        return true;
    for (size_t i = 0; i < o->n_filter; i++) {
        struct slice word = sl_z(o->filter[i]);
        bool is_not = sl_take_char(&word, '!');

        if (sl_ieq(word, name) || sl_has_iprefix(word, SL("static:")))
            return !is_not;
    }
    return false;
}

void
client_sasl_offer(struct smtp_client *c, struct slice words)
{
    struct slice word;

    c->mechanisms.max = OFFER_OCTETS_MAX;
    while (c->auth && sl_take_word(&words, " \t=", &word))
        if (word.n <= MECHANISM_OCTETS_MAX && is_let_through(c->o.sasl, word))
            buf_addf(&c->mechanisms, "%.*s ", SL_ARG(word));
}

static unsigned
options(struct smtp_client *c)
{
    struct tls_info t;

    if (!c->is_tls)
        return c->o.sasl->plain_options;
    if (tls_info_of(c->conn, &t) && t.demanded != TLS_DEMAND_NOTHING)
        return c->o.sasl->verified_options; /* what was demanded was met, else we were not here */
    return c->o.sasl->tls_options;
}

/* ---- the exchange ---- */

static void
cannot(struct smtp_client *c, const char *why)
{
    client_fail(c, "4.7.0", "SASL authentication failed; cannot authenticate to server %s: %s",
                c->host, why);
}

static void
send_response(struct smtp_client *c, struct buf *response)
{
    struct buf text = { 0 };

    enc_b64(&text, buf_slice(response));
    buf_addz(&text, "\r\n");
    conn_writes(c->conn, buf_slice(&text));
    client_expect(c, STAGE_AUTH, 0);
    buf_wipe(&text);
}

void
client_sasl_begin(struct smtp_client *c)
{
    struct slice rest = sl_z(c->auth), user;
    struct buf text = { 0 };
    const char *name;

    if (c->mechanisms.n == 0) {
        client_fail(c, "4.7.0",
                    "SASL authentication failed: server %s offered no compatible authentication "
                    "mechanisms for this type of connection security",
                    c->host);
        return;
    }
    name = sasl_client_choose(buf_slice(&c->mechanisms), options(c));
    if (name == NULL) {
        cannot(c, "no mechanism available");
        return;
    }
    if (!sl_take_until(&rest, ':', &user)) {
        user = rest;
        rest = SL("");
    }
    c->sasl = sasl_client_new(name, user, rest);
    c->is_first_due = sasl_client_first(c->sasl, &c->sasl_first);
    if (c->is_first_due && c->sasl_first.n <= INITIAL_OCTETS_MAX / 4 * 3) {
        c->is_first_due = false;
        enc_b64(&text, buf_slice(&c->sasl_first));
        conn_printf(c->conn, "AUTH %s %.*s\r\n", name, SL_ARG(buf_slice(&text)));
        buf_wipe(&c->sasl_first);
    } else { /* too long to go along: when the server asks for it */
        conn_printf(c->conn, "AUTH %s\r\n", name);
    }
    buf_wipe(&text);
    client_expect(c, STAGE_AUTH, 0);
}

static enum work_rc
hash_run(struct work_job *j)
{
    struct sasl_hash *h = CONTAINER_OF(j, struct sasl_hash, job);

    sasl_client_hash(h->sasl);
    return WORK_DONE;
}

static void
hash_done(struct work_job *j)
{
    struct sasl_hash *h = CONTAINER_OF(j, struct sasl_hash, job);
    struct smtp_client *c = h->owner;
    struct buf out = { 0 };

    if (c == NULL) {
        sasl_client_free(&h->sasl);
        free(h);
        return;
    }
    c->hash = NULL;
    free(h);
    if (c->is_closing)
        return;
    sasl_client_hashed(c->sasl, &out);
    send_response(c, &out);
    buf_wipe(&out);
}

static void
hash_later(struct smtp_client *c)
{
    struct sasl_hash *h = MEM_NEW(struct sasl_hash);

    if (hash_pool == NULL)
        hash_pool = work_pool_new("sasl", 1, HASHES_MAX);
    h->job = (struct work_job){ .run = hash_run, .done = hash_done };
    h->owner = c;
    h->sasl = c->sasl;
    if (!work_submit(hash_pool, &h->job)) {
        free(h);
        cannot(c, "too many logins at once");
        return;
    }
    c->hash = h;
    client_set_stage(c, STAGE_AUTH);
}

/* "334 base64". */
static void
on_challenge(struct smtp_client *c)
{
    struct slice text = sl_trim(sl_from(buf_slice(&c->reply.text), 4));
    struct buf challenge = { 0 }, out = { 0 };
    struct err e = { 0 };

    if (++c->sasl_steps > STEPS_MAX) {
        client_fail(c, "4.3.0",
                    "SASL authentication failed; authentication protocol loop with server %s",
                    c->host);
    } else if (c->is_first_due) {
        c->is_first_due = false;
        send_response(c, &c->sasl_first);
        buf_wipe(&c->sasl_first);
    } else if (c->reply.n_lines != 1 || enc_b64_decode(&challenge, text) != 0) {
        cannot(c, "malformed challenge");
    } else {
        switch (sasl_client_step(c->sasl, buf_slice(&challenge), &out, &e)) {
        case SASL_CLIENT_SEND:
            send_response(c, &out);
            break;
        case SASL_CLIENT_HASH:
            hash_later(c);
            break;
        case SASL_CLIENT_BAD:
            cannot(c, e.msg);
            break;
        }
    }
    buf_wipe(&challenge);
    buf_wipe(&out);
}

void
client_sasl_reply(struct smtp_client *c)
{
    struct buf words = { 0 };
    char dsn[SMTP_DSN_OCTETS];

    if (c->reply.code == 334) {
        on_challenge(c);
        return;
    }
    if (c->reply.code / 100 == 2) {
        if (!sasl_client_is_done(c->sasl)) {
            cannot(c, "the server has not proved that it knows the password");
            return;
        }
        client_sasl_free(c);
        c->has_auth_param = c->o.sasl->dummy_param;
        client_hello_ready(c);
        return;
    }
    memcpy(dsn, c->reply.dsn, sizeof dsn);
    if (c->reply.code < 400 || c->o.sasl->is_soft)
        dsn[0] = '4';
    smtp_reply_one_line(&c->reply, &words);
    client_fail(c, dsn, "SASL authentication failed; server %s said: %s", c->host, buf_z(&words));
    buf_free(&words);
}

void
client_sasl_free(struct smtp_client *c)
{
    if (c->auth) {
        explicit_bzero(c->auth, strlen(c->auth));
        free(c->auth);
        c->auth = NULL;
    }
    buf_free(&c->mechanisms);
    buf_wipe(&c->sasl_first);
    if (c->hash) { /* the job has it */
        c->hash->owner = NULL;
        c->hash = NULL;
        c->sasl = NULL;
    }
    sasl_client_free(&c->sasl);
}
