/* session/smtp_client_int.h - between smtp_client.c (connection, replies), smtp_client_hello.c (greeting, EHLO,
 * STARTTLS), smtp_client_sasl.c (login), smtp_client_tx.c (transactions) and smtp_client_body.c (content).
 * Layer: session, private. */
#ifndef POSTERN_SESSION_SMTP_CLIENT_INT_H
#define POSTERN_SESSION_SMTP_CLIENT_INT_H

#include "mime/downgrade.h"
#include "session/sasl_client.h"
#include "session/smtp_body.h"
#include "session/smtp_client.h"

/* What a reply that is awaited answers. Also the stage for "while ..." and the time allowed. */
enum stage {
    STAGE_CONNECT,
    STAGE_GREETING,
    STAGE_HELO,
    STAGE_STARTTLS,
    STAGE_HANDSHAKE,
    STAGE_AUTH,
    STAGE_XFORWARD,
    STAGE_XROUTE,
    STAGE_MAIL,
    STAGE_RCPT,
    STAGE_DATA,
    STAGE_BODY,
    STAGE_CHUNK,
    STAGE_DOT,
    STAGE_RSET,
    STAGE_QUIT,
    STAGE_IDLE,
    STAGE_COUNT
};

struct expect {
    enum stage stage;
    uint32_t rcpt; /* RCPT, and DOT of LMTP */
};

enum rcpt_state { RCPT_PENDING, RCPT_ACCEPTED, RCPT_TOLD };

struct smtp_client {
    struct conn *conn;
    struct smtp_client_opts o;
    char *helo_name, *peer, *host, *loop_name, *loop_nexthop;
    const struct smtp_client_ops *ops;
    void *arg;
    struct smtp_reply reply;
    unsigned exts;
    uint64_t size_limit;
    bool is_ready, is_tls, is_tcp, tried_ehlo, is_quitting, is_closing;
    bool is_early;     /* the server spoke before it was asked */
    bool has_answered; /* something in this transaction */
    enum stage stage;

    /* login */
    char *auth;            /* "user:password"; NULL: none, or it is over */
    struct buf mechanisms; /* offered, and let through by the filter; blanks between */
    struct sasl_client *sasl;
    struct buf sasl_first;  /* the first response, until it is sent */
    struct sasl_hash *hash; /* under way off the loop */
    unsigned sasl_steps;
    bool is_first_due;
    bool has_auth_param; /* AUTH=<> with MAIL */

    struct expect *expects; /* [expect_at, expect_n) are out */
    size_t expect_at, expect_n, expect_cap;

    /* the transaction */
    bool in_tx;
    struct buf cmds; /* commands not yet sent: when not pipelining, one at a time */
    struct {
        enum stage stage;
        uint32_t rcpt;
        size_t end;
    } * plan; /* commands inside cmds, in order */
    size_t plan_at, plan_n, plan_cap, cmds_sent;
    enum rcpt_state *rcpts;
    size_t n_rcpts, n_told, n_accepted;
    uint64_t size;
    bool is_probe; /* the reply to RCPT is the outcome */
    enum framing { BY_DATA, BY_BDAT, BY_CHUNKS } framing;
    bool is_body_on, is_body_out;
    struct smtp_body body;
    struct buf chunk; /* BY_CHUNKS: the piece that is being filled */
    size_t chunks_out;
    bool is_last_due;  /* the end was said, the last piece waits for replies */
    bool is_abandoned; /* a piece was refused: what is still answered counts for nothing */
    struct mime_downgrade *downgrade;

    /* why it ends, for on_closed */
    struct smtp_result why;
    struct buf why_text;
    bool has_why;
};

/* ---- smtp_client.c ---- */
void client_expect(struct smtp_client *c, enum stage stage, uint32_t rcpt);
size_t client_awaited(const struct smtp_client *c);
void client_set_stage(struct smtp_client *c, enum stage stage);
/* Result texts: buf lives during the call. */
void client_result_of_reply(struct smtp_client *c, enum stage stage, struct smtp_result *r,
                            struct buf *text);
void client_result_lost(struct smtp_client *c, bool is_timeout, struct smtp_result *r,
                        struct buf *text);
/* Remember why and drop the connection. */
void client_give_up(struct smtp_client *c, const struct smtp_result *r);
void client_fail(struct smtp_client *c, const char *dsn, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- smtp_client_hello.c ---- */
void client_hello_secure(struct smtp_client *c); /* the handshake is done */
void client_hello_greeting(struct smtp_client *c);
void client_hello_reply(struct smtp_client *c);
void client_hello_starttls(struct smtp_client *c);
void client_hello_ready(struct smtp_client *c);
/* The reply ends the session. */
void client_refuse(struct smtp_client *c, enum stage stage);

/* ---- smtp_client_sasl.c ---- */
/* What follows AUTH in the reply to EHLO. */
void client_sasl_offer(struct smtp_client *c, struct slice words);
void client_sasl_begin(struct smtp_client *c);
void client_sasl_reply(struct smtp_client *c);
void client_sasl_free(struct smtp_client *c);

/* ---- smtp_client_body.c ---- */
void client_body_begin(struct smtp_client *c, const struct smtp_tx *tx);
void client_body_chunk_taken(struct smtp_client *c); /* a reply of 2xx */
void client_body_free(struct smtp_client *c);

/* ---- smtp_client_tx.c ---- */
void client_tx_reply(struct smtp_client *c, struct expect x);
void client_tx_tell_rest(struct smtp_client *c, const struct smtp_result *r);
void client_tx_free(struct smtp_client *c);
enum { FIRST_RCPT = UINT32_MAX }; /* DOT: the first one that was accepted */

#endif
