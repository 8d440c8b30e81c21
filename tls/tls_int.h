/* tls/tls_int.h - shared by tls.c (contexts), tls_conn.c (the transport) and self_signed.c. Folder-private. */
#ifndef POSTERN_TLS_TLS_INT_H
#define POSTERN_TLS_TLS_INT_H

#include "tls/tls.h"

#include <openssl/ssl.h>

struct tls_ctx {
    SSL_CTX *h;
    unsigned refs; /* the loop's thread alone counts */
    int64_t not_after_unix_s;
    bool is_verifying;
    char alpn[16]; /* wire form: length octet, name; first octet 0: none */
};

/* e from OpenSSL's error queue, which is emptied: "words: reason". Returns -1. */
int tls_fail(struct err *e, enum err_kind kind, const char *words);
/* Postfix's list of protocols onto a context. -1 with e ERR_CONFIG. */
int tls_set_protocols(SSL_CTX *h, const char *list, struct err *e);

#endif
