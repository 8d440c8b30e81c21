/* tls/tls_int.h - shared by tls.c (contexts), tls_conn.c (the transport) and self_signed.c. Folder-private. */
#ifndef POSTERN_TLS_TLS_INT_H
#define POSTERN_TLS_TLS_INT_H

#include "tls/tls.h"

#include <openssl/evp.h>
#include <openssl/ssl.h>

struct tls_ctx {
    SSL_CTX *h;
    unsigned refs; /* the loop's thread alone counts */
    int64_t not_after_unix_s;
    bool is_verifying;
    bool is_asking;       /* a server that asks for certificates */
    const EVP_MD *digest; /* of fingerprints */
    char alpn[16]; /* wire form: length octet, name; first octet 0: none */
};

/* e from OpenSSL's error queue, which is emptied: "words: reason". Returns -1. */
int tls_fail(struct err *e, enum err_kind kind, const char *words);
/* Postfix's list of protocols onto a context. -1 with e ERR_CONFIG. */
int tls_set_protocols(SSL_CTX *h, const char *list, struct err *e);

/* tls_peer.c: what a peer's certificate says, as text; worked out once a connection. */
struct tls_peer;
struct tls_peer *tls_peer_new(SSL *ssl, const EVP_MD *md); /* NULL: it showed none */
void tls_peer_free(struct tls_peer **p);
void tls_peer_tell(const struct tls_peer *p, struct tls_info *out);
/* tls_opts.c: the part of a server's options that is about ciphers and clients' certificates. -1 with e ERR_CONFIG. */
int tls_set_server_opts(struct tls_ctx *c, const struct tls_server_opts *o, struct err *e);

#endif
