/* tls/tls_client.c - a client's contexts, and what it demands of a peer: a chain to an authority and a name (RFC 6125), a
 * fingerprint, or what DNS says of the certificate (DANE, RFC 6698, 7671, 7672). The handshake itself takes any
 * certificate; the verdict comes after it, in words for the log. */
#include "tls/tls_int.h"

#include "base/mem.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <stdlib.h>

enum { NAMES_MAX = 32, PRINTS_MAX = 64 };

struct tls_demanded {
    enum tls_demand what;
    char *names[NAMES_MAX], *prints[PRINTS_MAX];
    size_t n_names, n_prints;
};

static bool
is_set(const char *s)
{
    return s && s[0];
}

static int
set_authorities(SSL_CTX *h, const struct tls_client_opts *o, struct err *e)
{
    if (is_set(o->ca_file) && SSL_CTX_load_verify_file(h, o->ca_file) != 1)
        return tls_fail(e, ERR_CONFIG, o->ca_file);
    if (is_set(o->ca_path) && SSL_CTX_load_verify_dir(h, o->ca_path) != 1)
        return tls_fail(e, ERR_CONFIG, o->ca_path);
    if (o->system_ca && SSL_CTX_set_default_verify_paths(h) != 1)
        return tls_fail(e, ERR_CONFIG, "the system's CA certificates");
    ERR_clear_error(); /* a folder that is not there is no error of set_default_verify_paths() */
    return 0;
}

int
tls_client_new(const struct tls_client_opts *o, struct tls_ctx **out, struct err *e)
{
    struct tls_ctx *c = tls_ctx_new(TLS_client_method());
    const struct tls_ciphers ciphers = { o->cipher_grade, o->exclude_ciphers, o->high_ciphers,
                                         o->medium_ciphers };

    ERR_clear_error();
    c->is_client = true;
    c->digest = EVP_get_digestbyname(is_set(o->digest) ? o->digest : "sha256");
    if (c->digest == NULL) {
        err_set(e, ERR_CONFIG, "digest algorithm \"%s\" not found", o->digest);
        goto fail;
    }
    SSL_CTX_set_verify(c->h, SSL_VERIFY_NONE, NULL); /* the chain is looked at all the same */
    if (o->depth > 0)
        SSL_CTX_set_verify_depth(c->h, o->depth);
    if (set_authorities(c->h, o, e) != 0 ||
        tls_set_protocols(c->h, is_set(o->protocols) ? o->protocols : ">=TLSv1", e) != 0 ||
        tls_set_ciphers(c->h, &ciphers, e) != 0)
        goto fail;
    if (SSL_CTX_dane_enable(c->h) != 1) {
        tls_fail(e, ERR_CONFIG, "DANE");
        goto fail;
    }
    *out = c;
    return 0;
fail:
    tls_unref(&c);
    return -1;
}

/* ---- what is demanded ---- */

bool
tls_tlsa_is_usable(const struct tls_tlsa *t)
{
    static const size_t digest_octets[] = { 0, 32, 64 };

    return (t->usage == 2 || t->usage == 3) && t->selector <= 1 && t->matching <= 2 &&
           t->data.n > 0 && (t->matching == 0 || t->data.n == digest_octets[t->matching]);
}

static bool
is_ip(const char *name)
{
    ASN1_OCTET_STRING *ip = a2i_IPADDRESS(name);

    ASN1_OCTET_STRING_free(ip);
    ERR_clear_error();
    return ip != NULL;
}

/* A record that OpenSSL does not take (a full certificate that does not parse) is passed over; that none is left is said by
 * the verdict. */
static void
set_dane(SSL *ssl, const struct tls_expect *x)
{
    SSL_dane_enable(ssl, x->n_names > 0 ? x->names[0] : x->sni);
    SSL_dane_set_flags(ssl, DANE_FLAG_NO_DANE_EE_NAMECHECKS); /* RFC 7672 §3.1.1 */
    for (size_t i = 1; i < x->n_names; i++)
        SSL_add1_host(ssl, x->names[i]);
    for (size_t i = 0; i < x->n_tlsa; i++) {
        const struct tls_tlsa *t = &x->tlsa[i];

        if (tls_tlsa_is_usable(t))
            SSL_dane_tlsa_add(ssl, t->usage, t->selector, t->matching,
                              (const unsigned char *)t->data.p, t->data.n);
    }
    ERR_clear_error();
}

struct tls_demanded *
tls_demanded_new(SSL *ssl, const struct tls_expect *x)
{
    struct tls_demanded *d = MEM_NEW(struct tls_demanded);

    d->what = x->demand;
    if (x->demand == TLS_DEMAND_DANE)
        set_dane(ssl, x);
    /* An address is no name for SNI: RFC 6066 §3. */
    if (is_set(x->sni) && !is_ip(x->sni))
        SSL_set_tlsext_host_name(ssl, x->sni);
    for (size_t i = 0; i < x->n_names && i < NAMES_MAX; i++)
        d->names[d->n_names++] = mem_dupz(x->names[i]);
    for (size_t i = 0; i < x->n_prints && i < PRINTS_MAX; i++)
        d->prints[d->n_prints++] = mem_dupz(x->prints[i]);
    return d;
}

void
tls_demanded_free(struct tls_demanded **dp)
{
    struct tls_demanded *d = *dp;

    if (d == NULL)
        return;
    for (size_t i = 0; i < d->n_names; i++)
        free(d->names[i]);
    for (size_t i = 0; i < d->n_prints; i++)
        free(d->prints[i]);
    free(d);
    *dp = NULL;
}

enum tls_demand
tls_demanded_what(const struct tls_demanded *d)
{
    return d ? d->what : TLS_DEMAND_NOTHING;
}

/* ---- the verdict ---- */

/* ".example.com" stands for names below it, as OpenSSL has it. */
static bool
has_name(const X509 *cert, const struct tls_demanded *d)
{
    for (size_t i = 0; i < d->n_names; i++) {
        const char *name = d->names[i];

        if (is_ip(name) ? X509_check_ip_asc((X509 *)(uintptr_t)cert, name, 0) == 1
                        : X509_check_host((X509 *)(uintptr_t)cert, name, strlen(name),
                                          X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1)
            return true;
    }
    return false;
}

static bool
has_print(const struct tls_demanded *d, const struct tls_info *peer)
{
    for (size_t i = 0; i < d->n_prints; i++)
        if (sl_ieqz(sl_z(d->prints[i]), peer->peer_fingerprint) ||
            sl_ieqz(sl_z(d->prints[i]), peer->peer_key_fingerprint))
            return true;
    return false;
}

bool
tls_demanded_is_met(const struct tls_demanded *d, SSL *ssl, const struct tls_info *peer,
                    struct err *e)
{
    const X509 *cert = SSL_get0_peer_certificate(ssl);
    long verify = SSL_get_verify_result(ssl);
    const char *why = X509_verify_cert_error_string(verify);

    switch (d->what) {
    case TLS_DEMAND_NOTHING:
        return true;
    case TLS_DEMAND_FINGERPRINT:
        if (cert && has_print(d, peer))
            return true;
        err_set(e, ERR_TEMP, "Server certificate fingerprint does not match: %s",
                cert ? peer->peer_fingerprint : "no certificate");
        return false;
    case TLS_DEMAND_DANE:
        if (cert && verify == X509_V_OK && SSL_get0_dane_authority(ssl, NULL, NULL) >= 0)
            return true;
        err_set(e, ERR_TEMP, "Server certificate not trusted: %s",
                verify == X509_V_OK ? "no matching DANE TLSA record" : why);
        return false;
    case TLS_DEMAND_CHAIN:
        if (cert == NULL || verify != X509_V_OK) {
            err_set(e, ERR_TEMP, "Server certificate not trusted: %s",
                    cert ? why : "no certificate");
            return false;
        }
        if (has_name(cert, d))
            return true;
        err_set(e, ERR_TEMP, "Server certificate not verified: hostname mismatch");
        return false;
    }
    return false;
}
