/* login/login_int.h - a session before authentication: login.c (life), crowd.c (limits), login_log.c (what is logged),
 * login_auth.c (authd, hand-over), login_imap.c and login_pop3.c (what the two protocols say), trusted.c (who may say whose
 * connection it is), login_back.c (who was a user's and is so no more). Folder-private. */
#ifndef POSTERN_LOGIN_LOGIN_INT_H
#define POSTERN_LOGIN_LOGIN_INT_H

#include "login/login.h"

#include "base/buf.h"
#include "base/list.h"
#include "core/loop.h"
#include "session/upstream_proxy.h"

enum {
    LOGIN_LINE_MAX = 8 * 1024,      /* of POP3, and of a SASL response in base64 */
    LOGIN_COMMAND_MAX = 48 * 1024,  /* of IMAP, with its literals */
    LOGIN_IN_MAX = 12 * 1024,       /* at most HANDOFF_INPUT_MAX */
    LOGIN_CLIENT_ID_MAX = 4 * 1024, /* of IMAP's ID */
    LOGIN_MECH_OCTETS = 64,
    LOGIN_SID_OCTETS = 65, /* a trusted peer's id has 64 */
    LOGIN_USER_MAX = 512,  /* kept for the log */
    LOGIN_BAD_MAX = 3,     /* commands that are none, then goodbye; as Dovecot */
    LOGIN_TIMEOUT_MS = 3 * 60 * 1000,
    LOGIN_OUT_HIGH = 16 * 1024, /* who does not read is not heard */
    LOGIN_OUT_LOW = 4 * 1024,
    LOGIN_SESSIONS_MAX = 1000, /* not authenticated, in one process: then somebody has to go */
    LOGIN_ENDING_MAX = 64      /* beyond them, while they are told goodbye */
};

enum login_state {
    LOGIN_COMMAND, /* the next input is a command */
    LOGIN_SASL,    /* ... a response to a challenge */
    LOGIN_BUSY,    /* authd or a worker has the word; input is paused */
    LOGIN_ENDING   /* conn_close() was called */
};

enum login_refusal {
    LOGIN_WRONG,    /* user or password */
    LOGIN_DISABLED, /* this user may not log in */
    LOGIN_EXPIRED,  /* the password */
    LOGIN_LIMIT,
    LOGIN_UNAVAILABLE, /* authd or the worker: try again */
    LOGIN_PLAINTEXT,   /* a password on a line that can be overheard */
    LOGIN_NO_CERT,     /* none that is good, where nobody comes in without */
    LOGIN_NO_MECH,
    LOGIN_ABORTED, /* by the client: "*" */
    LOGIN_BAD_BASE64,
    LOGIN_BAD_INITIAL /* the same of an initial response */
};

/* Who connects from one network. crowd.c */
struct crowd;
struct crowd_member {
    struct list link;
    struct crowd *of;
    uint64_t number; /* in order of joining */
};

struct sess;
struct login_proto {
    const char *service; /* for authd, and in logs: "imap" */
    void (*greet)(struct sess *s);
    /* Take one command; false: there is none yet. */
    bool (*step)(struct sess *s);
    void (*challenge)(struct sess *s, struct slice base64);
    /* reason: authd's text for the client, or empty. */
    void (*refuse)(struct sess *s, enum login_refusal why, struct slice reason);
    void (*bye)(struct sess *s, const char *text);
};
extern const struct login_proto login_imap, login_pop3;

struct sess {
    struct crowd_member member;
    struct conn *conn; /* NULL while the descriptor is out to a worker */
    const struct login_proto *proto;
    struct conf *conf;
    uint64_t id, began_ms;
    struct addr remote, local;           /* as a proxy or webmail has said */
    struct addr real_remote, real_local; /* of the connection */
    char sid[LOGIN_SID_OCTETS];
    enum login_state state;
    bool is_greeted, is_tls, is_tls_ready, is_secured;
    bool is_wrapper; /* TLS from the first octet */
    bool is_trusted; /* of login_trusted_networks */
    bool is_told_id; /* ID came: what it says of the connection counts once */
    char *tls_why;   /* TLS failed, or NULL */
    unsigned bad;

    /* authentication (login_auth.c) */
    uint32_t auth_req; /* 0: none under way */
    unsigned attempts, wrong, successes;
    enum login_refusal last_refusal; /* of the last attempt, if it is over */
    bool is_unanswered;              /* the last challenge: by nothing, "*" or no base64 */
    uint64_t auth_began_ms;          /* the first attempt; 0: none */
    bool is_cert_valid;
    char *cert_username; /* of a valid certificate, or NULL */
    unsigned sasl_steps;
    char mech[LOGIN_MECH_OCTETS];
    char *user;   /* as the client said it or authd corrected it; for the log */
    char *master; /* who was logged in as that user; NULL: the user */
    int spare_fd; /* hand-over: the plain client's descriptor, or login's end of the pair; -1 */
    struct buf unread; /* what goes to a plain client's worker */

    /* commands */
    struct buf cmd;        /* IMAP: being gathered */
    size_t line_at;        /* in cmd: where the line begins that is not whole yet */
    uint64_t literal_left; /* of it */
    char *tag;             /* IMAP: of the command being answered */
    char *pop3_user;
    bool is_utf8; /* POP3's UTF8 was said */
    struct buf client_id;
};

/* login.c */
/* A connection whose client is known. */
void login_begin(struct slice service, int fd, const struct upstream_client *c);
/* The same without greeting and TLS: a session of which nothing is known but its ends. May make room. */
struct sess *login_new(const struct login_proto *proto, int fd, const struct upstream_client *c);
struct tls_ctx *login_tls(const struct sess *s); /* NULL: not offered */
/* login_tls.c: of t, what the session is to have. */
struct tls_ctx *login_tls_choose(const struct login_tls *t, const struct sess *s);
struct auth_client *login_authd(void);
unsigned login_imapd_workers(void);
bool login_may_send_password(const struct sess *s);
bool login_offers_starttls(const struct sess *s);
void login_start_tls(struct sess *s); /* the reply was written */
/* A command that is none: true: that was one too many, goodbye was said. */
bool login_count_bad(struct sess *s);
/* Log why, "Disconnected: ...", and close; with a farewell unless it is NULL. */
void login_end(struct sess *s, const char *why, const char *farewell);
void login_free(struct sess *s);               /* no log line, nothing is sent */
void login_adopt_conn(struct sess *s, int fd); /* a descriptor that came back */
void login_go_on(struct sess *s);              /* after LOGIN_BUSY */

/* login_log.c */
void login_log(const struct sess *s, const char *event, const char *what, int worker_pid);
/* "why (auth failed, 2 attempts in 5 secs): ..." */
void login_log_end(const struct sess *s, const char *why);

/* crowd.c: all sessions that nobody has logged in to, by the network they come from. */
void crowd_join(struct crowd_member *m, const struct addr *from);
void crowd_leave(struct crowd_member *m);
size_t crowd_count(void);
/* Who shall go for a newcomer: of the network that has most, who came first, of those that may go. NULL: nobody may. */
struct crowd_member *crowd_pick(bool (*may_go)(const struct crowd_member *m));
void crowd_each(void (*fn)(struct crowd_member *m)); /* fn may let it leave, nobody else */

/* trusted.c: login_trusted_networks. */
void login_set_trusted(const struct conf *c);
void login_forget_trusted(void);
bool login_is_trusted(const struct addr *a);
/* What a trusted peer says of the client, in IMAP's ID: false: nothing of the kind. */
bool login_take_id_field(struct sess *s, struct slice name, struct slice value);
void login_pop3_xclient(struct sess *s, struct slice args);

/* login_auth.c */
/* After the handshake: what the client's certificate says. */
void login_look_at_cert(struct sess *s);
/* The i-th mechanism offered on this connection as it is now, in capitals; false past the last. */
bool login_mech(const struct sess *s, size_t i, char out[LOGIN_MECH_OCTETS]);
/* mech as the client wrote it. initial.p NULL: none was sent. The answer is challenge(), refuse() or the hand-over. */
void login_authenticate(struct sess *s, struct slice mech, struct slice initial_b64);
/* LOGIN, or USER and PASS. */
void login_password(struct sess *s, struct slice user, struct slice password);
bool login_sasl_step(struct sess *s); /* in LOGIN_SASL: take the response */
void login_auth_cancel(struct sess *s);
/* An attempt that is refused here, without asking authd. */
void login_refuse(struct sess *s, enum login_refusal why);

/* upstream.c */
void login_set_proxies(const struct conf *c);
void login_forget_proxies(void);
bool login_is_proxied(const struct conf *c, struct slice service);
void login_accept_proxied(const struct conf *c, struct slice service, int fd,
                          const struct addr *peer);

/* login_imap.c: "tag OK [CAPABILITY ...] text" */
void login_imap_welcome_back(struct sess *s, struct slice tag);

/* login_relay.c: both are the relay's. worker_fd is the other end of the socketpair that the worker has. */
void relay_start(struct conn *client, int worker_fd);
size_t relay_count(void);

#endif
