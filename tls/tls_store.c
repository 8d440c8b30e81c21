/* tls/tls_store.c - certificates with their keys, found by the name that a client asks for (RFC 6066 §3). They are put onto
 * the one connection, so a thousand names need no thousand contexts. */
#include "tls/tls_int.h"

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <stdlib.h>
#include <time.h>

enum { PAIRS_MAX = 4 }; /* a certificate for each kind of key there is */

struct pair {
    X509 *x;
    EVP_PKEY *key;
    STACK_OF(X509) * chain;
};

struct identity {
    struct pair v[PAIRS_MAX];
    size_t n;
    struct buf pem; /* n 0: what is to be read when somebody asks for the name */
};

struct tls_store {
    unsigned refs;        /* the loop's thread alone counts */
    struct identity *all; /* NULL: none */
    struct map *by_name;  /* "mail.example.org", ".example.org" -> struct identity */
    X509_STORE *ca;       /* NULL: none were given */
    STACK_OF(X509_NAME) * ca_names;
    bool has_crl;
};

/* ---- reading PEM ---- */

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

static BIO *
bio_of(struct slice pem)
{
    BIO *b = BIO_new_mem_buf(pem.p, (int)pem.n);

    BUG_ON(!b);
    return b;
}

/* The keys of the text, at most PAIRS_MAX. Certificates are stepped over here: OpenSSL would try each as a key, which takes
 * longer than all else. */
static size_t
read_keys(struct slice pem, EVP_PKEY *out[PAIRS_MAX])
{
    size_t n = 0, at;

    while (n < PAIRS_MAX && (at = sl_find(pem, SL("-----BEGIN "))) != SL_NPOS) {
        struct slice line = sl_from(pem, at);
        BIO *b;

        pem = sl_from(line, 1);
        if (sl_find(sl_head(line, sl_find_char(line, '\n')), SL("PRIVATE KEY-----")) == SL_NPOS)
            continue;
        b = bio_of(line);
        out[n] = PEM_read_bio_PrivateKey(b, NULL, no_pass_phrase, NULL);
        BIO_free(b);
        if (out[n] == NULL)
            break;
        n++;
    }
    return n;
}

static EVP_PKEY *
key_of(const X509 *x, EVP_PKEY *const *keys, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (X509_check_private_key(x, keys[i]) == 1)
            return keys[i];
    return NULL;
}

static void
forget_text(struct identity *d)
{
    buf_wipe(&d->pem);
}

static void
forget_pairs(struct identity *d)
{
    for (size_t i = 0; i < d->n; i++) {
        X509_free(d->v[i].x);
        EVP_PKEY_free(d->v[i].key);
        sk_X509_pop_free(d->v[i].chain, X509_free);
    }
    d->n = 0;
}

static void
identity_free(void *p)
{
    struct identity *d = p;

    if (d == NULL)
        return;
    forget_pairs(d);
    forget_text(d);
    free(d);
}

/* x becomes d's. */
static int
take_cert(struct identity *d, X509 *x, EVP_PKEY *own, struct err *e)
{
    if (own == NULL && d->n == 0) {
        X509_free(x);
        return tls_fail(e, ERR_CONFIG, "the private key does not belong to the certificate");
    }
    if (own && d->n == PAIRS_MAX) {
        X509_free(x);
        return err_set(e, ERR_CONFIG, "more than %d certificates with keys", PAIRS_MAX);
    }
    if (own == NULL) {
        BUG_ON(sk_X509_push(d->v[d->n - 1].chain, x) <= 0);
        return 0;
    }
    EVP_PKEY_up_ref(own);
    d->v[d->n++] = (struct pair){ .x = x, .key = own, .chain = sk_X509_new_null() };
    BUG_ON(!d->v[d->n - 1].chain);
    return 0;
}

/* A certificate that one of the keys belongs to, then what leads from it to its authority; more such, with keys of other
 * kinds, may follow. */
static int
read_pairs(struct identity *d, struct slice pem, struct err *e)
{
    BIO *b = bio_of(pem);
    EVP_PKEY *keys[PAIRS_MAX];
    size_t n_keys = read_keys(pem, keys);
    X509 *x = NULL;
    int rc = 0;

    while (rc == 0 && (x = PEM_read_bio_X509_AUX(b, NULL, no_pass_phrase, NULL)) != NULL) {
        if (n_keys == 0) {
            X509_free(x);
            rc = tls_fail(e, ERR_CONFIG, "no private key in PEM form without pass phrase");
        } else {
            rc = take_cert(d, x, key_of(x, keys, n_keys), e);
        }
    }
    if (rc == 0 && d->n == 0)
        rc = tls_fail(e, ERR_CONFIG, "no certificate in PEM form");
    else if (rc == 0 && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        rc = tls_fail(e, ERR_CONFIG, "what follows the certificate is no PEM"); /* cut short */
    for (size_t i = 0; i < n_keys; i++)
        EVP_PKEY_free(keys[i]);
    BIO_free(b);
    ERR_clear_error(); /* the end of the file was the last "error" */
    return rc;
}

/* What OpenSSL says of the keys is to be known before a client is there. */
static int
check_identity(const struct identity *d, struct err *e)
{
    SSL_CTX *h = SSL_CTX_new(TLS_server_method());
    int rc = 0;

    BUG_ON(!h);
    for (size_t i = 0; i < d->n && rc == 0; i++)
        if (SSL_CTX_use_cert_and_key(h, d->v[i].x, d->v[i].key, d->v[i].chain, 1) != 1)
            rc = tls_fail(e, ERR_CONFIG, "certificate cannot be used");
    SSL_CTX_free(h);
    return rc;
}

static struct identity *
identity_read(struct slice pem, struct err *e)
{
    struct identity *d = MEM_NEW(struct identity);

    ERR_clear_error();
    if (read_pairs(d, pem, e) == 0 && check_identity(d, e) == 0)
        return d;
    identity_free(d);
    return NULL;
}

/* ---- a store ---- */

struct tls_store *
tls_store_new(void)
{
    struct tls_store *s = MEM_NEW(struct tls_store);

    s->refs = 1;
    return s;
}

struct tls_store *
tls_store_ref(struct tls_store *s)
{
    s->refs++;
    return s;
}

void
tls_store_unref(struct tls_store **sp)
{
    struct tls_store *s = *sp;

    *sp = NULL;
    if (s == NULL || --s->refs > 0)
        return;
    identity_free(s->all);
    map_free(&s->by_name, identity_free);
    X509_STORE_free(s->ca);
    sk_X509_NAME_pop_free(s->ca_names, X509_NAME_free);
    free(s);
}

static void
set_name(struct tls_store *s, const char *sni, struct identity *d)
{
    if (s->by_name == NULL)
        s->by_name = map_new_icase();
    identity_free(map_set(s->by_name, sl_z(sni), d));
}

int
tls_store_add(struct tls_store *s, const char *sni, struct slice pem, struct err *e)
{
    struct identity *d = identity_read(pem, e);

    if (d == NULL)
        return -1;
    if (sni) {
        set_name(s, sni, d);
    } else {
        identity_free(s->all);
        s->all = d;
    }
    return 0;
}

void
tls_store_add_later(struct tls_store *s, const char *sni, struct slice pem)
{
    struct identity *d = MEM_NEW(struct identity);

    buf_reserve(&d->pem, pem.n);
    buf_adds(&d->pem, pem);
    set_name(s, sni, d);
}

bool
tls_store_is_usable(const struct tls_store *s)
{
    return s && s->all;
}

/* ---- authorities ---- */

static int
take_authority(struct tls_store *s, const X509_INFO *info, struct err *e)
{
    if (info->crl) {
        s->has_crl = true;
        if (X509_STORE_add_crl(s->ca, info->crl) != 1)
            return tls_fail(e, ERR_CONFIG, "a list of revoked certificates cannot be used");
    }
    if (info->x509) {
        X509_NAME *name = X509_NAME_dup(X509_get_subject_name(info->x509));

        BUG_ON(!name || sk_X509_NAME_push(s->ca_names, name) <= 0);
        if (X509_STORE_add_cert(s->ca, info->x509) != 1)
            return tls_fail(e, ERR_CONFIG, "the certificate of an authority cannot be used");
    }
    return 0;
}

int
tls_store_set_ca(struct tls_store *s, struct slice pem, struct err *e)
{
    BIO *b = bio_of(pem);
    STACK_OF(X509_INFO) * all;
    int rc = 0;

    ERR_clear_error();
    BUG_ON(s->ca); /* once */
    all = PEM_X509_INFO_read_bio(b, NULL, no_pass_phrase, NULL);
    s->ca = X509_STORE_new();
    s->ca_names = sk_X509_NAME_new_null();
    BUG_ON(!s->ca || !s->ca_names);
    if (all == NULL)
        rc = tls_fail(e, ERR_CONFIG, "no certificates in PEM form");
    for (int i = 0; rc == 0 && i < sk_X509_INFO_num(all); i++)
        rc = take_authority(s, sk_X509_INFO_value(all, i), e);
    if (rc == 0 && sk_X509_NAME_num(s->ca_names) == 0)
        rc = tls_fail(e, ERR_CONFIG, "no certificate in PEM form");
    sk_X509_INFO_pop_free(all, X509_INFO_free);
    BIO_free(b);
    ERR_clear_error();
    return rc;
}

/* Into the context's own: a folder that it has besides is nobody else's. */
static void
copy_authorities(X509_STORE *from, X509_STORE *to)
{
    const STACK_OF(X509_OBJECT) *all = X509_STORE_get0_objects(from);

    for (int i = 0; i < sk_X509_OBJECT_num(all); i++) {
        X509_OBJECT *o = sk_X509_OBJECT_value(all, i);

        if (X509_OBJECT_get0_X509(o))
            X509_STORE_add_cert(to, X509_OBJECT_get0_X509(o));
        else if (X509_OBJECT_get0_X509_CRL(o))
            X509_STORE_add_crl(to, X509_OBJECT_get0_X509_CRL(o));
    }
}

bool
tls_store_use_ca(const struct tls_store *s, SSL_CTX *h, bool must_have_crl)
{
    unsigned long flags = 0;

    if (s == NULL || s->ca == NULL)
        return false;
    copy_authorities(s->ca, SSL_CTX_get_cert_store(h));
    SSL_CTX_set_client_CA_list(h, SSL_dup_CA_list(s->ca_names));
    if (must_have_crl)
        flags = X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL;
    else if (s->has_crl)
        flags = X509_V_FLAG_CRL_CHECK;
    /* The context's, not the store's: another context may want less. */
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(h), flags);
    return true;
}

/* ---- put onto contexts and connections ---- */

int
tls_store_use_all(const struct tls_store *s, SSL_CTX *h, struct err *e)
{
    if (!tls_store_is_usable(s))
        return err_set(e, ERR_CONFIG, "no certificate");
    for (size_t i = 0; i < s->all->n; i++) {
        const struct pair *p = &s->all->v[i];

        if (SSL_CTX_use_cert_and_key(h, p->x, p->key, p->chain, 1) != 1)
            return tls_fail(e, ERR_CONFIG, "certificate cannot be used");
    }
    return 0;
}

bool
tls_store_has_names(const struct tls_store *s)
{
    return s->by_name != NULL;
}

/* As Postfix looks for it: the name, then each domain above it with a dot in front. */
static struct identity *
find_name(const struct tls_store *s, struct slice name)
{
    struct identity *d = map_get(s->by_name, name);

    while (d == NULL) {
        size_t dot = sl_find_char(sl_from(name, 1), '.');

        if (dot == SL_NPOS)
            return NULL;
        name = sl_from(name, dot + 1);
        d = map_get(s->by_name, name);
    }
    return d;
}

/* What was given by tls_store_add_later(). False: it is no good. */
static bool
is_read(struct identity *d)
{
    struct err e = { 0 };

    if (d->pem.n > 0 && read_pairs(d, buf_slice(&d->pem), &e) != 0) {
        log_error("tls.name", LOG_F(LF_Z("why", e.msg)), "a certificate for a name: %s", e.msg);
        forget_pairs(d);
    }
    forget_text(d);
    return d->n > 0;
}

bool
tls_store_use_name(const struct tls_store *s, SSL *ssl, const char *sni)
{
    struct identity *d = s->by_name && sni[0] ? find_name(s, sl_z(sni)) : NULL;

    if (d == NULL || !is_read(d))
        return false;
    SSL_certs_clear(ssl); /* of kinds of keys that this name has none of, too */
    for (size_t i = 0; i < d->n; i++)
        if (SSL_use_cert_and_key(ssl, d->v[i].x, d->v[i].key, d->v[i].chain, 1) != 1) {
            ERR_clear_error();
            return false;
        }
    return true;
}

/* ---- what a certificate says ---- */

static int64_t
unix_of(const ASN1_TIME *t)
{
    struct tm tm;

    return t && ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static void
add_name(struct buf *out, struct slice name)
{
    for (size_t i = 0; i < name.n; i++) /* somebody else wrote it, and it is shown in a list */
        if (name.p[i] <= ' ' || name.p[i] > '~')
            return;
    if (name.n > 0)
        buf_addf(out, "%s%.*s", out->n ? " " : "", SL_ARG(name));
}

static void
add_ip(struct buf *out, const ASN1_OCTET_STRING *ip)
{
    const unsigned char *p = ASN1_STRING_get0_data(ip);
    struct buf text = { 0 };
    int n = ASN1_STRING_length(ip);

    for (int i = 0; i < n && n == 4; i++)
        buf_addf(&text, "%s%u", i ? "." : "", p[i]);
    for (int i = 0; i + 1 < n && n == 16; i += 2)
        buf_addf(&text, "%s%x", i ? ":" : "", (unsigned)p[i] << 8 | p[i + 1]);
    add_name(out, buf_slice(&text));
    buf_free(&text);
}

/* Names of hosts; the common name only where there are none, as clients do (RFC 6125 §6.4.4). */
static void
add_names(struct buf *out, const X509 *x)
{
    GENERAL_NAMES *alt = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    char cn[257] = "";

    for (int i = 0; i < sk_GENERAL_NAME_num(alt); i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(alt, i);

        if (g->type == GEN_DNS)
            add_name(out, sl_n((const char *)ASN1_STRING_get0_data(g->d.dNSName),
                               (size_t)ASN1_STRING_length(g->d.dNSName)));
        else if (g->type == GEN_IPADD)
            add_ip(out, g->d.iPAddress);
    }
    GENERAL_NAMES_free(alt);
    if (out->n == 0 &&
        X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, cn, sizeof cn) > 0)
        add_name(out, sl_z(cn));
}

static bool
has_issued(const X509 *issuer, const X509 *x)
{
    return X509_NAME_cmp(X509_get_subject_name(issuer), X509_get_issuer_name(x)) == 0;
}

static void
look_at(const struct pair *p, const char *host, struct tls_facts *f)
{
    int64_t from = unix_of(X509_get0_notBefore(p->x)), to = unix_of(X509_get0_notAfter(p->x));
    const X509 *below = p->x;

    f->not_before_unix_s = from > f->not_before_unix_s ? from : f->not_before_unix_s;
    f->not_after_unix_s =
        f->not_after_unix_s == 0 || to < f->not_after_unix_s ? to : f->not_after_unix_s;
    for (int i = 0; i < sk_X509_num(p->chain); i++) {
        const X509 *x = sk_X509_value(p->chain, i);

        f->is_in_order = f->is_in_order && has_issued(x, below);
        below = x;
    }
    f->has_chain = f->has_chain && (sk_X509_num(p->chain) > 0 || has_issued(p->x, p->x));
    f->has_host = f->has_host && host && X509_check_host(p->x, host, 0, 0, NULL) == 1;
}

int
tls_look(struct slice pem, const char *host, struct tls_facts *out, struct err *e)
{
    struct identity *d = identity_read(pem, e);

    *out = (struct tls_facts){ .is_in_order = true, .has_chain = true, .has_host = true };
    if (d == NULL)
        return -1;
    for (size_t i = 0; i < d->n; i++)
        look_at(&d->v[i], host, out);
    add_names(&out->names, d->v[0].x);
    identity_free(d);
    ERR_clear_error();
    return 0;
}

void
tls_facts_free(struct tls_facts *f)
{
    buf_free(&f->names);
    *f = (struct tls_facts){ 0 };
}
