/* tls/tls.h - TLS contexts and the transport under a conn. The only folder that includes OpenSSL. Layer: tls. */
#ifndef POSTERN_TLS_TLS_H
#define POSTERN_TLS_TLS_H

#include "conf/conf.h"
#include "core/conn.h"
#include "tls/tls_store.h"

struct tls_ctx; /* counted; sessions keep the one they began with */

/* How a server context is set up. NULL or "" is the default. */
struct tls_server_opts {
    bool tickets;          /* no session tickets on port 25: some large senders break on them */
    const char *protocols; /* Postfix's list, e.g. ">=TLSv1.2"; NULL: that */
    const char *alpn;      /* "imap", "pop3" or NULL */
    /* TLS 1.2 and below, in Postfix's words ... */
    const char *cipher_grade;                  /* "medium", "high", ... */
    const char *exclude_ciphers;               /* "aNULL, MD5, ..." */
    const char *high_ciphers, *medium_ciphers; /* OpenSSL's lists that the grades stand for */
    /* ... or in OpenSSL's; it counts then. */
    const char *cipher_list;
    const char *cipher_suites; /* TLS 1.3 */
    const char *curves;        /* "X25519 prime256v1"; unknown ones are passed over */
    bool client_preference;    /* the client's order of ciphers counts */
    /* For old devices: TLS 1.0 on, RSA and SHA-1; protocols, ciphers and OpenSSL's security level are what that takes. */
    bool is_legacy;
    /* Certificates of clients: asked for, never a reason to fail the handshake unless it demands one. Who is asked gets no
     * tickets: what was verified then may be revoked now. */
    bool ask_ccert, req_ccert;
    bool req_crl; /* each authority must have a list of what it has revoked */
    /* PEM of the authorities that are trusted: a file, if the store has none, and a folder (openssl rehash). */
    const char *ca_file, *ca_path;
    int ccert_depth;    /* longest chain; 0: OpenSSL's */
    const char *digest; /* of fingerprints: "md5", "sha1", "sha256", ...; NULL: sha256 */
};
/* Keeps a reference to s. -1 with e ERR_CONFIG. */
int tls_server_of(struct tls_store *s, const struct tls_server_opts *o, struct tls_ctx **out,
                  struct err *e);
/* The same of PEM text: chain (leaf first) and key. */
int tls_server_new(struct slice pem_chain, struct slice pem_key, const struct tls_server_opts *o,
                   struct tls_ctx **out, struct err *e);
/* How a client context is set up: Postfix's smtp_tls_*. NULL or "" means its default; no authority is trusted unless said. */
struct tls_client_opts {
    const char *protocols; /* default ">=TLSv1": opportunistic, as Postfix */
    const char *cipher_grade, *exclude_ciphers;
    const char *high_ciphers, *medium_ciphers; /* what the grades stand for */
    const char *ca_file, *ca_path;             /* PEM of the authorities that are trusted */
    bool system_ca;                            /* the system's too */
    int depth;                                 /* longest chain; 0: OpenSSL's */
    const char *digest;                        /* of fingerprints; NULL: sha256 */
};
int tls_client_new(const struct tls_client_opts *o, struct tls_ctx **out, struct err *e);
struct tls_ctx *tls_ref(struct tls_ctx *c);
void tls_unref(struct tls_ctx **c);

/* Put TLS under the conn; on_secure follows, or on_close with why. Keeps a reference. */
void tls_start_server(struct conn *c, struct tls_ctx *t);
/* Why the conn ended is that a server's handshake failed: what OpenSSL says ("error:0A000102:SSL routines::unsupported
 * protocol"), else NULL. */
const char *tls_accept_error(const struct err *why);
/* What a client demands of its peer's certificate. Where it is not met the conn ends with why, "Server certificate not
 * trusted: ..." or "... not verified: ...". */
enum tls_demand {
    TLS_DEMAND_NOTHING, /* opportunistic */
    TLS_DEMAND_CHAIN,   /* to an authority, and one of names: without any nobody is the right one */
    TLS_DEMAND_FINGERPRINT, /* one of prints, of the certificate or of its key */
    TLS_DEMAND_DANE         /* one of tlsa; names are for usage DANE-TA (RFC 7672 §3.2) */
};
struct tls_tlsa { /* RFC 6698 §2.1 */
    uint8_t usage, selector, matching;
    struct slice data;
};
struct tls_expect { /* all is copied */
    enum tls_demand demand;
    const char *sni;          /* NULL: none; an address is not sent */
    const char *const *names; /* "mx.example.com", ".example.com" for what is below it */
    size_t n_names;
    const char *const *prints; /* "0A:1B:..." by the context's digest */
    size_t n_prints;
    const struct tls_tlsa *tlsa;
    size_t n_tlsa;
};
void tls_start_client(struct conn *c, struct tls_ctx *t, const struct tls_expect *x);
/* Can SMTP use this record? Usages 2 and 3 only (RFC 7672 §3.1), digests of the right length. */
bool tls_tlsa_is_usable(const struct tls_tlsa *t);

enum { TLS_SIGNATURE_OCTETS = 128 };

/* What was agreed; zeroed and false when the conn is plain. Strings are static or live with the conn. */
struct tls_info {
    const char *protocol; /* "TLSv1.3" */
    const char *cipher;   /* "TLS_AES_256_GCM_SHA384" */
    int bits, algbits;
    const char *key_exchange; /* "X25519", "ECDHE (prime256v1)", or "" */
    /* TLS 1.3, unless the session was resumed: "RSA-PSS (2048 bits) server-digest SHA256"; "" where there is none. */
    char server_signature[TLS_SIGNATURE_OCTETS], client_signature[TLS_SIGNATURE_OCTETS];
    const char *sni; /* what the client asked for, or "" */
    bool
        is_sni_known; /* the certificate is the one for that name; false too where there are none for names */
    bool has_names; /* of a server: there are certificates for names */
    bool is_resumed;
    /* Its chain leads to an authority that is trusted (or, with DANE, to what DNS says). To a client that demanded
     * something, that was met too. */
    bool peer_verified;
    enum tls_demand demanded; /* of a client */
    /* The peer's certificate: "" where there is none or no such name in it. Octets that are no printable ASCII show as
     * "?". Fingerprints are "0A:1B:..." by the context's digest, as in relay_clientcerts and check_ccert_access. */
    bool has_peer_cert;
    const char *peer_cn, *issuer_cn;
    const char *peer_fingerprint, *peer_key_fingerprint;
    const char *peer_digest; /* "sha256" */
};
bool tls_info_of(const struct conn *c, struct tls_info *out);
/* Who the peer is to those who gave it its certificate: the one field of its subject that OpenSSL calls `field`
 * ("commonName", "emailAddress", "UID"), in UTF-8, appended. False: its chain leads to no authority that is trusted,
 * there is no such field or more than one (whoever signed it may have looked at another of them), or it holds octets that
 * are in nobody's name. */
bool tls_peer_name(const struct conn *c, const char *field, struct buf *out);
bool tls_is_subject_field(const char *name);
/* " key-exchange X25519 server-signature ..." as Postfix logs it, TLS 1.3 only; "" for none. Returns out. */
enum { TLS_DETAILS_OCTETS = 384 };
const char *tls_details(const struct tls_info *t, char out[TLS_DETAILS_OCTETS]);

/* Would tls_server_new() take these options' ciphers, authorities and digest? -1 with e ERR_CONFIG. */
int tls_check_server_opts(const struct tls_server_opts *o, struct err *e);
/* Is this a list of protocols as tls_server_opts has it? -1 with e ERR_CONFIG, naming the word. */
int tls_check_protocols(const char *list, struct err *e);
/* A self-signed certificate for names (first is the CN), valid `days`; PEM appended to the bufs. For quickstart. */
int tls_make_self_signed(const char *const *names, size_t n, int days, struct buf *pem_chain,
                         struct buf *pem_key, struct err *e);

#endif
