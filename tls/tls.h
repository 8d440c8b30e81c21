/* tls/tls.h - TLS contexts and the transport under a conn. The only folder that includes OpenSSL. Layer: tls. */
#ifndef POSTERN_TLS_TLS_H
#define POSTERN_TLS_TLS_H

#include "conf/conf.h"
#include "core/conn.h"

struct tls_ctx; /* counted; sessions keep the one they began with */

/* How a server context is set up. */
struct tls_server_opts {
    bool tickets;          /* no session tickets on port 25: some large senders break on them */
    const char *protocols; /* Postfix's list, e.g. ">=TLSv1.2"; NULL: that */
    const char *alpn;      /* "imap", "pop3" or NULL */
};
/* From PEM text: chain (leaf first) and key. -1 with e ERR_CONFIG naming what is wrong (does not match, expired is
 * only a warning in the log). */
int tls_server_new(struct slice pem_chain, struct slice pem_key, const struct tls_server_opts *o,
                   struct tls_ctx **out, struct err *e);
/* Client: verify false for opportunistic. ca_file may be NULL (system's). */
int tls_client_new(const char *ca_file, bool verify, struct tls_ctx **out, struct err *e);
struct tls_ctx *tls_ref(struct tls_ctx *c);
void tls_unref(struct tls_ctx **c);
int64_t tls_not_after_unix_s(const struct tls_ctx *c); /* of the leaf */

/* Put TLS under the conn; on_secure follows, or on_close with why. Keeps a reference. */
void tls_start_server(struct conn *c, struct tls_ctx *t);
/* host: SNI and, with verify, the name checked; may be NULL. */
void tls_start_client(struct conn *c, struct tls_ctx *t, const char *host);

/* What was agreed; zeroed and false when the conn is plain. Strings are static or live with the conn. */
struct tls_info {
    const char *protocol; /* "TLSv1.3" */
    const char *cipher;   /* "TLS_AES_256_GCM_SHA384" */
    int bits, algbits;
    const char *key_exchange; /* "X25519" or "" */
    const char *sni;          /* what the client asked for, or "" */
    bool peer_verified;
};
bool tls_info_of(const struct conn *c, struct tls_info *out);

/* Checks for `postern check` and the supervisor: do these PEM texts load and match? */
int tls_check_pem(struct slice pem_chain, struct slice pem_key, int64_t *not_after_unix_s,
                  struct err *e);
/* Is this a list of protocols as tls_server_opts has it? -1 with e ERR_CONFIG, naming the word. */
int tls_check_protocols(const char *list, struct err *e);
/* A self-signed certificate for names (first is the CN), valid `days`; PEM appended to the bufs. For quickstart. */
int tls_make_self_signed(const char *const *names, size_t n, int days, struct buf *pem_chain,
                         struct buf *pem_key, struct err *e);

#endif
