/* tls/tls_opts.c - a server context's ciphers and what it wants to know of clients' certificates, in Postfix's words
 * (TLS_README). */
#include "tls/tls_int.h"

#include "base/buf.h"
#include "base/mem.h"

#include <openssl/err.h>

/* Postfix's grades. Anonymous ciphers are left out everywhere: with TLS 1.3 nobody uses them, and scanners complain.
 * "low" and "export" are no longer in OpenSSL. */
static const struct {
    const char *grade, *list;
} grades[] = {
    { "high", "HIGH:!aNULL:@STRENGTH" },
    { "medium", "HIGH:MEDIUM:!aNULL:@STRENGTH" },
    { "low", "HIGH:MEDIUM:!aNULL:@STRENGTH" },
    { "export", "HIGH:MEDIUM:!aNULL:@STRENGTH" },
    { "null", "eNULL:!aNULL" },
};

static bool
is_set(const char *s)
{
    return s && s[0];
}

static const char *
list_of_grade(const char *grade)
{
    for (size_t i = 0; i < COUNT_OF(grades); i++)
        if (sl_ieqz(sl_z(grade), grades[i].grade))
            return grades[i].list;
    return NULL;
}

int
tls_set_ciphers(SSL_CTX *h, const char *grade, const char *exclude, struct err *e)
{
    struct slice in = sl_z(exclude), word;
    struct buf list = { 0 };
    const char *base;
    int rc;

    if (!is_set(grade) && in.n == 0)
        return 0; /* OpenSSL's own choice */
    base = list_of_grade(is_set(grade) ? grade : "medium");
    if (base == NULL)
        return err_set(e, ERR_CONFIG, "unknown cipher grade \"%s\": high, medium or null is wanted",
                       grade);
    buf_addz(&list, base);
    while (sl_take_word(&in, " \t\r\n,:", &word)) {
        buf_addz(&list, ":!");
        buf_adds(&list, word);
    }
    rc = SSL_CTX_set_cipher_list(h, buf_z(&list));
    if (rc != 1)
        tls_fail(e, ERR_CONFIG, "no cipher is left");
    buf_free(&list);
    return rc == 1 ? 0 : -1;
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
    c->digest = EVP_get_digestbyname(is_set(o->digest) ? o->digest : "sha256");
    if (c->digest == NULL)
        return err_set(e, ERR_CONFIG, "digest algorithm \"%s\" not found", o->digest);
    if (!o->client_preference)
        SSL_CTX_set_options(c->h, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    return tls_set_ciphers(c->h, o->cipher_grade, o->exclude_ciphers, e) != 0 ||
                   set_client_certs(c, o, e) != 0
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
    if (rc == 0)
        rc = tls_set_protocols(c.h, o->protocols ? o->protocols : ">=TLSv1.2", e);
    SSL_CTX_free(c.h);
    return rc;
}
