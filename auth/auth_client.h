/* auth/auth_client.h - asking authd (or a real Dovecot's auth) by Dovecot's auth-client protocol, version 1.x, on
 * private/auth; and its master side on private/auth-master: which user does this cookie name, does this user exist.
 * Asynchronous, on the loop; one connection a process, made on first need and again after it broke. Layer: auth. */
#ifndef POSTERN_AUTH_AUTH_CLIENT_H
#define POSTERN_AUTH_AUTH_CLIENT_H

#include "base/err.h"
#include "base/slice.h"
#include "core/addr.h"

struct auth_client;
struct auth_client *auth_client_new(const char *socket_path);
void auth_client_free(struct auth_client **a);

/* Mechanisms the server named in its handshake, each with its flags. Known after the first connection; call
 * auth_client_connect() early. has: 1 yes, 0 no, -1 not known (not connected). */
enum {
    AUTH_MECH_PLAINTEXT = 1,
    AUTH_MECH_ANONYMOUS = 2,
    AUTH_MECH_DICTIONARY = 4,
    AUTH_MECH_PRIVATE = 8,
    AUTH_MECH_ACTIVE = 16,
    AUTH_MECH_FORWARD_SECRECY = 32,
    AUTH_MECH_MUTUAL_AUTH = 64
};
void auth_client_connect(struct auth_client *a);
bool auth_client_is_ready(const struct auth_client *a);
/* The i-th mechanism's name, or NULL past the end. */
const char *auth_client_mech(const struct auth_client *a, size_t i, unsigned *flags);

enum auth_rc {
    AUTH_OK, /* user, cookie are set */
    /* challenge (decoded) is to be sent; answer with auth_client_continue. What a server says last (SCRAM's proof that it
     * knows the password) comes this way too and is answered by an empty response: nothing but names comes with AUTH_OK. */
    AUTH_CONTINUE,
    AUTH_FAIL,    /* wrong credentials: reason may be set (text for the client) */
    AUTH_TEMPFAIL /* authd away, overloaded, database down: try again later */
};
struct auth_result {
    enum auth_rc rc;
    struct slice challenge; /* octets, not base64 */
    struct slice user;      /* canonical name, e.g. "email1@example.com" */
    struct slice master;    /* who logged in as that user (auth_user=); empty: the user */
    struct slice cookie;    /* one-time, for the hand-over; empty where the server gives none */
    struct slice reason;    /* Dovecot's reason= or code= text */
    struct slice code;      /* "temp_fail", "user_disabled", "expired", "limit" or empty */
};
struct auth_ask {
    const char *service; /* "smtp", "imap", "pop3" */
    const char *mech;    /* "PLAIN" */
    bool is_secured;     /* TLS, or loopback counts as such */
    bool no_plaintext_tls_needed;
    bool no_login; /* nobody will be handed over, whatever the service: no cookie */
    struct addr remote, local;
    struct slice initial; /* initial response, decoded; p NULL: none was sent */
    const char *session;  /* log id, may be NULL */
    /* EXTERNAL: the client has shown a certificate that was found good, and the name in it, or NULL */
    bool is_cert_valid;
    const char *cert_username;
};
/* cb is called from the loop exactly once a step, never from inside the call; id says which (id_add of the session);
 * slices are valid during the callback. Returns a request number for continue and cancel. */
uint32_t auth_client_start(struct auth_client *a, const struct auth_ask *ask,
                           void (*cb)(uint64_t id, const struct auth_result *r), uint64_t id);
void auth_client_continue(struct auth_client *a, uint32_t request, struct slice response);
void auth_client_cancel(struct auth_client *a, uint32_t request); /* no callback any more */

/* ---- master side (private/auth-master) ---- */
struct auth_master;
struct auth_master *auth_master_new(const char *socket_path);
void auth_master_free(struct auth_master **m);

struct auth_user {
    int found;           /* 1 yes, 0 no such user (or cookie unknown), -1 temporary failure */
    struct slice user;   /* canonical */
    struct slice master; /* of a cookie: who logged in as that user; empty: the user */
    struct slice home;   /* empty: mail_location's default */
    struct slice mail;   /* overrides mail_location when set */
    struct slice
        quota; /* the fields whose names begin with "quota", "name=value" and LF each; or empty */
    struct slice imap_capability; /* the field of that name, or empty */
    int64_t uid, gid;             /* -1: not given */
};
/* Redeem a cookie (once). It must be of this service and of the session of that id. */
void auth_master_request(struct auth_master *m, struct slice cookie, const char *service,
                         struct slice session, void (*cb)(uint64_t id, const struct auth_user *u),
                         uint64_t id);
/* userdb look-up by name, for lmtpd. */
void auth_master_user(struct auth_master *m, struct slice user, const char *service,
                      void (*cb)(uint64_t id, const struct auth_user *u), uint64_t id);

#endif
