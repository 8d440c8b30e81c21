/* tls/self_signed.c - a certificate for a trial, signed by itself. RFC 5280 §4. */
#include "tls/tls_int.h"

#include "base/mem.h"
#include "base/rand.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <stdlib.h>

enum { SERIAL_OCTETS = 16, CN_MAX = 64, BACKDATE_S = 3600 };

/* Names go into OpenSSL's little language for extensions, so nothing but a host name or an address may be one. */
static int
check_name(const char *name, struct err *e)
{
    size_t n = strlen(name);

    if (n == 0 || n > 253 ||
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:*") != n)
        return err_set(e, ERR_CONFIG, "\"%s\" is no host name or address", name);
    return 0;
}

static void
add_alt_name(struct buf *b, const char *name)
{
    unsigned char octets[16];
    bool is_ip = inet_pton(AF_INET, name, octets) == 1 || inet_pton(AF_INET6, name, octets) == 1;

    buf_addf(b, "%s%s:%s", b->n ? "," : "", is_ip ? "IP" : "DNS", name);
}

static bool
add_extension(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    bool ok = ext && X509_add_ext(x, ext, -1) == 1;

    X509_EXTENSION_free(ext);
    return ok;
}

static bool
set_serial(X509 *x)
{
    unsigned char octets[SERIAL_OCTETS];
    BIGNUM *n;
    bool ok;

    rand_octets(octets, sizeof octets);
    octets[0] &= 0x7f; /* positive */
    octets[0] |= 0x40;
    n = BN_bin2bn(octets, sizeof octets, NULL);
    ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)) != NULL;
    BN_free(n);
    return ok;
}

static bool
fill(X509 *x, EVP_PKEY *k, const char *cn, const char *alt_names, int days)
{
    X509_NAME *name = X509_get_subject_name(x);
    int cn_n = (int)strnlen(cn, CN_MAX);

    return X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x) &&
           X509_gmtime_adj(X509_getm_notBefore(x), -BACKDATE_S) &&
           X509_gmtime_adj(X509_getm_notAfter(x), (long)days * 86400) &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)cn, cn_n, -1,
                                      0) == 1 &&
           X509_set_issuer_name(x, name) == 1 && X509_set_pubkey(x, k) == 1 &&
           add_extension(x, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(x, NID_key_usage, "critical,digitalSignature") &&
           add_extension(x, NID_ext_key_usage, "serverAuth") &&
           add_extension(x, NID_subject_alt_name, alt_names) && X509_sign(x, k, EVP_sha256()) > 0;
}

static void
add_pem(BIO *b, struct buf *out)
{
    char *p;
    long n = BIO_get_mem_data(b, &p);

    if (n > 0)
        buf_add(out, p, (size_t)n);
}

int
tls_make_self_signed(const char *const *names, size_t n, int days, struct buf *pem_chain,
                     struct buf *pem_key, struct err *e)
{
    struct buf alt = { 0 };
    EVP_PKEY *k = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    BIO *cert = BIO_new(BIO_s_mem()), *key = BIO_new(BIO_s_secmem());
    int rc = -1;

    BUG_ON(!k || !x || !cert || !key || n == 0);
    for (size_t i = 0; i < n; i++) {
        if (check_name(names[i], e) != 0)
            goto out;
        add_alt_name(&alt, names[i]);
    }
    if (!fill(x, k, names[0], buf_z(&alt), days) || PEM_write_bio_X509(cert, x) != 1 ||
        PEM_write_bio_PrivateKey(key, k, NULL, NULL, 0, NULL, NULL) != 1) {
        tls_fail(e, ERR_CONFIG, "cannot make a certificate");
        goto out;
    }
    add_pem(cert, pem_chain);
    add_pem(key, pem_key);
    rc = 0;
out:
    BIO_free(cert);
    BIO_free(key);
    X509_free(x);
    EVP_PKEY_free(k);
    buf_free(&alt);
    return rc;
}
