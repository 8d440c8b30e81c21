/* session/smtp_client_int.h - between smtp_client.c (connection, greeting, replies) and smtp_client_tx.c (transactions).
 * Layer: session, private. */
#ifndef POSTERN_SESSION_SMTP_CLIENT_INT_H
#define POSTERN_SESSION_SMTP_CLIENT_INT_H

#include "session/smtp_body.h"
#include "session/smtp_client.h"

/* What a reply that is awaited answers. Also the stage for "while ..." and the time allowed. */
enum stage {
    STAGE_CONNECT,
    STAGE_GREETING,
    STAGE_HELO,
    STAGE_STARTTLS,
    STAGE_HANDSHAKE,
    STAGE_XFORWARD,
    STAGE_XROUTE,
    STAGE_MAIL,
    STAGE_RCPT,
    STAGE_DATA,
    STAGE_BODY,
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
    char *helo_name, *peer, *host, *tls_host;
    const struct smtp_client_ops *ops;
    void *arg;
    struct smtp_reply reply;
    unsigned exts;
    uint64_t size_limit;
    bool is_ready, is_tls, tried_ehlo, is_quitting, is_closing, is_ending;
    bool
        has_late_reply; /* a final reply came before the content was out: the stream is of no more use */
    enum stage stage;

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
    bool uses_bdat, is_body_on, is_body_out, has_mail_failed, data_is_refused;
    struct smtp_body body;

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

/* ---- smtp_client_tx.c ---- */
void client_tx_reply(struct smtp_client *c, struct expect x);
void client_tx_tell_rest(struct smtp_client *c, const struct smtp_result *r);
void client_tx_free(struct smtp_client *c);

#endif
