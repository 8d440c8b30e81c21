/* tls/tls_opts.c - a server context's ciphers and what it wants to know of clients' certificates, in Postfix's words
 * (TLS_README). */
#include "tls/tls_int.h"

#include "base/buf.h"
#include "base/mem.h"

#include <openssl/err.h>

#include <stdlib.h>

/* Postfix's grades. Anonymous ciphers are left out everywhere: with TLS 1.3 nobody uses them, and scanners complain.
 * "low" and "export" are no longer in OpenSSL. */
#define HIGH_LIST   "HIGH:@STRENGTH"
#define MEDIUM_LIST "HIGH:MEDIUM:@STRENGTH"

/* TLS 1.0 signs with MD5 and SHA-1 at OpenSSL's lowest level only. */
#define LEGACY_LIST "HIGH:MEDIUM:!aNULL:!eNULL:@STRENGTH:@SECLEVEL=0"

static bool
is_set(const char *s)
{
    return s && s[0];
}

static const char *
list_of_grade(const struct tls_ciphers *o)
{
    struct slice grade = sl_z(is_set(o->grade) ? o->grade : "medium");

    if (sl_ieqz(grade, "high"))
        return is_set(o->high) ? o->high : HIGH_LIST;
    if (sl_ieqz(grade, "medium") || sl_ieqz(grade, "low") || sl_ieqz(grade, "export"))
        return is_set(o->medium) ? o->medium : MEDIUM_LIST;
    return sl_ieqz(grade, "null") ? "eNULL" : NULL;
}

static int
set_list(SSL_CTX *h, const char *list, struct err *e)
{
    if (SSL_CTX_set_cipher_list(h, list) == 1)
        return 0;
    tls_fail(e, ERR_CONFIG, "no cipher is left");
    return -1;
}

int
tls_set_ciphers(SSL_CTX *h, const struct tls_ciphers *o, struct err *e)
{
    struct slice in = sl_z(o->exclude), word;
    struct buf list = { 0 };
    const char *base = list_of_grade(o);
    int rc;

    if (!is_set(o->grade) && in.n == 0)
        return 0; /* OpenSSL's own choice */
    if (base == NULL)
        return err_set(e, ERR_CONFIG, "unknown cipher grade \"%s\": high, medium or null is wanted",
                       o->grade);
    buf_addf(&list, "%s:!aNULL", base);
    while (sl_take_word(&in, " \t\r\n,:", &word)) {
        buf_addz(&list, ":!");
        buf_adds(&list, word);
    }
    rc = set_list(h, buf_z(&list), e);
    buf_free(&list);
    return rc;
}

static int
set_server_ciphers(SSL_CTX *h, const struct tls_server_opts *o, struct err *e)
{
    const struct tls_ciphers grade = { o->cipher_grade, o->exclude_ciphers, o->high_ciphers,
                                       o->medium_ciphers };

    if (is_set(o->cipher_suites) && SSL_CTX_set_ciphersuites(h, o->cipher_suites) != 1)
        return err_set(e, ERR_CONFIG, "\"%s\" is no list of TLS 1.3's ciphers", o->cipher_suites);
    if (o->is_legacy)
        return set_list(h, LEGACY_LIST, e);
    return is_set(o->cipher_list) ? set_list(h, o->cipher_list, e) : tls_set_ciphers(h, &grade, e);
}

/* Names that this OpenSSL does not know are passed over, as in Postfix. */
static int
set_curves(SSL_CTX *h, const char *names, struct err *e)
{
    struct slice in = sl_z(names), word;
    struct buf list = { 0 };
    int rc = 0;

    while (sl_take_word(&in, " \t\r\n,:", &word)) {
        char *name = sl_dupz(word);

        if (SSL_CTX_set1_groups_list(h, name) == 1)
            buf_addf(&list, "%s%s", list.n ? ":" : "", name);
        free(name);
    }
    if (list.n > 0)
        SSL_CTX_set1_groups_list(h, buf_z(&list));
    else if (is_set(names))
        rc = err_set(e, ERR_CONFIG, "\"%s\": no curve of these is known", names);
    buf_free(&list);
    ERR_clear_error();
    return rc;
}

/* Who cannot be verified is not turned away in the handshake: what that means is for restrictions to say. */
static int
take_any(int ok, X509_STORE_CTX *x)
{
    (void)ok;
    (void)x;
    return 1;
}

static int
set_client_certs(struct tls_ctx *c, const struct tls_server_opts *o, struct err *e)
{
    const char *file = is_set(o->ca_file) ? o->ca_file : NULL;
    const char *path = is_set(o->ca_path) ? o->ca_path : NULL;

    if (!o->ask_ccert && !o->req_ccert)
        return 0;
    c->is_asking = true;
    SSL_CTX_set_verify(c->h, SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE, take_any);
    if (o->ccert_depth > 0)
        SSL_CTX_set_verify_depth(c->h, o->ccert_depth);
    if (tls_store_use_ca(c->store, c->h, o->req_crl))
        file = NULL;
    if (file && SSL_CTX_load_verify_file(c->h, file) != 1)
        return tls_fail(e, ERR_CONFIG, file);
    if (path && SSL_CTX_load_verify_dir(c->h, path) != 1)
        return tls_fail(e, ERR_CONFIG, path);
    if (file)
        SSL_CTX_set_client_CA_list(c->h, SSL_load_client_CA_file(file));
    ERR_clear_error();
    return 0;
}

int
tls_set_server_opts(struct tls_ctx *c, const struct tls_server_opts *o, struct err *e)
{
    const char *protocols = o->is_legacy           ? ">=TLSv1"
                            : is_set(o->protocols) ? o->protocols
                                                   : ">=TLSv1.2";

    c->digest = EVP_get_digestbyname(is_set(o->digest) ? o->digest : "sha256");
    if (c->digest == NULL)
        return err_set(e, ERR_CONFIG, "digest algorithm \"%s\" not found", o->digest);
    if (!o->client_preference)
        SSL_CTX_set_options(c->h, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    return tls_set_protocols(c->h, protocols, e) != 0 || set_curves(c->h, o->curves, e) != 0 ||
                   set_server_ciphers(c->h, o, e) != 0 || set_client_certs(c, o, e) != 0
               ? -1
               : 0;
}

int
tls_check_server_opts(const struct tls_server_opts *o, struct err *e)
{
    struct tls_ctx c = { .h = SSL_CTX_new(TLS_server_method()) };
    int rc;

    BUG_ON(!c.h);
    ERR_clear_error();
    rc = tls_set_server_opts(&c, o, e);
    SSL_CTX_free(c.h);
    return rc;
}
