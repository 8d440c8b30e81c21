/* queue/qmgr_int.h - what the parts of qmgr share. All of it belongs to the loop's thread.
 *
 *   intake.c   private/queue: ids, messages in
 *   admin.c    private/queue, public/queue: the operator's tools
 *   why.c      what a message waits for, as memory has it
 *   count_dirs.c  files for programs that count them
 *   active.c   messages in memory: from the database, to the end of their round
 *   route.c    recipient -> transport and next hop
 *   transport.c  "transport:nexthop" -> a way out
 *   srs.c      senders of mail that is forwarded
 *   sched.c    destinations and who is next
 *   deliver.c  kept-open LMTP connections, one job each
 *   report.c   who hears of what came of a round
 *   bounce.c   what a report says, bounce_template.c in which words
 *   report_to.c  where the aliases of whom a report is for lead
 *   verify.c   can an address be delivered to? probes, and what they found
 * Layer: queue, private. */
#ifndef POSTERN_QUEUE_QMGR_INT_H
#define POSTERN_QUEUE_QMGR_INT_H

#include "auth/lookup_client.h"
#include "base/arena.h"
#include "base/map.h"
#include "conf/conf.h"
#include "core/loop.h"
#include "core/work.h"
#include "queue/limits.h"
#include "queue/writer.h"
#include "session/queue_id.h"
#include "session/smtp_client.h"

enum {
    BODY_CACHE_OCTETS =
        48 * 1024 * 1024, /* content kept in memory for delivery; beyond it is read again */
    ACTIVE_OCTETS = 64 * 1024 * 1024, /* all else of the messages in memory */
    ROUND_RCPTS_MAX = 1000,           /* of one message that are taken into memory together */
    FETCHES_MAX = 32,   /* bodies being read at a time, or read and not yet under way */
    LOST_TRIES_MAX = 5, /* connections lost over one recipient before it is deferred */
    JOB_RCPTS_MAX = 200,
    WHY_OCTETS_MAX = 1000,
    HOP_OCTETS = 256 /* of a next hop, as far as it is kept */
};

struct dest;
struct outlet;
struct job;

enum rcpt_state {
    RS_ROUTING, /* a look-up is out */
    RS_PENDING, /* in its destination's list */
    RS_BUSY,    /* in a job */
    RS_SENT,
    RS_DEFERRED,
    RS_FAILED,
    RS_OWED,     /* delivered, and the sender is to hear of it */
    RS_LATE,     /* deferred, and somebody is to hear of it: it is written with the report */
    RS_REPORTED, /* in report.c's hands */
    RS_PARKED,   /* back in the database without having been tried: no room */
    RS_GONE      /* held or deleted */
};

struct qmsg;
struct qrcpt {
    struct qmsg *m;
    const struct queue_rcpt *r; /* into m->env */
    struct slice addr;          /* where to, after routing; r->addr mostly */
    uint32_t i;                 /* row */
    uint32_t attempts, flags;
    unsigned lost;
    bool goes_on_hold; /* deferred until the operator releases it */
    enum rcpt_state state;
    struct dest *dest;
    struct batch *batch; /* while pending */
    struct list link;    /* batch->rcpts, or m->fetch_waiting */
    int64_t parked_until;
    char dsn[SMTP_DSN_OCTETS];
    char *why; /* deferred or failed: the last reason */
    char *hop; /* RS_LATE: the next hop of that try (dest may be gone); NULL: none */
    const char *
        mail_from; /* what MAIL FROM says instead of the sender (srs.c); in m->arena; NULL: the sender */
};

/* One message's stay in memory: a round over those of its recipients that were due. */
struct qmsg {
    uint64_t n;
    struct qmsg
        *same; /* another round of the same message, for recipients that became due meanwhile */
    struct list link;  /* all */
    struct buf packed; /* the envelope's octets; env points into it */
    struct arena arena;
    struct queue_env env; /* its recipients may be those of this round only: see qrcpt.i */
    size_t octets;        /* all that it takes but the body */
    struct buf body;
    bool has_body, is_file, is_fetching;
    uint64_t size;
    uint32_t crc;
    int64_t arrived_us, active_us; /* wall clock */
    int64_t aged_from_us;          /* the queue's clock: see active_age_us() */
    struct qrcpt *rcpts;
    size_t n_rcpts, n_open;  /* open: not yet at the end of this round */
    unsigned n_owed;         /* jobs that have not got the content yet */
    unsigned refs;           /* writer ops, look-ups and jobs that name it */
    size_t n_owed_reports;   /* recipients that are failed, owed or late */
    struct list report_link; /* report.c's: reports are owed, and others are open */
    uint64_t report_since_ms;
    bool is_deleted, is_held;
    bool is_expired;             /* an operator wants it returned: what comes back is due at once */
    bool is_loaded;              /* came from the database */
    bool is_probe;               /* verify.c's: in no database, without content, never reported */
    struct list fetch_waiting;   /* qrcpts that wait for the body */
    const struct srs_known *srs; /* srs.c; in arena */
    unsigned n_srs;
};

struct qmgr {
    struct conf *conf;
    struct writer *writer;
    struct lookup_client *lookup;
    struct work_pool *files; /* reads of big messages */
    char *queue_dir;         /* $queue_directory/queue */
    uint64_t first_new;      /* qdb_first_new_counter */
    struct qdb_clock clock;
    int64_t wall_ahead_s; /* of that clock, when last looked at */
    uint32_t db_bits;
    struct map *active; /* n -> struct qmsg */
    struct list all;
    size_t n_active, n_rcpts; /* of messages in memory */
    size_t octets;            /* what they take, without content */
    size_t body_octets, n_fetching;
    struct timer load_timer;
    bool is_loading, has_backlog;
    int64_t next_due;
    bool is_draining;
};
extern struct qmgr qm;
/* Who sent it to this recipient, "" for <>: who hears of what became of it. The message's sender, unless an alias has an owner. */
static inline struct slice
qrcpt_sender(const struct qrcpt *r)
{
    return r->r->has_sender ? r->r->sender : r->m->env.sender;
}
/* What the next host is told. Recipients of one job have the same. */
static inline struct slice
qrcpt_mail_from(const struct qrcpt *r)
{
    return r->mail_from ? sl_z(r->mail_from) : qrcpt_sender(r);
}
/* "postfix/lmtp" for "lmtp": the program name under which Postfix would log this. Lives for ever. */
const char *qmgr_ident(const char *what);

/* ---- outcome.c ---- */
/* What came of trying a recipient: "4.4.1", "mx.x[192.0.2.1]:25" ("none" where nobody was asked), the words in brackets. */
struct outcome {
    const char *status; /* "sent", "deferred", "bounced", ... */
    struct slice dsn, relay, text;
    int64_t
        begun_us; /* clock: when the connection or, on one that was there, the transaction began; 0: none */
    int64_t conn_us, xfer_us;
    uint32_t
        conn_use; /* messages that the session with the other host has carried, this one counted; 0: not known */
};
/* Log it under the name of the mailer ("lmtp", "smtp", "error"). */
void outcome_log(const struct qrcpt *r, const char *mailer, const struct outcome *o);
/* A time as Postfix's log has it: "0.07", "0.1", "2", "2.5", "12". */
enum { OUTCOME_SECONDS_OCTETS = 32 };
const char *outcome_seconds(int64_t us, char out[OUTCOME_SECONDS_OCTETS]);

/* ---- active.c ---- */
/* Take a message into memory whose rows are (or will be) NULL-due; rcpts NULL: all of the envelope, new. The buffers are
 * moved in, also on failure. Touches nothing but the new object, so the writer's thread may call it too. NULL with e: the
 * envelope is bad. */
struct qmsg *active_new(uint64_t n, struct buf *packed, struct buf *body, bool is_file,
                        uint64_t size, uint32_t crc, const struct qdb_rcpt *rcpts, size_t n_rcpts,
                        struct err *e);
void active_begin(struct qmsg *m); /* log "queue active", route its recipients */
void active_free(struct qmsg *m);  /* one that never began */
bool active_is_room(void);
/* How many more recipients may come into memory. is_loaded: from the database; a part is kept for what comes anew. 0 also
 * when there are too many messages, or octets. */
size_t active_room(bool is_loaded);
size_t active_messages_room(bool is_loaded);
bool active_may_load(void);  /* there is room worth a turn of loading */
size_t active_round(void);   /* most recipients of a message that come into memory together */
void active_load_soon(void); /* something may be due */
void active_load_at(int64_t due);
struct qmsg *active_find(uint64_t n); /* follow `same` for more */
/* How long the queue has had it, whatever the wall clock did: for all limits of time. */
int64_t active_age_us(const struct qmsg *m);
void active_hold_ref(struct qmsg *m);
void active_drop_ref(struct qmsg *m); /* may free it */
/* The end of a recipient's round; record follows. A deferral of an expired message becomes a failure. */
enum sent_how {
    SENT_DELIVERED,
    SENT_RELAYED, /* to a host that reports nothing */
    SENT_ONWARD   /* to one that knows of DSN: it reports */
};
void active_sent(struct qrcpt *r, const struct outcome *o, enum sent_how how);
void active_deferred(struct qrcpt *r, const char *dsn, struct slice why);
void active_failed(struct qrcpt *r, const char *dsn, struct slice why);
/* Not tried: back to the database, for so long. record follows. */
void active_parked(struct qrcpt *r, int64_t seconds);
/* Write what these recipients of one message came to, and end the round with the last. The caller holds a reference. */
void active_record(struct qmsg *m, struct qrcpt **rs, size_t n);
/* Recipients that are not in a job leave memory: for ever where the message is_deleted, else for the database, to be due at
 * once unless it holds them. Those in a job follow when they come back, where the message is_held or is_deleted. */
void active_withdraw(struct qmsg *m);
/* Is the body there (or in a file)? */
bool active_has_body(const struct qmsg *m);
/* Give its memory back; it is read again when it is needed. Nothing happens while a job waits for it.
 * For messages that begin, or have a job: the writer does not look at theirs. */
void active_drop_body(struct qmsg *m);
/* r waits for its body; sched_fetched() follows. */
void active_fetch_body(struct qrcpt *r);
void active_free_all(void);

void active_log_removed(const struct qmsg *m);
int64_t active_next_due(const struct qmsg *m); /* of what is deferred now */

/* ---- report.c ---- */
/* Does anybody hear of this delivery, or of this recipient's delay so far? */
bool report_wants_sent(const struct qrcpt *r, enum sent_how how);
bool report_wants_late(const struct qrcpt *r);
/* Reports are owed (m->n_owed_reports): sent at the end of the round, or when the first has waited for long enough. The report
 * and the end of what it is about, a row that goes or changes, are one transaction. */
void report_owed(struct qmsg *m);
void report_init(void); /* the templates; again after a reload */
void report_forget(struct qmsg *m);

/* ---- route.c ---- */
struct route {
    enum { ROUTE_LMTP, ROUTE_RELAY, ROUTE_ERROR, ROUTE_TEMP, ROUTE_DISCARD, ROUTE_HOLD } kind;
    struct slice path; /* LMTP: socket, relative to queue_directory or absolute */
    struct slice
        nexthop; /* RELAY: domain, "[host]:port", or a list of such; locald's socket: "command:LINE",
                            * "file:PATH"; the others: text */
    const char *mailer;    /* "lmtp", "smtp", "relay": log name */
    const char *transport; /* name as main.cf has it; NULL: none was found */
    bool is_lmtp_inet;
    bool is_wrapper;  /* RELAY: TLS from the first octet */
    bool is_local;    /* mydestination: the mailbox is user@localhost */
    struct slice dsn; /* ERROR, TEMP, DISCARD, HOLD */
    const struct route_hop {
        struct slice hop;        /* "domain", "[host]:port" */
        struct slice tls_policy; /* what smtp_tls_policy_maps says of it; empty: nothing */
        struct slice auth;       /* "user:password", or empty */
    } * hops;                    /* RELAY: those of nexthop, then smtp_fallback_relay */
    size_t n_hops;
};
enum {
    ROUTE_HOPS_MAX = 20,                /* relayd takes as many */
    ROUTE_XROUTE_OCTETS_MAX = 30 * 1024 /* and a line as long */
};
/* Find the route of a recipient; fn comes now or later, exactly once. */
void route_find(struct qrcpt *r, void (*fn)(struct qrcpt *r, const struct route *route));
void route_reload(void);

/* ---- srs.c ---- */
/* Does it leave for another host because our aliases say so? Then, before it is scheduled: */
bool srs_is_for(const struct qrcpt *r, const struct route *route);
/* Set r->mail_from where the sender is to be rewritten. then comes now or later, once; false: nobody can say now. */
void srs_find(struct qrcpt *r, void (*then)(void *arg, bool is_known), void *arg);

#define LOCAL_SOCKET "private/local"

/* ---- transport.c ---- */
/* Fill kind and where to for "name:nexthop" (transport(5)), nexthop empty: the recipient's domain. Slices are borrowed from
 * the arguments and the configuration. A name that is not known waits (ROUTE_TEMP), with a warning. */
void transport_take(struct slice name, struct slice nexthop, struct slice domain, struct route *r);
void transport_split(struct slice spec, struct slice *name, struct slice *nexthop);

/* ---- sched.c ---- */
void sched_add(struct qrcpt *r, const struct route *route);
void sched_back(struct qrcpt *r); /* to the front of its destination */
/* The body that r waited for has been read, or cannot be: then r is the caller's. */
void sched_fetched(struct qrcpt *r, bool is_there);
void sched_remove(struct qrcpt *r);
void sched_kick(void);
/* The next job of a transport: recipients of one message, sender and destination, at most max; 0: none may begin. */
size_t sched_next(struct outlet *t, struct qrcpt **rs, size_t max);
void sched_prune(struct outlet *t);
void sched_reload(void); /* limits have changed */
/* Hosts are to be tried although they are dead: those with this next hop, empty: all. */
void sched_forget_dead(struct slice hop);
void sched_free(void); /* at the end, when no link is left */
/* How many jobs could begin now, up to most. */
size_t sched_runnable(const struct outlet *t, size_t most);
/* host_failed: why the host could not be reached, or NULL. May free d. */
void sched_job_ended(struct dest *d, bool worked, const char *host_failed);
/* Nobody has answered on the outlet's socket for transport_retry_time: what waits for it is put off. */
void sched_outlet_failed(struct outlet *t, const char *why);

/* What is known of a destination. Each has a share of the outlet's links that the next cannot have. */
enum dest_class {
    DEST_GOOD,  /* its last delivery worked */
    DEST_FRESH, /* not tried yet */
    DEST_BAD,   /* its last try failed, or of an unknown one: that of its first recipient */
    DEST_CLASSES
};

/* Pending recipients of one message for one destination, with one sender. */
struct batch {
    struct list link; /* dest->batches */
    struct dest *d;
    struct qmsg *m;
    struct list rcpts;
    size_t n;
};

struct dest {
    struct outlet *t;
    char *
        nexthop; /* a socket, or locald's TARGET, or XROUTE's argument (relay/relay_int.h) without secrets */
    char *secrets; /* the rest of XROUTE's argument: " AUTH.0=..." or NULL */
    enum limits_kind limits;
    enum dest_class class;
    uint64_t class_since_ms;
    struct list batches; /* they take turns */
    size_t n_pending;
    unsigned busy;
    struct window window;
    unsigned n_fetching; /* recipients taken off pending until their body is read */
    struct list
        link; /* t->ready[class] while it may begin a job, t->dying while what waits is put off */
    uint64_t dead_until_ms, used_ms;
    char *dead_why;
    uint64_t next_ms; /* rate delay: no job before this */
    struct timer delay;
    /* how fast it takes mail: recipients whose turn came in this and the last period */
    uint64_t period_ms;
    unsigned taken, taken_before;
};

/* A way out: one unix socket of an LMTP speaker. */
struct outlet {
    char *path;
    const char *mailer;
    bool is_relay;
    bool is_local;                   /* locald: commands and files (local/locald.h) */
    char *peer;                      /* "example.com[private/dovecot-lmtp]" */
    struct list ready[DEST_CLASSES]; /* dests that may begin a job, the next first */
    struct list dying;               /* dests whose pending recipients are being put off */
    struct list idle;                /* links, the last used first */
    struct list busy; /* links, the longest busy first; the slow ones are not among them */
    struct map *dests;
    unsigned turn;
    unsigned n_links, n_connecting;
    unsigned max_links, max_slow;   /* slow ones come on top */
    unsigned n_quick[DEST_CLASSES]; /* jobs that began a moment ago */
    unsigned n_slow;                /* the others */
    uint64_t paused_until_ms, pause_ms, warned_ms, down_since_ms;
    char *down_why; /* put off at once while paused; NULL: it is up, or was a moment ago */
    unsigned n_busy;
    struct timer resume, prune, age, bury;
};
struct outlet *sched_outlet(struct slice path, const char *mailer, bool is_relay);
void sched_each_outlet(void (*fn)(struct outlet *));

/* ---- deliver.c ---- */
/* Start as many jobs as there are links and recipients; open links where there are too few. */
void deliver_kick(struct outlet *t);
void deliver_stop(void); /* QUIT on idle links; no new jobs */
size_t deliver_busy(void);

/* ---- verify.c ---- */
void verify_init(void); /* blocks */
void verify_free(void);
/* Answered by intake_send_verdict(), soon; may start a probe. */
void verify_ask(uint64_t client, uint64_t req, struct slice addr, struct slice orig);
/* A probe's recipient has come to its end. */
void verify_ended(const struct qrcpt *r);
/* For status= in the log: "sent", "deferred", "bounced", and of a probe "deliverable", "undeliverable". */
const char *verify_status_word(const struct qmsg *m, enum smtp_outcome outcome);

/* ---- intake.c, admin.c ---- */
/* is_public: for tools of ordinary users, as authorized_mailq_users and authorized_flush_users say. */
void intake_accept(int fd, bool is_public);
struct chan;
/* What the other end of a connection may do: what qmgr's own user and root may, or of that only to look or to flush. */
struct admin_rights {
    bool may_all, may_list, may_flush;
};
/* smtpd's ETRN: what is deferred for this domain is tried now. */
void admin_flush(struct slice domain);
void admin_ask(uint64_t client, uint64_t req, struct slice in, struct admin_rights may);
void intake_send_verdict(uint64_t client, uint64_t req, bool is_known, enum verify_status status,
                         struct slice text);
/* A page to a tool whose connection is `client`; dropped when it is gone. */
void intake_send_page(uint64_t client, uint64_t req, bool more, uint64_t after, struct slice text);

/* ---- count_dirs.c ---- */
void count_dirs_init(void);
void count_dirs_reload(void); /* count anew, soon */

/* ---- why.c ---- */
/* The first next hop of a destination: "example.com", "[mx.x]:25", "private/dovecot-lmtp". Borrowed. */
struct slice sched_hop(const struct dest *d);
void why_tell(uint64_t client, uint64_t req, struct slice id);

#endif
