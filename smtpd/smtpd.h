/* smtpd/smtpd.h - the inside of smtpd, shared by its files: configuration of a listener, a session, a transaction.
 * Layer: smtpd. Belongs to the loop's thread. */
#ifndef POSTERN_SMTPD_SMTPD_H
#define POSTERN_SMTPD_SMTPD_H

#include "auth/auth_client.h"
#include "auth/lookup_client.h"
#include "core/own_addrs.h"
#include "dns/dns.h"
#include "proto/smtp_addr.h"
#include "proto/smtp_param.h"
#include "session/checks.h"
#include "session/mime_walk.h"
#include "session/policy_client.h"
#include "session/queue_client.h"
#include "session/smtp_server.h"
#include "base/list.h"
#include "session/domlist.h"
#include "smtpd/hostlist.h"
#include "smtpd/pickup.h"
#include "smtpd/restrict.h"

enum {
    SMTPD_TX_ARENA_OCTETS = 4 * 1024 * 1024, /* envelope of one message */
    SMTPD_NAME_OCTETS = 256
};

/* What the process talks to. Made once. */
struct smtpd_env {
    struct auth_client *auth;
    struct lookup_client *lookup;
    struct lookup_client
        *lines; /* header and body checks: what may be slow has a connection of its own */
    struct queue_client *queue;
    struct dns *dns;
    struct policy_client *policy;
    struct anvil_client *anvil;
};
extern struct smtpd_env smtpd_env;

enum smtpd_service {
    SMTPD_MX,
    SMTPD_SUBMISSION,
    SMTPD_SUBMISSIONS,
    SMTPD_PICKUP, /* no listener: what sendmail(1) left (pickup.h) */
    SMTPD_SERVICES
};

/* One listener's configuration, worked out; counted: sessions keep the one they began with. */
struct smtpd_cfg {
    unsigned refs;
    enum smtpd_service service;
    struct conf *conf; /* the listener's view */
    struct smtp_server_limits limits;
    struct smtp_addr_rules rules;
    struct netlist mynetworks, lf_exclusions;
    struct hostlist xclient_hosts, xforward_hosts, mx_backup_networks;
    bool is_proxied; /* connections begin with a header of the PROXY protocol */
    struct netlist proxies;
    struct own_addrs own; /* mail for "[literal]" of one of them is ours */
    struct domlist mydestination, alias_domains, mailbox_domains, relay_domains;
    struct restrict_set restrictions;
    struct rewrite_plans *plans; /* rewrite.c */
    bool relay_first;
    bool access_parents; /* smtpd_access_maps is in parent_domain_matches_subdomains */
    const char
        *login_param;    /* the parameter whose tables say who owns a sender address; NULL: none */
    bool login_by_alias; /* without one: the login, and the aliases that lead to it */
    bool expansion_set[256]; /* smtpd_expansion_filter: octets that values in replies may have */
    bool has_tls, must_tls, is_wrapper, sasl_enable;
    bool is_stressed;          /* the view of a busy server */
    struct hostlist uncounted; /* smtpd_client_event_limit_exceptions */
    struct netlist no_auth;    /* smtpd_sasl_exceptions_networks */
    struct words *forbidden, *noops, *mechs;
    struct domlist etrn_domains;
    unsigned discard;          /* DISCARD_* */
    struct checks_conf checks; /* header_checks and its kin */
    struct mime_walk_conf mime;
    bool has_checks, looks_into_body;
    unsigned
        transcript_classes; /* TRANSCRIPT_*: of sessions with such, postmaster gets a transcript */
    const char *service_name; /* "smtp", "submission", "submissions" */
    const char *ident;        /* log: "postfix/smtpd", "postfix/submission/smtpd" */
    char *ident_mem, *cleanup_ident;
};
/* ERR_CONFIG with the parameter's name. */
int smtpd_cfg_new(const struct conf *c, enum smtpd_service service, bool is_stressed,
                  struct smtpd_cfg **out, struct err *e);
struct smtpd_cfg *smtpd_cfg_ref(struct smtpd_cfg *c);
void smtpd_cfg_unref(struct smtpd_cfg **c);

/* An accepted recipient. */
struct smtpd_rcpt {
    struct smtpd_rcpt *next;
    struct slice addr;   /* internal, as given */
    struct slice mapped; /* complete, and through canonical maps (rewrite.h); p NULL: not yet */
    bool is_forwarded;   /* our tables led here: a copy, or a mapped address */
    bool is_copy;        /* nobody's wish but ours */
    struct slice orcpt;  /* ORCPT, or "rfc822;" and the address as given */
    unsigned notify;
};

/* What is known about an address of the transaction; computed once, on need. */
enum addr_class {
    CLASS_UNKNOWN,
    CLASS_LOCAL,
    CLASS_ALIAS,
    CLASS_VIRTUAL,
    CLASS_RELAY,
    CLASS_OTHER
};
struct addr_info {
    struct slice given; /* internal, as given */
    struct smtp_resolved to;
    enum addr_class cls;
};

struct content;
struct expansion;
struct account_ask;
struct upstream_client;
struct xforward;
struct rbl_cache;
struct addr_map;
struct rewrite_plans;

/* What access tables and policy servers want done with the message, beyond accepting it (access(5)). In the
 * transaction's memory. */
struct tx_line {
    struct tx_line *next;
    struct slice text;
};
struct tx_wishes {
    bool discard;            /* DISCARD: answer 250, deliver to nobody */
    const char *hold;        /* HOLD: the reason, NULL for none */
    struct slice redirect;   /* REDIRECT: instead of all recipients; empty for none */
    struct tx_line *bcc;     /* BCC: recipients more */
    struct tx_line *prepend; /* PREPEND: header lines, without CRLF, in order of evaluation */
};

/* How the addresses in a message's header are completed, and whether missing fields are added. */
enum rewrite_context { REWRITE_NONE, REWRITE_LOCAL, REWRITE_REMOTE };

/* From MAIL to the end of the message. */
struct smtpd_tx {
    struct arena mem;
    struct addr_info sender;
    struct smtp_mail_params params;
    struct smtpd_rcpt *first, **end;
    size_t n_rcpts;
    unsigned overshoot;
    int64_t began_unix_s;
    char id[QUEUE_ID_OCTETS]; /* "" until the first recipient */
    struct expansion *expansion;
    struct content *content; /* once DATA or BDAT has begun */
    uint64_t size_octets;    /* of content, as lines */
    bool in_bdat, bdat_last, too_big;
    struct tx_wishes wishes;
    struct tx_line *delivered_to; /* loops.c */
    unsigned n_delivered_to;
    enum rewrite_context rewrite; /* known when the content begins */
    struct {                      /* rewrite.c */
        struct addr_map *map;     /* NULL: nothing was asked yet */
        struct slice from; /* the sender as it goes into the queue; known when the content begins */
        bool has_map_trouble;
        struct tx_line *copies; /* who gets one, as tables and main.cf say */
        size_t n_copies;
        void (*rewrite_begun)(struct smtpd_sess *s, bool good);
        void (*rewrite_ended)(struct smtpd_sess *s, const char *refusal);
    };
    struct account_ask *account; /* authd was asked for its counts */
    struct { /* finish.c: how far the message has come on its way into the queue */
        size_t at;
        bool is_running, may_go_on;
    } finish;
    const struct queue_rcpt *final; /* after alias expansion; the expansion's */
    size_t n_final;
    bool sender_is_owned; /* by the client's login: found out already */
    char *deferral;       /* of the sender stage where restrictions are not delayed */
};

/* How far a client's host name is known. */
enum peer_status {
    PEER_OK,
    PEER_TEMP,   /* DNS trouble: perhaps it has one */
    PEER_FORGED, /* the name does not have the address */
    PEER_PERM    /* there is none */
};

struct smtpd_sess {
    struct smtp_sess smtp; /* first */
    struct smtpd_cfg *cfg;
    struct pickup_from *pickup; /* not NULL: a private session, of a message from maildrop/ */
    struct addr peer;
    uint16_t port;
    struct addr local; /* where the client came in; behind a proxy or after XCLIENT as those say */
    bool may_xclient, may_xforward;
    struct xforward *xforward; /* of the message to come or under way; NULL: none */
    int64_t began_unix_us;
    unsigned n_messages; /* transactions that are over */
    char *name;          /* verified host name, "unknown" */
    char *reverse_name;
    enum peer_status name_status, reverse_status;
    char *namaddr;  /* "name[addr]" */
    char *helo;     /* NULL before */
    char *new_helo; /* being checked */
    char *sasl_user, *sasl_method;
    char sasl_try[24]; /* mechanism of the exchange under way */
    struct smtpd_tx *tx;
    char *access_denied;
    /* Where restrictions are not delayed: what the client and HELO stages put off until RCPT. */
    char *client_deferral, *helo_deferral;
    struct check *check; /* restrictions being evaluated */
    struct rcpt_ask *rcpt_ask;
    struct rbl_cache *rbl; /* what DNS lists have said */
    void (*on_peer)(struct smtpd_sess *s);
    unsigned discard; /* DISCARD_*: the listener's, or the client's own */
    struct timer greet_wait;
    struct slice now_rcpt;     /* of RCPT under way, for the footer of a refusal; p NULL: none */
    struct footer_ask *footer; /* tables are being asked for one */
    /* limits.c */
    char *anvil_ident; /* "smtp:192.0.2.1"; NULL: not counted */
    void (*limit_go)(struct smtpd_sess *s);
    void (*limit_again)(struct smtp_sess *s, const struct smtp_words *w);
    void (*limit_tls)(struct smtpd_sess *s, bool is_over);
    const struct smtp_words *limit_words;
    bool limits_begun, is_connected, limit_is_passed;
    bool is_ill_pipelined; /* it did not wait where it had to (RFC 2920 §3.1, RFC 5321 §3.1) */
    bool is_filtered;      /* smtpd_command_filter has seen this command */
    const char
        *cert_refusal; /* no good certificate: the next command is answered with this and 421 */
    struct list link;  /* all sessions */
    struct slice vrfy_text;
    struct buf transcript; /* transcript.c */
    unsigned transcript_class;
    bool is_transcript_cut;
    bool hides_words; /* AUTH was heard: a line that is no command may be what it was to be told */
    bool is_esmtp, is_greeted;
    bool notes_bare_lf;     /* smtpd_forbid_bare_newline = note: one was seen */
    bool bdat_failed;       /* chunks are skipped until the last one or RSET (RFC 3030 §2) */
    bool skip_last;         /* the chunk being skipped is the last one */
    uint64_t n_over;        /* messages that were answered, one way or the other */
    const char *skip_reply; /* set while a chunk is skipped; "": the one that counts octets */
    uint64_t chunk_octets;  /* of the chunk under way */
};

static inline struct smtpd_sess *
smtpd_of(struct smtp_sess *s)
{
    return (struct smtpd_sess *)s;
}
static inline const char *
smtpd_queue_id(const struct smtpd_sess *s)
{
    return s->tx && s->tx->id[0] ? s->tx->id : "NOQUEUE";
}

/* What restrictions see as the recipient once all are known: the one there is. */
static inline struct slice
smtpd_only_rcpt(const struct smtpd_tx *tx)
{
    return tx->n_rcpts == 1 ? tx->first->addr : sl_n(NULL, 0);
}

enum {
    DISCARD_PIPELINING = 1,
    DISCARD_SIZE = 2,
    DISCARD_VRFY = 4,
    DISCARD_ETRN = 8,
    DISCARD_STARTTLS = 16,
    DISCARD_AUTH = 32,
    DISCARD_ENHANCED = 64,
    DISCARD_8BITMIME = 128,
    DISCARD_DSN = 256,
    DISCARD_UTF8 = 512,
    DISCARD_CHUNKING = 1024,
    DISCARD_XCLIENT = 2048,
    DISCARD_XFORWARD = 4096,
    DISCARD_LIMITS = 8192,
    DISCARD_SILENT = 16384 /* -SILENT: the log does not tell */
};

/* smtpd_session.c */
/* A connection whose client is known; cfg's reference is moved. */
void smtpd_begin(struct smtpd_cfg *cfg, int fd, const struct upstream_client *c);
/* The session of a message from maildrop/; `from` lives longer. */
void smtpd_begin_pickup(int fd, struct pickup_from *from);
/* Client restrictions where they are not delayed, and the greeting or the refusal; ends the command under way. */
void smtpd_greet(struct smtpd_sess *s);
void smtpd_accept(enum smtpd_service service, int fd, const struct addr *peer);
size_t smtpd_sessions(void);
void smtpd_drain_all(void);
int smtpd_set_conf(const struct conf *c, struct err *e); /* new sessions use it */

/* tls_contexts.c */
int smtpd_set_tls(struct slice name, struct slice text, struct err *e); /* daemon_def.tls */
int smtpd_tls_configure(const struct conf *c, struct err *e);           /* new sessions' contexts */
struct tls_ctx *smtpd_tls_ctx(const struct smtpd_sess *s);              /* NULL: no TLS */

/* smtpd_session.c */
void smtpd_tx_free(struct smtpd_sess *s);
/* "reject: RCPT from name[addr]: TEXT; from=<> to=<> proto=ESMTP helo=<>". rcpt p NULL: none. */
void smtpd_log_reject(struct smtpd_sess *s, const char *text, struct slice sender,
                      struct slice rcpt);
/* The same for another word than "reject". */
void smtpd_log_what(struct smtpd_sess *s, const char *what, const char *text, struct slice sender,
                    struct slice rcpt);
void smtpd_clear_helo(struct smtpd_sess *s);
void smtpd_secured(struct smtp_sess *s);
void smtpd_closed(struct smtp_sess *s, enum conn_end end, const struct err *why);

/* greet.c: is there room for a session more? False: refused, fd is closed. And which view of the configuration it gets. */
bool smtpd_has_room(const struct smtpd_cfg *c, size_t sessions, int fd, const struct addr *peer);
bool smtpd_is_stressed(const struct smtpd_cfg *c, size_t sessions);
/* The name is known: all that comes before the greeting, then smtpd_greet(). */
void smtpd_meet(struct smtpd_sess *s);
void smtpd_meet_again(struct smtpd_sess *s); /* after XCLIENT; ends in the greeting, too */
/* The client sent something though it has to wait: log and note it. False: it is refused for that, and told. */
bool smtpd_check_pipelining(struct smtpd_sess *s);
unsigned smtpd_discard_bits(struct conf_list l);
void smtpd_discard_names(unsigned bits, struct buf *out); /* "8bitmime dsn" */
const char *smtpd_service_name(enum smtpd_service service);

/* footer.c: smtpd_reject_footer */
void smtpd_decorate(struct smtp_sess *s, struct slice reply);
void smtpd_footer_free(struct smtpd_sess *s);
int smtpd_footer_check(const struct conf *c,
                       struct err *e); /* ERR_CONFIG with the parameter's name */

/* smtpd_cmd.c, smtpd_mail.c, smtpd_body.c: the table's functions */
extern const struct smtp_server_def smtpd_def;
void smtpd_cmd_helo(struct smtp_sess *s, const struct smtp_words *w);
void smtpd_cmd_ehlo(struct smtp_sess *s, const struct smtp_words *w);
void smtpd_cmd_mail(struct smtp_sess *s, const struct smtp_words *w);
void smtpd_cmd_rcpt(struct smtp_sess *s, const struct smtp_words *w);
void smtpd_cmd_vrfy(struct smtp_sess *s, const struct smtp_words *w);
void smtpd_cmd_data(struct smtp_sess *s, const struct smtp_words *w);
void smtpd_cmd_bdat(struct smtp_sess *s, const struct smtp_words *w);
void smtpd_cmd_auth(struct smtp_sess *s, const struct smtp_words *w);
void smtpd_cmd_quit(struct smtp_sess *s, const struct smtp_words *w);
bool smtpd_gate(struct smtp_sess *s, const struct smtp_verb *v, const struct smtp_words *w,
                struct slice line); /* gate.c */
void smtpd_body(struct smtp_sess *s, struct slice octets);
void smtpd_body_end(struct smtp_sess *s);
void smtpd_chunk_end(struct smtp_sess *s);
/* Drop the octets of a BDAT that is not allowed, then reply. False: it says no size. */
bool smtpd_skip_bdat(struct smtpd_sess *s, const struct smtp_words *w, const char *reply);
size_t smtpd_backlog(struct smtp_sess *s);
bool smtpd_sasl_is_active(const struct smtpd_sess *s);
/* Mechanisms of this session, "PLAIN LOGIN", into out; and whether one is among them. */
void smtpd_sasl_mechs(const struct smtpd_sess *s, struct buf *out);
bool smtpd_is_in_tx(const struct smtpd_sess *s);
void smtpd_reset(struct smtpd_sess *s); /* as RSET does */

/* upstream.c: a connection from a proxy, or from somebody who is none. cfg's reference is moved. */
void smtpd_accept_proxied(struct smtpd_cfg *cfg, int fd, const struct addr *peer);

/* xclient.c, xforward.c */
void smtpd_cmd_xclient(struct smtp_sess *s, const struct smtp_words *w);
void smtpd_cmd_xforward(struct smtp_sess *s, const struct smtp_words *w);
void smtpd_xforward_free(struct smtpd_sess *s);
/* Where the message came from first: what XFORWARD said, else this session's client. "unknown" and "" where it is not
 * known. Borrowed; ip is room for an address. */
struct smtpd_origin {
    struct slice name, ip, helo, protocol;
};
void smtpd_origin(const struct smtpd_sess *s, char ip[ADDR_TEXT_OCTETS], struct smtpd_origin *out);
/* XFORWARD SOURCE: false: it was not sent. */
bool smtpd_xforward_source(const struct smtpd_sess *s, bool *is_local);
/* ", orig_queue_id=ID, orig_client=name[addr]" for the log's client= line; "" for none. */
void smtpd_xforward_log(const struct smtpd_sess *s, struct buf *out);

/* peer.c */
void smtpd_set_namaddr(struct smtpd_sess *s); /* anew, from name and peer */
/* Find name and reverse name, then done. */
void smtpd_find_peer_name(struct smtpd_sess *s, void (*done)(struct smtpd_sess *s));

#endif
