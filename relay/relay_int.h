/* relay/relay_int.h - relayd: one message for one destination at a time from qmgr, on to the destination's hosts.
 *
 *   server.c   the LMTP that qmgr speaks to us
 *   targets.c  a destination's hosts and addresses, in the order of trying
 *   tls_policy.c  which TLS a destination wants
 *   manner.c   how a host is spoken to: the client engine's options
 *   dane.c     what DNS says of a host's certificate
 *   send.c     one try after the other
 *   content.c  checks of content on its way out
 *   pool.c     sessions that are kept for the next message
 *   generic.c  addresses as the other side is to see them
 *
 * qmgr says XROUTE, MAIL, RCPT..., BDAT n LAST. XROUTE's argument is how ("smtp", "lmtp"), the next hop ("DOMAIN", "[HOST]:PORT",
 * several with '|' between, tried in this order), and NAME=VALUE words, values in xtext: WRAPPER=1, MORE=1 (more mail for it
 * waits), ID= (the queue id, for the log), and with the number of a hop, from 0: TLS.N (what smtp_tls_policy_maps says of it), AUTH.N ("user:password"), LOGIN.N
 * (its user); others are passed over. The reply for each
 * recipient has two lines, the first for qmgr's log:
 *   250-2.0.0 relay=mx.example[192.0.2.1]:25 conn=MICROSECONDS xfer=MICROSECONDS host=0 use=1 dsn=1
 *   250 2.0.0 250 2.0.0 Ok: queued as 7
 * XPROBE instead of BDAT: would the recipients be accepted? No content; a host's reply to RCPT is the result.
 * 250 sent, 450 deferred, 550 failed; host=1: no host of the destination could be talked to.
 * use: how many messages the session has carried with this one; 0: there was none.
 * Layer: relay, private. */
#ifndef POSTERN_RELAY_RELAY_INT_H
#define POSTERN_RELAY_RELAY_INT_H

#include "base/arena.h"
#include "core/own_addrs.h"
#include "dns/dns.h"
#include "session/addr_map.h"
#include "session/sasl_client.h"
#include "session/smtp_client.h"

struct content;

enum {
    TARGETS_MAX = 100,
    HOPS_MAX = 20,        /* next hops of one destination, fall-back relays included */
    TLS_MATCHES_MAX = 32, /* names or fingerprints that a policy has */
    RCPTS_MAX = 1000,
    TX_OCTETS_MAX = 4 * 1024 * 1024,
    RELAY_TEXT_OCTETS = 1500
};

struct target {
    struct addr addr;
    char host[DNS_NAME_OCTETS];
    char tlsa_base[DNS_NAME_OCTETS]; /* where host's CNAMEs lead; host itself mostly */
    uint16_t pref;
    bool is_secure; /* its address was validated, or the CNAME that host is (RFC 7672 §2.2.2) */
    bool
        is_mx_secure; /* and what named the host was: MX records, or the operator (RFC 7672 §2.2.1) */
};

/* Postfix's TLS security levels (TLS_README), in order of strength as far as there is one. */
enum tls_level {
    LEVEL_NONE,
    LEVEL_MAY,
    LEVEL_ENCRYPT,
    LEVEL_FINGERPRINT,
    LEVEL_DANE,
    LEVEL_DANE_ONLY,
    LEVEL_VERIFY,
    LEVEL_SECURE
};
struct tls_policy { /* strings live as long as the arena it was made in, or the configuration */
    enum tls_level level;
    const char *match; /* names with ':' or blanks between, fingerprints with '|' or blanks */
    const char *protocols, *ciphers, *exclude, *servername;
    struct tls_ctx *ctx; /* a reference, the holder's to give back; NULL at LEVEL_NONE */
};

/* Why there is nothing to try. */
struct target_error {
    enum smtp_outcome outcome;
    char dsn[SMTP_DSN_OCTETS];
    char text[512];
    bool is_host; /* worth waiting for the destination as a whole */
};

struct rcpt_result {
    bool is_final;
    enum smtp_outcome outcome;
    char dsn[SMTP_DSN_OCTETS];
    char *text, *relay;
    uint64_t conn_us, xfer_us;
    bool is_host;
    bool has_dsn;  /* the host says that it knows of DSN (RFC 3461) */
    unsigned uses; /* transactions of the session, this one counted; 0: none */
};

/* One next hop, and what is its alone. */
struct hop {
    struct slice name;       /* "domain", "[host]:port" */
    struct slice tls_policy; /* smtp_tls_policy_maps' answer; empty: main.cf's level */
    struct slice auth;       /* "user:password"; empty: no login */
};

/* What XROUTE says beside the next hops. */
struct manner {
    struct slice auth; /* of the hop being tried */
    bool is_wrapper;   /* TLS from the first octet */
    bool has_more;     /* more mail for this destination waits */
};

/* What a session with another host has seen. */
struct pool_use {
    uint64_t begun_ms; /* loop's clock: when it was connected to */
    unsigned times;    /* it was used again */
};
enum { POOL_KEY_OCTETS = 65 };

/* A connection from qmgr and what it relays. */
struct session {
    uint64_t id;
    struct conn *conn; /* NULL: qmgr is gone */
    struct conf *conf;
    struct arena arena; /* the transaction */
    bool is_greeted, has_route, has_mail, is_lmtp;
    struct slice nexthop; /* hops with '|' between */
    struct manner manner;
    struct smtp_tx tx;
    struct smtp_tx_rcpt *rcpts;
    size_t n_rcpts, cap_rcpts;
    /* content */
    bool in_body, is_discarding, is_flowing; /* flowing: from qmgr straight to the host */
    uint64_t body_left;
    struct buf body; /* small content, kept so that a second host can be tried */
    bool is_small, is_body_used;
    struct content *content; /* it goes through a filter; NULL: not, or not now */
    struct slice queue_id;   /* "NOQUEUE" where qmgr says none */
    /* sending */
    bool is_sending;
    struct hop hops[HOPS_MAX];
    size_t n_hops, at_hop;
    char domain[DNS_NAME_OCTETS]; /* the hop being tried, as a name */
    struct target *targets;
    size_t n_targets, at, sessions;
    struct tls_policy policy;
    enum tls_level level; /* of this target: dane's depends on DNS */
    struct tls_expect expect;
    struct smtp_client_sasl sasl;
    bool no_tls; /* this target once more, without */
    struct smtp_client *client;
    struct pool_use use;
    char pool_key[POOL_KEY_OCTETS]; /* empty: the session cannot be kept */
    bool is_stale;                  /* the kept session had ended: a new one instead */
    char peer[DNS_NAME_OCTETS + ADDR_TEXT_OCTETS];
    bool has_no_peer;           /* nobody was there: relay=none */
    int64_t start_us, ready_us; /* ready: 0 until the host has greeted */
    size_t *sent;               /* places in rcpts of the transaction under way */
    /* generic.c */
    struct addr_map *map;
    const struct addr_plan *generic_plan;
    void (*on_generic)(struct session *s, bool good);
    struct rcpt_result *results;
};

/* ---- server.c ---- */
void server_accept(int fd);
void server_wants_body(struct session *s); /* the host is ready: let content flow */
void server_body_room(struct session *s);  /* and on */
void server_finish(struct session *s);     /* every recipient has its result */
void server_free(struct session *s);
size_t server_busy(void);

/* ---- targets.c ---- */
/* Find the targets of a destination; cb comes from the loop exactly once: n 0 and err set, or targets that are the
 * callee's (free). */
void targets_find(const struct conf *conf, struct slice hop, bool is_lmtp,
                  void (*cb)(uint64_t id, struct target *v, size_t n,
                             const struct target_error *err),
                  uint64_t id);
/* The name in a hop: "[mx.example.com]:25" is mx.example.com. Empty when it is none. */
void targets_hop_name(struct slice hop, char out[DNS_NAME_OCTETS]);

/* ---- tls_policy.c ---- */
/* table: what smtp_tls_policy_maps has for the destination, or empty. False: *why, and mail waits. */
bool tls_policy_of(const struct conf *c, bool is_lmtp, bool is_wrapper, struct slice table,
                   struct arena *mem, struct tls_policy *out, const char **why);
/* What this host's certificate must be; domain: the next hop as a name. tlsa: usable records, or NULL below that. */
void tls_policy_expect(const struct tls_policy *p, const struct target *t, const char *domain,
                       const struct dns_answer *tlsa, struct arena *mem, struct tls_expect *x);
void tls_policy_reload(void); /* contexts are made anew; also at the beginning */

/* ---- dane.c ---- */
enum dane_rc {
    DANE_RECORDS, /* answer has at least one usable record */
    DANE_ENCRYPT, /* records, but none that can be used: TLS, any certificate */
    DANE_NONE,    /* none, or not to be trusted */
    DANE_TEMP     /* nobody can say: not this host now */
};
/* The TLSA records of a target (RFC 7672 §2.2.2, §2.2.3); sets t->tlsa_base to the name that has them. cb from the loop,
 * exactly once; a is valid during the call. t lives until then, or the id is gone. */
void dane_find(struct target *t,
               void (*cb)(uint64_t id, enum dane_rc rc, const struct dns_answer *a), uint64_t id);

/* ---- manner.c ---- */
/* For this target of the session; pointers into the session. */
void manner_opts(struct session *s, const struct target *t, struct smtp_client_opts *o);
/* smtp_discard_ehlo_keywords, unless it says silent-discard. */
void manner_log_discarded(const struct conf *c);

/* ---- content.c ---- */
void content_reload(void); /* also at the beginning */
/* Is content to be looked into? Once MAIL and XROUTE are known. */
bool content_is_wanted(const struct session *s);
void content_small(struct session *s); /* s->body; send_start() or send_defer() follows */
/* A host wants a long one: what is read is written here, and comes to s->client. */
void content_flow(struct session *s);
void content_write(struct session *s, struct slice some);
void content_end(struct session *s);
bool content_is_full(const struct session *s); /* also without a filter */
void content_free(struct session *s);

/* ---- send.c ---- */
void send_start(struct session *s);
/* Nothing is tried: why the message waits. */
void send_defer(struct session *s, const char *dsn, const char *why);
void send_abort(struct session *s); /* qmgr is gone; server_free() follows when nothing is left */

/* ---- pool.c ---- */
/* Of a session with this target as s->level, s->expect and s->manner say. False: it cannot be kept. */
bool pool_key(const struct session *s, const struct target *t, char key[POOL_KEY_OCTETS]);
/* Take over an idle client. */
void pool_keep(const char *key, struct smtp_client *c, const struct pool_use *use);
/* An idle client, whose callbacks are the caller's to set, and how it was used, this time counted; NULL: none. */
struct smtp_client *pool_take(const char *key, struct pool_use *use);
bool pool_has(const char *key);
bool pool_is_empty(void);
void pool_flush(void); /* what was kept was made by an old configuration */

/* ---- relayd_main.c ---- */
extern struct dns *relay_dns;
extern struct own_addrs relay_own;
extern struct lookup_client *relay_content; /* authd on private/content */

#endif
