/* tls/tls_int.h - shared by tls.c (contexts), tls_conn.c (the transport) and self_signed.c. Folder-private. */
#ifndef POSTERN_TLS_TLS_INT_H
#define POSTERN_TLS_TLS_INT_H

#include "tls/tls.h"
#include "tls/tls_store.h"

#include <openssl/evp.h>
#include <openssl/ssl.h>

struct tls_ctx {
    SSL_CTX *h;
    unsigned refs; /* the loop's thread alone counts */
    bool is_client;
    struct tls_store *store; /* of a server */
    bool is_asking;          /* a server that asks for certificates */
    const EVP_MD *digest;    /* of fingerprints */
    char alpn[16];           /* wire form: length octet, name; first octet 0: none */
};

/* e from OpenSSL's error queue, which is emptied: "words: reason". Returns -1. */
int tls_fail(struct err *e, enum err_kind kind, const char *words);
/* Postfix's list of protocols onto a context. -1 with e ERR_CONFIG. */
int tls_set_protocols(SSL_CTX *h, const char *list, struct err *e);

struct tls_ctx *tls_ctx_new(const SSL_METHOD *m); /* one reference */
/* tls_opts.c: Postfix's grade and exclusions, what the grades mean; each may be NULL or "". -1 with e ERR_CONFIG. */
struct tls_ciphers {
    const char *grade, *exclude, *high, *medium;
};
int tls_set_ciphers(SSL_CTX *h, const struct tls_ciphers *o, struct err *e);

/* tls_store.c: the certificate for everybody onto a context; the one for a name onto a connection: false when there is none. */
int tls_store_use_all(const struct tls_store *s, SSL_CTX *h, struct err *e);
bool tls_store_has_names(const struct tls_store *s);
bool tls_store_use_name(const struct tls_store *s, SSL *ssl, const char *sni);
/* The authorities; false: there are none in it. */
bool tls_store_use_ca(const struct tls_store *s, SSL_CTX *h, bool must_have_crl);
void tls_use_tickets(SSL_CTX *h); /* tls_tickets.c */
void
tls_conn_note_name(SSL *ssl); /* tls_conn.c: there was a certificate for the name it asked for */

/* tls_client.c: what one client connection demands. */
struct tls_demanded;
struct tls_demanded *tls_demanded_new(SSL *ssl, const struct tls_expect *x);
void tls_demanded_free(struct tls_demanded **d);                 /* NULL-safe */
enum tls_demand tls_demanded_what(const struct tls_demanded *d); /* NULL: nothing */
/* After the handshake. False: e says why. peer: what tls_info_of() tells of the certificate. */
bool tls_demanded_is_met(const struct tls_demanded *d, SSL *ssl, const struct tls_info *peer,
                         struct err *e);

/* tls_peer.c: what a peer's certificate says, as text; worked out once a connection. */
struct tls_peer;
struct tls_peer *tls_peer_new(SSL *ssl, const EVP_MD *md); /* NULL: it showed none */
void tls_peer_free(struct tls_peer **p);
/* x may be NULL. */
bool tls_subject_field(const X509 *x, const char *field, struct buf *out);
void tls_peer_tell(const struct tls_peer *p, struct tls_info *out);
/* tls_opts.c: the part of a server's options that is about ciphers and clients' certificates. -1 with e ERR_CONFIG. */
int tls_set_server_opts(struct tls_ctx *c, const struct tls_server_opts *o, struct err *e);

/* tls_sign.c: what was agreed beyond the cipher, in Postfix's words. */
const char *tls_key_exchange(SSL *ssl); /* "" for none; static or the library's */
void tls_signatures_tell(SSL *ssl, struct tls_info *out);

#endif
