/* tls/tls.c - TLS contexts: certificates, keys, protocols. */
#include "tls/tls_int.h"

#include "base/mem.h"

#include <openssl/err.h>

#include <stdio.h>
#include <stdlib.h>

int
tls_fail(struct err *e, enum err_kind kind, const char *words)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;

    err_set(e, kind, "%s%s%s", words, reason ? ": " : "", reason ? reason : "");
    ERR_clear_error();
    return -1;
}

/* ---- protocols, in Postfix's syntax: TLS_README, "smtpd_tls_protocols" ---- */

static const struct {
    const char *name;
    int version;
    uint64_t off;
} protocols[] = {
    { "SSLv3", SSL3_VERSION, SSL_OP_NO_SSLv3 },
    { "TLSv1", TLS1_VERSION, SSL_OP_NO_TLSv1 },
    { "TLSv1.1", TLS1_1_VERSION, SSL_OP_NO_TLSv1_1 },
    { "TLSv1.2", TLS1_2_VERSION, SSL_OP_NO_TLSv1_2 },
    { "TLSv1.3", TLS1_3_VERSION, SSL_OP_NO_TLSv1_3 },
};

/* Place in the table; -1: unknown; -2: known, and no longer in OpenSSL. */
static int
protocol_of(struct slice name)
{
    for (size_t i = 0; i < COUNT_OF(protocols); i++)
        if (sl_ieqz(name, protocols[i].name))
            return (int)i;
    return sl_ieqz(name, "SSLv2") ? -2 : -1;
}

int
tls_set_protocols(SSL_CTX *h, const char *list, struct err *e)
{
    struct slice in = sl_z(list), word;
    unsigned included = 0, excluded = 0;
    int least = 0, most = 0;

    while (sl_take_word(&in, " \t\r\n,:", &word)) {
        bool is_least = sl_take_prefix(&word, SL(">="));
        bool is_most = !is_least && sl_take_prefix(&word, SL("<="));
        bool is_not = !is_least && !is_most && sl_take_char(&word, '!');
        int at = protocol_of(word);

        if (at == -1)
            return err_set(e, ERR_CONFIG, "unknown TLS protocol \"%.*s\" in \"%s\"", SL_ARG(word),
                           list);
        if (at < 0)
            continue;
        if (is_least)
            least = protocols[at].version;
        else if (is_most)
            most = protocols[at].version;
        else
            *(is_not ? &excluded : &included) |= 1U << at;
    }
    SSL_CTX_set_min_proto_version(h, least);
    SSL_CTX_set_max_proto_version(h, most);
    for (size_t i = 0; i < COUNT_OF(protocols); i++)
        if ((excluded & 1U << i) || (included && !(included & 1U << i)))
            SSL_CTX_set_options(h, protocols[i].off);
    return 0;
}

int
tls_check_protocols(const char *list, struct err *e)
{
    SSL_CTX *h = SSL_CTX_new(TLS_server_method());
    int rc;

    BUG_ON(!h);
    rc = tls_set_protocols(h, list, e);
    SSL_CTX_free(h);
    return rc;
}

/* ---- what clients ask for ---- */

/* RFC 7301 3.2: a client that names protocols and not ours is told so; one that names none is served. */
static int
on_alpn(SSL *s, const unsigned char **out, unsigned char *out_n, const unsigned char *in,
        unsigned in_n, void *arg)
{
    const struct tls_ctx *c = arg;
    unsigned char *chosen;

    (void)s;
    if (SSL_select_next_proto(&chosen, out_n, (const unsigned char *)c->alpn,
                              (unsigned)(unsigned char)c->alpn[0] + 1, in,
                              in_n) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* RFC 6066 §3. A name that there is no certificate for is not acknowledged, and gets the one for everybody. */
static int
on_server_name(SSL *s, int *alert, void *arg)
{
    const struct tls_ctx *c = arg;
    const char *sni = SSL_get_servername(s, TLSEXT_NAMETYPE_host_name);

    (void)alert;
    if (sni == NULL || !tls_store_use_name(c->store, s, sni))
        return SSL_TLSEXT_ERR_NOACK;
    tls_conn_note_name(s);
    return SSL_TLSEXT_ERR_OK;
}

/* ---- contexts ---- */

struct tls_ctx *
tls_ctx_new(const SSL_METHOD *m)
{
    struct tls_ctx *c = MEM_NEW(struct tls_ctx);

    c->refs = 1;
    c->h = SSL_CTX_new(m);
    BUG_ON(!c->h);
    /* Idle connections keep no record buffers; nobody renegotiates; no sessions are kept. */
    SSL_CTX_set_mode(c->h, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(c->h, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_session_cache_mode(c->h, SSL_SESS_CACHE_OFF);
    return c;
}

static void
set_alpn(struct tls_ctx *c, const char *name)
{
    size_t n = strlen(name);

    BUG_ON(n == 0 || n + 1 >= sizeof c->alpn);
    c->alpn[0] = (char)n;
    memcpy(c->alpn + 1, name, n);
    SSL_CTX_set_alpn_select_cb(c->h, on_alpn, c);
}

static void
set_sessions(struct tls_ctx *c, const struct tls_server_opts *o)
{
    char kind[SSL_MAX_SID_CTX_LENGTH]; /* a session is resumed where it was made */

    /* What old devices are allowed must not come in by a session elsewhere: its cipher is not asked for again. */
    snprintf(kind, sizeof kind, "%s%s", o->alpn ? o->alpn : "smtp", o->is_legacy ? " legacy" : "");
    SSL_CTX_set_session_id_context(c->h, (const unsigned char *)kind, (unsigned)strlen(kind));
    if (o->tickets && !o->ask_ccert && !o->req_ccert) {
        tls_use_tickets(c->h);
    } else {
        SSL_CTX_set_options(c->h, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(c->h, 0);
    }
}

int
tls_server_of(struct tls_store *s, const struct tls_server_opts *o, struct tls_ctx **out,
              struct err *e)
{
    struct tls_ctx *c = tls_ctx_new(TLS_server_method());

    ERR_clear_error();
    c->store = tls_store_ref(s);
    SSL_CTX_set_dh_auto(c->h, 1);
    set_sessions(c, o);
    if (o->alpn)
        set_alpn(c, o->alpn);
    if (tls_store_has_names(s)) {
        SSL_CTX_set_tlsext_servername_callback(c->h, on_server_name);
        SSL_CTX_set_tlsext_servername_arg(c->h, c);
    }
    if (tls_set_server_opts(c, o, e) != 0 || tls_store_use_all(s, c->h, e) != 0) {
        tls_unref(&c);
        return -1;
    }
    *out = c;
    return 0;
}

int
tls_server_new(struct slice pem_chain, struct slice pem_key, const struct tls_server_opts *o,
               struct tls_ctx **out, struct err *e)
{
    struct tls_store *s = tls_store_new();
    struct buf pem = { 0 };
    int rc;

    buf_addf(&pem, "%.*s\n%.*s", SL_ARG(pem_chain), SL_ARG(pem_key));
    rc = tls_store_add(s, NULL, buf_slice(&pem), e) || tls_server_of(s, o, out, e) ? -1 : 0;
    buf_wipe(&pem);
    tls_store_unref(&s);
    return rc;
}

struct tls_ctx *
tls_ref(struct tls_ctx *c)
{
    c->refs++;
    return c;
}

void
tls_unref(struct tls_ctx **ctx)
{
    struct tls_ctx *c = *ctx;

    *ctx = NULL;
    if (!c || --c->refs > 0)
        return;
    SSL_CTX_free(c->h);
    tls_store_unref(&c->store);
    free(c);
}
