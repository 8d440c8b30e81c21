/* tls/tls.c - TLS contexts: certificates, keys, protocols. */
#include "tls/tls_int.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

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

/* ---- certificates ---- */

/* A key with a pass phrase would make OpenSSL ask on the terminal. */
static int
no_pass_phrase(char *out, int max, int is_write, void *arg)
{
    (void)out;
    (void)max;
    (void)is_write;
    (void)arg;
    return 0;
}

enum { PAIRS_MAX = 4 }; /* a certificate for each kind of key there is */

/* The keys of the text, at most PAIRS_MAX. */
static size_t
read_keys(struct slice pem, EVP_PKEY *out[PAIRS_MAX])
{
    BIO *b = BIO_new_mem_buf(pem.p, (int)pem.n);
    size_t n = 0;

    BUG_ON(!b);
    while (n < PAIRS_MAX &&
           (out[n] = PEM_read_bio_PrivateKey(b, NULL, no_pass_phrase, NULL)) != NULL)
        n++;
    BIO_free(b);
    return n;
}

static bool
has_key(const X509 *x, EVP_PKEY *const *keys, size_t n, EVP_PKEY **out)
{
    for (size_t i = 0; i < n; i++)
        if (X509_check_private_key(x, keys[i]) == 1) {
            *out = keys[i];
            return true;
        }
    return false;
}

/* A certificate that one of the keys belongs to, then what leads from it to its authority; more such, with keys of other
 * kinds, may follow. */
static int
load_pairs(SSL_CTX *h, struct slice chain, struct slice key, struct err *e)
{
    BIO *b = BIO_new_mem_buf(chain.p, (int)chain.n);
    EVP_PKEY *keys[PAIRS_MAX], *own;
    size_t n = read_keys(key, keys), n_certs = 0;
    X509 *x;
    int rc = -1;

    BUG_ON(!b);
    while ((x = PEM_read_bio_X509_AUX(b, NULL, no_pass_phrase, NULL)) != NULL) {
        bool is_own = has_key(x, keys, n, &own), is_loaded;

        if (n_certs == 0 && n == 0) {
            tls_fail(e, ERR_CONFIG, "no private key in PEM form without pass phrase");
            goto out;
        }
        if (n_certs++ == 0 && !is_own) {
            tls_fail(e, ERR_CONFIG, "the private key does not belong to the certificate");
            goto out;
        }
        is_loaded = is_own
                        ? SSL_CTX_use_certificate(h, x) == 1 && SSL_CTX_use_PrivateKey(h, own) == 1
                        : SSL_CTX_add1_chain_cert(h, x) == 1;
        if (!is_loaded) {
            tls_fail(e, ERR_CONFIG,
                     is_own ? "certificate cannot be used" : "certificate chain cannot be used");
            goto out;
        }
        X509_free(x);
    }
    if (n_certs == 0)
        tls_fail(e, ERR_CONFIG, "no certificate in PEM form");
    else
        rc = 0;
    ERR_clear_error(); /* the end of the file was the last "error" */
out:
    X509_free(x);
    for (size_t i = 0; i < n; i++)
        EVP_PKEY_free(keys[i]);
    BIO_free(b);
    return rc;
}

static int64_t
not_after(SSL_CTX *h)
{
    const X509 *x = SSL_CTX_get0_certificate(h);
    struct tm tm;

    if (!x || ASN1_TIME_to_tm(X509_get0_notAfter(x), &tm) != 1)
        return 0;
    return (int64_t)timegm(&tm);
}

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

int
tls_server_new(struct slice pem_chain, struct slice pem_key, const struct tls_server_opts *o,
               struct tls_ctx **out, struct err *e)
{
    struct tls_ctx *c = tls_ctx_new(TLS_server_method());

    ERR_clear_error();
    SSL_CTX_set_dh_auto(c->h, 1);
    if (!o->tickets) {
        SSL_CTX_set_options(c->h, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(c->h, 0);
    }
    SSL_CTX_set_session_id_context(c->h, (const unsigned char *)"postern", 7);
    if (o->alpn) {
        size_t n = strlen(o->alpn);

        BUG_ON(n == 0 || n + 1 >= sizeof c->alpn);
        c->alpn[0] = (char)n;
        memcpy(c->alpn + 1, o->alpn, n);
        SSL_CTX_set_alpn_select_cb(c->h, on_alpn, c);
    }
    if (tls_set_protocols(c->h, o->protocols ? o->protocols : ">=TLSv1.2", e) != 0 ||
        tls_set_server_opts(c, o, e) != 0 || load_pairs(c->h, pem_chain, pem_key, e) != 0) {
        tls_unref(&c);
        return -1;
    }
    c->not_after_unix_s = not_after(c->h);
    if (c->not_after_unix_s < clock_unix_s())
        log_warn("tls.expired", LOG_F(LF_N("not_after", c->not_after_unix_s)),
                 "the TLS certificate has expired: clients will refuse it");
    *out = c;
    return 0;
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
    free(c);
}

int64_t
tls_not_after_unix_s(const struct tls_ctx *c)
{
    return c->not_after_unix_s;
}

int
tls_check_pem(struct slice pem_chain, struct slice pem_key, int64_t *not_after_unix_s,
              struct err *e)
{
    static const struct tls_server_opts opts = { .protocols = ">=TLSv1.2" };
    struct tls_ctx *c = NULL;

    if (tls_server_new(pem_chain, pem_key, &opts, &c, e) != 0)
        return -1;
    *not_after_unix_s = c->not_after_unix_s;
    tls_unref(&c);
    return 0;
}
