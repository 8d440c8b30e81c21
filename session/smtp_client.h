/* session/smtp_client.h - the client side of SMTP (RFC 5321) and LMTP (RFC 2033): one connection, one transaction at a time,
 * any number after each other. Used by qmgr towards lmtpd and relayd, by relayd towards other hosts.
 *
 *   on_ready      the greeting and EHLO/LHLO are through: smtp_client_send() may be called
 *   on_body       the peer wants the content: push it with smtp_client_body(), end with smtp_client_body_end()
 *   on_rcpt       the outcome of one recipient, exactly once for each
 *   on_done       the transaction is over; smtp_client_send() may be called again
 *   on_closed     the connection is gone; last of all, the client is freed after it returns. Recipients without an
 *                 outcome got on_rcpt before it
 * No callback comes from inside a call. Commands are pipelined where the peer offers it (RFC 2920); content goes by BDAT
 * (RFC 3030) where the peer offers CHUNKING and the caller wants it, else by DATA with dots stuffed. A reply that comes before
 * its question is told as what it is: it answers nothing, and the connection ends.
 * Layer: session. */
#ifndef POSTERN_SESSION_SMTP_CLIENT_H
#define POSTERN_SESSION_SMTP_CLIENT_H

#include "core/conn.h"
#include "session/queue_client.h"
#include "session/smtp_reply.h"
#include "tls/tls.h"

enum smtp_outcome { SMTP_SENT, SMTP_DEFERRED, SMTP_FAILED };

struct smtp_result {
    enum smtp_outcome outcome;
    char dsn[SMTP_DSN_OCTETS];
    unsigned code; /* the peer's; 0 when it said nothing */
    struct slice
        text; /* SENT: "250 2.0.0 Ok"; else why, as Postfix words it: "host X said: 550 ... (in reply to ...)" */
    struct slice reply; /* the peer's lines as they are, LF between; or empty */
    bool is_lost;       /* no answer: connection refused, lost or timed out */
    bool is_timeout;
    bool maybe_sent; /* lost after the content was sent: may have been delivered */
    bool is_tls;     /* what failed was the TLS handshake */
    bool is_connect; /* no connection came about */
};

enum {
    SMTP_EXT_PIPELINING = 1,
    SMTP_EXT_SIZE = 2,
    SMTP_EXT_8BITMIME = 4,
    SMTP_EXT_SMTPUTF8 = 8,
    SMTP_EXT_DSN = 16,
    SMTP_EXT_STARTTLS = 32,
    SMTP_EXT_CHUNKING = 64,
    SMTP_EXT_XFORWARD = 128,
    SMTP_EXT_XROUTE = 256,
    SMTP_EXT_ESMTP = 512,
    SMTP_EXT_XREPEAT = 1024, /* XFORWARD REPEAT */
    SMTP_EXT_AUTH = 2048
};

/* All in ms; 0: none. Postfix's smtp_*_timeout. */
struct smtp_times {
    uint64_t connect, greeting, helo, starttls, xforward, mail, rcpt, data_init, data_xfer,
        data_done, rset, quit;
};

struct smtp_client_opts {
    bool is_lmtp;
    bool always_ehlo; /* smtp_always_send_ehlo: also without "ESMTP" in the greeting */
    bool never_ehlo;
    /* BDAT where it is offered: the content as it is, in one piece of tx.size. */
    bool wants_bdat;
    /* BDAT where it is offered, with content made fit for the wire as for DATA; more than one piece if need be. */
    bool wants_chunks;
    const char *helo_name;
    const char *peer; /* "mx.example.com[192.0.2.1]:25", for texts */
    size_t line_max;  /* smtp_line_length_limit; 0: none */
    struct smtp_times times;
    struct tls_ctx *tls;             /* not NULL: STARTTLS where offered */
    bool must_tls;                   /* ... and nothing without */
    bool is_wrapper;                 /* TLS from the first octet */
    const struct tls_expect *expect; /* with tls: lives until on_ready */
    unsigned discard;                /* SMTP_EXT_*: taken as not offered */
    /* Converts 8-bit content where 8BITMIME is not offered (disable_mime_output_conversion = no). */
    bool wants_downgrade;
    bool skip_5xx_greeting; /* a 5xx greeting is no verdict on the recipients */
    bool skip_quit_reply;   /* the goodbye is not waited for */
    /* Login. Empty: none; nothing is sent where AUTH is not offered. */
    struct slice auth;                   /* "user:password" */
    const struct smtp_client_sasl *sasl; /* with auth: lives until on_ready */
    /* A server that has this name is this host: "mail for loop_nexthop loops back to myself". NULL: not looked at. */
    const char *loop_name, *loop_nexthop;
    bool loop_is_final; /* no better host is known: 5.4.6, not 4.4.6 */
};

/* How to log in (Postfix's smtp_sasl_*). Options are SASL_NO_* of session/sasl_client.h. */
struct smtp_client_sasl {
    unsigned plain_options, tls_options, verified_options;
    const char *const *filter; /* mechanism names, "!name", "static:..."; none: all */
    size_t n_filter;
    bool is_soft;     /* 5xx to AUTH is a deferral */
    bool dummy_param; /* AUTH=<> with MAIL after a login */
};

struct smtp_client;
struct smtp_client_ops {
    void (*on_ready)(struct smtp_client *c, void *arg);
    void (*on_body)(struct smtp_client *c, void *arg);
    void (*on_drain)(struct smtp_client *c,
                     void *arg); /* smtp_client_is_full() ended; may be NULL */
    void (*on_rcpt)(struct smtp_client *c, void *arg, size_t i, const struct smtp_result *r);
    void (*on_done)(struct smtp_client *c, void *arg);
    void (*on_closed)(struct smtp_client *c, void *arg, const struct smtp_result *why);
};

/* opts and its strings are copied but for what says otherwise, tls gets a reference. */
struct smtp_client *smtp_client_connect(const struct sockaddr *to, socklen_t len,
                                        const struct sockaddr *bind_to, socklen_t bind_len,
                                        const struct smtp_client_opts *o,
                                        const struct smtp_client_ops *ops, void *arg);
struct smtp_client *smtp_client_connect_unix(const char *path, const struct smtp_client_opts *o,
                                             const struct smtp_client_ops *ops, void *arg);
struct smtp_client *smtp_client_on_fd(int fd, const struct smtp_client_opts *o,
                                      const struct smtp_client_ops *ops, void *arg);

unsigned smtp_client_exts(const struct smtp_client *c);       /* SMTP_EXT_*, after on_ready */
uint64_t smtp_client_size_limit(const struct smtp_client *c); /* SIZE's argument; 0: none */
bool smtp_client_has_tls(const struct smtp_client *c);
/* Has the server answered anything in this transaction, or the last? 421 is no answer. */
bool smtp_client_has_answered(const struct smtp_client *c);
/* A new owner, between transactions. */
void smtp_client_set_ops(struct smtp_client *c, const struct smtp_client_ops *ops, void *arg);
bool smtp_client_is_usable(const struct smtp_client *c); /* smtp_client_send() may be called */
struct conn *smtp_client_conn(struct smtp_client *c);

struct smtp_tx_rcpt {
    struct slice addr;
    struct slice orcpt; /* decoded, or empty */
    unsigned notify;
};
struct smtp_tx {
    struct slice sender;
    const struct smtp_tx_rcpt *rcpts;
    size_t n_rcpts;
    uint64_t size;
    unsigned ret;
    struct slice envid;
    bool is_8bit, is_utf8;
    bool maybe_8bit; /* nobody has looked, but wants_downgrade is to */
    struct slice
        xforward; /* "NAME=value ..." in xtext, sent only where XFORWARD is offered; or empty */
    struct slice xroute; /* argument of XROUTE, private to relayd; or empty */
    /* Ask only whether the recipients would be accepted: no content; the outcome is that of RCPT. relayd (xroute) is told to
     * do the same. */
    bool is_probe;
};
/* Strings are copied into commands at once; nothing is kept but the counts. True: the content may be pushed right away
 * (small, by BDAT, pipelined) and no on_body comes. */
bool smtp_client_send(struct smtp_client *c, const struct smtp_tx *tx);
void smtp_client_body(struct smtp_client *c, struct slice s);
void smtp_client_body_end(struct smtp_client *c);
bool smtp_client_is_full(const struct smtp_client *c); /* wait for on_drain */
/* The content cannot be had: drop the connection; recipients are DEFERRED with this text. */
void smtp_client_body_fail(struct smtp_client *c, const char *why);
/* QUIT and close; on_closed follows. In a transaction: its recipients are deferred. */
void smtp_client_quit(struct smtp_client *c);
/* The same, and no callback comes any more: the caller does not wait for the goodbye. */
void smtp_client_leave(struct smtp_client *c);

#endif
