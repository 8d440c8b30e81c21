/* tls/tls_store.h - what listeners show to clients: certificates with their keys, by the names that clients ask for, and
 * the authorities that clients' certificates are held against. Only the supervisor can read the files; it gives the
 * daemons their text in one document, a bundle. Layer: tls. */
#ifndef POSTERN_TLS_TLS_STORE_H
#define POSTERN_TLS_TLS_STORE_H

#include "base/buf.h"
#include "base/err.h"

/* Counted; not changed any more once a context has it. */
struct tls_store;
struct tls_store *tls_store_new(void);
struct tls_store *tls_store_ref(struct tls_store *s);
void tls_store_unref(struct tls_store **s); /* NULL-safe */
/* pem: certificates, each followed by what leads from it to its authority, and their keys, which may stand anywhere; for each
 * kind of key there may be one. sni: "mail.example.org", ".example.org" for all below it, or NULL: for who names none or
 * another. -1 with e ERR_CONFIG naming what is wrong. */
int tls_store_add(struct tls_store *s, const char *sni, struct slice pem, struct err *e);
/* The same without looking at it until the first client asks for the name: for text that tls_look() took. Thousands of names
 * would take seconds, on the loop, at each renewal. */
void tls_store_add_later(struct tls_store *s, const char *sni, struct slice pem);
/* Authorities, and lists of certificates that they have revoked. */
int tls_store_set_ca(struct tls_store *s, struct slice pem, struct err *e);
/* Without a certificate for everybody there is no TLS. */
bool tls_store_is_usable(const struct tls_store *s);

/* What a certificate says of itself. */
struct tls_facts {
    int64_t not_before_unix_s, not_after_unix_s; /* with several: the narrowest */
    bool is_in_order; /* what follows each certificate has issued what stands before it */
    bool has_chain;   /* something follows, or it has issued itself */
    struct buf names; /* "example.org www.example.org 192.0.2.1" */
    bool has_host;    /* it is good for the host asked about */
};
/* Does tls_store_add() take it, and what is it? host may be NULL. -1 with e; else tls_facts_free() is owed. */
int tls_look(struct slice pem, const char *host, struct tls_facts *out, struct err *e);
void tls_facts_free(struct tls_facts *f);

/* ---- the document: sets of the above, each for the services it names ("smtp submission") ---- */

void tls_bundle_begin(struct buf *out, const char *services);
void tls_bundle_add(struct buf *out, const char *sni, struct slice pem); /* sni NULL: as above */
void tls_bundle_ca(struct buf *out, struct slice pem);

enum { TLS_BUNDLE_SETS_MAX = 8, TLS_BUNDLE_OCTETS = 64 * 1024 * 1024 };
struct tls_bundle {
    struct tls_bundle_set {
        char *services;
        struct tls_store *store;
    } v[TLS_BUNDLE_SETS_MAX];
    size_t n;
};
int tls_bundle_read(struct slice text, struct tls_bundle *out, struct err *e);
struct tls_store *tls_bundle_store(const struct tls_bundle *b,
                                   const char *service); /* borrowed; NULL: none */
void tls_bundle_free(struct tls_bundle *b);

/* ---- session tickets (RFC 5077, RFC 8446 §4.6.1): who comes back need not show and check certificates again ---- */

enum { TLS_TICKET_KEY_OCTETS = 80, TLS_TICKET_KEYS_MAX = 4 };
/* Keys, newest first, the same in all workers; n * TLS_TICKET_KEY_OCTETS. The first makes tickets, all are taken. Contexts that
 * exist use them from now on. Until then there are no tickets. */
int tls_set_ticket_keys(struct slice keys, struct err *e);

#endif
