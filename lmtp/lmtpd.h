/* lmtp/lmtpd.h - the inside of lmtpd: a session, its message and recipients. RFC 2033. Layer: lmtp. */
#ifndef POSTERN_LMTP_LMTPD_H
#define POSTERN_LMTP_LMTPD_H

#include "auth/auth_client.h"
#include "base/list.h"
#include "core/work.h"
#include "session/smtp_server.h"
#include "store/deliver.h"

enum {
    LMTPD_TX_ARENA_OCTETS = 4 * 1024 * 1024,
    LMTPD_RCPTS_MAX = 10000, /* of one message */
    LMTPD_IDENT_OCTETS = 96,
    LMTPD_ID_OCTETS = 24,
    LMTPD_QUOTA_THREADS = 4
};

/* What the process works with. */
struct lmtpd_env {
    struct auth_master *auth;
    struct deliverer *deliverer;
    struct work_pool *pool; /* for quota */
    struct conf *conf;      /* new sessions' */
};
extern struct lmtpd_env lmtpd_env;

struct lmtpd_rcpt {
    struct lmtpd_rcpt *next;
    struct lmtpd_sess *s;
    uint64_t id;        /* of the delivery under way */
    struct slice given; /* internal, as RCPT had it */
    struct slice user;  /* canonical; while it is asked for: the address in lower case */
    struct slice
        bare; /* ... without its extension, to be asked for if nobody has the whole; empty: it has none */
    struct slice detail; /* the extension itself, as it came, when the user is the one without it */
    struct slice placed; /* the mailbox that the copy is in */
    struct store_userdb db; /* what userdb says of him */
    char reply[SMTP_REPLY_OCTETS + 1];
    bool is_saved;
};

struct lmtpd_tx {
    struct arena mem;
    struct slice sender;
    struct lmtpd_rcpt *first, **end;
    size_t n_rcpts, n_open; /* deliveries under way */
    struct deliver_msg *msg;
    uint64_t size_octets;
    bool in_bdat, bdat_last;
};

struct lmtpd_sess {
    struct smtp_sess smtp; /* first */
    struct conf *conf;
    struct smtp_server_limits limits;
    struct addr peer;
    struct list link;
    bool is_local; /* a unix socket: qmgr, or another Postfix of this host */
    char *helo;
    struct lmtpd_tx *tx;
    struct lmtpd_rcpt *asking; /* userdb is being asked about */
    uint64_t chunk_octets;
    bool skip_chunk;
    char ident[LMTPD_IDENT_OCTETS]; /* XFORWARD IDENT for the next message */
    bool may_be_repeat;
    char id[LMTPD_ID_OCTETS]; /* session id, in logs and Received */
    unsigned n_messages;
};

static inline struct lmtpd_sess *
lmtpd_of(struct smtp_sess *s)
{
    return (struct lmtpd_sess *)s;
}

/* lmtpd_session.c */
void lmtpd_accept(int fd, const struct addr *peer);
size_t lmtpd_sessions(void);
void lmtpd_drain_all(void);
void lmtpd_tx_free(struct lmtpd_sess *s);
void lmtpd_closed(struct smtp_sess *s, enum conn_end end, const struct err *why);

/* lmtpd_cmd.c */
extern const struct smtp_server_def lmtpd_def;
void lmtpd_refuse(struct lmtpd_sess *s, const char *reply);
/* Whose mailbox an address (as it came) is, in lower case: a user of just this address goes before the one that it is an
 * extension of (bare; empty: it has none), as in smtpd's tables. False: no memory left. */
bool lmtpd_names(struct slice given, struct arena *a, struct slice *user, struct slice *bare);

/* lmtpd_body.c */
void lmtpd_cmd_data(struct smtp_sess *s, const struct smtp_words *w);
void lmtpd_cmd_bdat(struct smtp_sess *s, const struct smtp_words *w);
void lmtpd_body(struct smtp_sess *s, struct slice octets);
void lmtpd_body_end(struct smtp_sess *s);
void lmtpd_chunk_end(struct smtp_sess *s);
size_t lmtpd_backlog(struct smtp_sess *s);

/* quota_status.c: "private/quota", Postfix's policy protocol: is there room in the recipient's mailbox? */
void quota_status_accept(int fd);
size_t quota_status_count(void);
void quota_status_drain(void);

#endif
