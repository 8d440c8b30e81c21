/* tls/tls_peer.c - what a peer's certificate says: names and fingerprints as text. */
#include "tls/tls_int.h"

#include "base/mem.h"

#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/x509.h>

#include <stdlib.h>

enum { NAME_OCTETS = 257, PRINT_OCTETS = 3 * EVP_MAX_MD_SIZE + 1 };

struct tls_peer {
    char cn[NAME_OCTETS], issuer_cn[NAME_OCTETS];
    char print[PRINT_OCTETS], key_print[PRINT_OCTETS];
    const char *digest;
};

/* The last common name, which is the most specific; printable ASCII only, since it goes into headers and logs. */
static void
take_cn(const X509_NAME *name, char out[NAME_OCTETS])
{
    int at = -1, next;
    unsigned char *utf8 = NULL;
    int n;

    while ((next = X509_NAME_get_index_by_NID(name, NID_commonName, at)) >= 0)
        at = next;
    if (at < 0)
        return;
    n = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
    for (int i = 0; i < n && i < NAME_OCTETS - 1; i++)
        out[i] = utf8[i] < ' ' || utf8[i] > '~' ? '?' : (char)utf8[i];
    OPENSSL_free(utf8);
}

static void
print_digest(const unsigned char *md, unsigned n, char out[PRINT_OCTETS])
{
    static const char hex[] = "0123456789ABCDEF";

    for (unsigned i = 0; i < n; i++) {
        if (i)
            *out++ = ':';
        *out++ = hex[md[i] >> 4];
        *out++ = hex[md[i] & 15];
    }
    *out = '\0';
}

/* Postfix takes the digest of the whole SubjectPublicKeyInfo, not of the bits in it. */
static void
take_key_print(const X509 *x, const EVP_MD *md, char out[PRINT_OCTETS])
{
    unsigned char *der = NULL, digest[EVP_MAX_MD_SIZE];
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
    unsigned n_digest = 0;

    if (n > 0 && EVP_Digest(der, (size_t)n, digest, &n_digest, md, NULL) == 1)
        print_digest(digest, n_digest, out);
    OPENSSL_free(der);
}

struct tls_peer *
tls_peer_new(SSL *ssl, const EVP_MD *md)
{
    const X509 *x = SSL_get0_peer_certificate(ssl);
    unsigned char digest[EVP_MAX_MD_SIZE];
    struct tls_peer *p;
    unsigned n = 0;

    if (x == NULL)
        return NULL;
    p = MEM_NEW(struct tls_peer);
    md = md ? md : EVP_sha256();
    p->digest = EVP_MD_get0_name(md);
    take_cn(X509_get_subject_name(x), p->cn);
    take_cn(X509_get_issuer_name(x), p->issuer_cn);
    if (X509_digest(x, md, digest, &n) == 1)
        print_digest(digest, n, p->print);
    take_key_print(x, md, p->key_print);
    ERR_clear_error();
    return p;
}

void
tls_peer_free(struct tls_peer **p)
{
    free(*p);
    *p = NULL;
}

void
tls_peer_tell(const struct tls_peer *p, struct tls_info *out)
{
    out->has_peer_cert = p != NULL;
    out->peer_cn = p ? p->cn : "";
    out->issuer_cn = p ? p->issuer_cn : "";
    out->peer_fingerprint = p ? p->print : "";
    out->peer_key_fingerprint = p ? p->key_print : "";
    out->peer_digest = p ? p->digest : "";
}

/* ---- fields of the subject ---- */

static int
nid_of(const char *field)
{
    int nid = OBJ_txt2nid(field);

    ERR_clear_error();
    return nid;
}

bool
tls_is_subject_field(const char *name)
{
    return nid_of(name) != NID_undef;
}

bool
tls_subject_field(const X509 *x, const char *field, struct buf *out)
{
    int nid = nid_of(field), at, n;
    const X509_NAME *subject;
    unsigned char *utf8 = NULL;
    bool is_good;

    if (x == NULL || nid == NID_undef)
        return false;
    subject = X509_get_subject_name(x);
    at = X509_NAME_get_index_by_NID(subject, nid, -1);
    if (at < 0 || X509_NAME_get_index_by_NID(subject, nid, at) >= 0) /* which is it? */
        return false;
    n = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    is_good = n > 0;
    for (int i = 0; i < n; i++)
        is_good = is_good && utf8[i] >= ' ' && utf8[i] != 0x7f;
    if (is_good)
        buf_add(out, utf8, (size_t)n);
    OPENSSL_free(utf8);
    ERR_clear_error();
    return is_good;
}
