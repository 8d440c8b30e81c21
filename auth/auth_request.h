/* auth/auth_request.h - one AUTH of the auth-client protocol, from the peer's line to OK or FAIL. auth_server.c makes it and
 * steps its mechanism; what the mechanism gave is checked by a file of its own (request_password.c, ...), which ends in one of
 * the functions below, once. Folder-private; on the loop. */
#ifndef POSTERN_AUTH_AUTH_REQUEST_H
#define POSTERN_AUTH_AUTH_REQUEST_H

#include "auth/auth_server.h"
#include "auth/sasl.h"
#include "core/addr.h"
#include "core/loop.h"

enum { AUTH_SERVICE_OCTETS = 32 };

struct auth_peer;
struct auth_request {
    struct auth_service *auth;
    struct auth_peer *peer;
    uint64_t id; /* for what takes time: id_get() is NULL when the request has gone */
    uint32_t number;
    struct sasl sasl;
    bool is_checking;                    /* the exchange is over, the answer is not there */
    bool no_login;                       /* nobody will hand over: no cookie */
    bool is_found;                       /* the database has the user who is to be logged in */
    bool is_looked;                      /* auth_request_note_account() was called */
    bool is_master;                      /* user is a master, who logs in as other */
    bool is_disabled;                    /* who is to be logged in */
    const char *code;                    /* of FAIL, for the client; or NULL */
    struct buf scram_name, scram_stored; /* of the verifier to be kept; empty: none is */
    const char *
        why_wrong; /* what a wrong proof means, or a right one that cannot be; NULL: it is just wrong */
    bool is_proven; /* all is well but the client's last, empty, response */
    /* what the peer says of the client's connection */
    bool is_cert_valid;
    bool takes_final;    /* data may come with OK (final-resp-ok) */
    char *cert_username; /* out of the client's certificate, or NULL */
    struct conf *conf;
    char service[AUTH_SERVICE_OCTETS]; /* "smtp", "imap", "pop3" */
    struct addr remote;
    char *session;     /* id in the logs, or NULL */
    struct buf user;   /* canonical */
    struct buf master; /* who logged in as that user; empty: the user */
    struct buf other;  /* until then: whom user wants to be; canonical; empty: itself */
    /* what failures cost (request_admit.c) */
    struct buf counted_as;
    enum penalty_rank rank;
    bool is_counting, is_by_user; /* the second is set: how it is counted */
    bool is_admitted, is_waiting, is_counted;
    enum sasl_rc waits_with;
    struct timer timer;
};

/* ---- request_account.c: who it is, and as whom it comes in ---- */
struct account;
/* What the client calls itself, said, and what it wants to be (user*master, or r->sasl.authzid) made canonical: r->user and
 * r->other. Again: nothing changes. False: that is nobody's name, r->why_wrong says why; r->user is for the log. */
bool auth_request_set_names(struct auth_request *r, struct slice said);
/* What account_look() found of them (auth/account.h). */
void auth_request_note_account(struct auth_request *r, const struct account *a);
/* Whoever was authenticated, by whatever means, goes this way: r->user is asked for in the database unless that was noted
 * already, may be who it wants to be, may log in: then auth_request_succeed(). */
void auth_request_authenticated(struct auth_request *r);

/* ---- ends: the request is gone, or goes by itself, when they return ---- */
void auth_request_succeed(struct auth_request *r);
/* Wrong: told late, so that guessing is slow and all wrongs look alike. why is for the log. */
void auth_request_fail(struct auth_request *r, const char *why);
void auth_request_fail_temporarily(struct auth_request *r, const char *why);
/* At once; extra: further fields, "\treason=...". */
void auth_request_send_fail(struct auth_request *r, const char *extra);
void auth_request_free(struct auth_request *r); /* says nothing */

/* request_password.c: name and password are in r->sasl. */
void auth_request_check_password(struct auth_request *r);

/* request_admit.c: what failures of before cost this one, and this one those who come (auth/penalty.h). */
/* Before the first look at anything. False: it waits, and auth_request_go_on(r, rc) comes by itself; or it was refused. */
bool auth_request_admit(struct auth_request *r, enum sasl_rc rc);
/* How late it is to be told, ms. */
uint64_t auth_request_count_failure(struct auth_request *r);
void auth_request_count_success(struct auth_request *r);
/* The client does not want to know any more (CANCEL); before the request is freed. */
void auth_request_give_up(struct auth_request *r);
void auth_request_leave(struct auth_request *r); /* it ends */
/* Append whose turn its hash takes: the client's network; the user where that would be everybody (webmail). */
void auth_request_add_source(struct auth_request *r, struct buf *out);
/* An end: too much to do, for now. */
void auth_request_fail_busy(struct auth_request *r);

/* request_scram.c: gives the mechanism the verifier of r->sasl.authcid and goes on. */
void auth_request_find_verifier(struct auth_request *r);

/* request_token.c: what r->sasl.token is worth. */
void auth_request_check_token(struct auth_request *r);

/* For who checks passwords: a verifier is wanted of the one whose stored text this is, once it was found right; then. */
void auth_request_want_verifier(struct auth_request *r, struct slice name, struct slice stored);
void auth_request_keep_verifier(struct auth_request *r);

/* request_external.c: the client claims to be who its certificate says. */
void auth_request_check_claim(struct auth_request *r);

/* auth_server.c */
/* Go on as the mechanism says. For who did what it asked for: the verifier was given (rc of sasl_give_verifier()); a
 * token was not good, and r->sasl.challenge tells the client why before it is over (SASL_CONTINUE). */
void auth_request_go_on(struct auth_request *r, enum sasl_rc rc);
void auth_request_send_challenge(struct auth_request *r, struct slice octets);
void auth_peer_write(struct auth_peer *p, struct slice line);
void auth_peer_forget(struct auth_peer *p,
                      struct auth_request *r); /* it is in the peer's books no more */

#endif
