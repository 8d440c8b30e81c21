/* session/queue_client.h - handing a message to qmgr on private/queue. Used by smtpd, by qmgr's bounces (in process
 * form) and by `sendmail`. Asynchronous, on the loop; files are written on the work pool. Layer: session.
 *
 * Up to QUEUE_INLINE_OCTETS of content stay in memory and travel over the socket; more goes to a file in
 * $queue_directory/incoming, synced before the commit is asked for, its descriptor passed along. */
#ifndef POSTERN_SESSION_QUEUE_CLIENT_H
#define POSTERN_SESSION_QUEUE_CLIENT_H

#include "base/err.h"
#include "base/slice.h"

enum { QUEUE_INLINE_OCTETS = 64 * 1024, QUEUE_ID_OCTETS = 32 };

struct queue_client;
struct queue_client *queue_client_new(const char *socket_path, const char *incoming_dir);
void queue_client_free(struct queue_client **q);
bool queue_client_is_up(const struct queue_client *q); /* connected, answering, and granted ids */
/* How long qmgr may leave a question without an answer; then it is answered here, ERR_TEMP, and until qmgr says something
 * again everything is so at once. Default QUEUE_ANSWER_MS. */
enum { QUEUE_ANSWER_MS = 100 * 1000 };
void queue_client_set_limit(struct queue_client *q, uint64_t ms);

enum {
    NOTIFY_NEVER = 1,
    NOTIFY_SUCCESS = 2,
    NOTIFY_FAILURE = 4,
    NOTIFY_DELAY = 8
}; /* RFC 3461 §4.1 */
enum { RET_NONE, RET_FULL, RET_HDRS };

/* What is done with it. addr is an address in every case: for a command or file that of the alias which names it. */
enum queue_rcpt_kind {
    RCPT_ADDRESS,
    RCPT_EXPANDED, /* an address that led to others: nothing is delivered, its sender hears of it (RFC 3461 §5.2.7) */
    RCPT_COMMAND, /* target is a command line, without '|' */
    RCPT_FILE,    /* target is a path */
    RCPT_REFUSED, /* it goes back to its sender: target is why, "5.4.6 mail forwarding loop for x@y" */
    RCPT_KINDS
};

struct queue_rcpt {
    struct slice addr;  /* where to: final address after alias expansion, "u@d" */
    struct slice orig;  /* as RCPT gave it (X-Original-To); may equal addr */
    struct slice orcpt; /* ORCPT value, xtext decoded, "rfc822;u@d"; may be empty */
    unsigned notify;    /* NOTIFY_* bits; 0: not given */
    enum queue_rcpt_kind kind;
    bool is_forwarded; /* our aliases, or a table of ours, led here: SRS is for these */
    bool has_sender;   /* `sender` is this recipient's, not the envelope's; "" for <> */
    struct slice sender;
    struct slice
        target; /* RCPT_COMMAND, RCPT_FILE: out of aliases(5), no control characters; RCPT_REFUSED; else empty */
    struct slice
        alias; /* not empty: the address of ours whose alias led here: Delivered-To, where it goes on from here */
};
struct queue_env {
    char id[QUEUE_ID_OCTETS];
    struct slice sender; /* "" for <> */
    const struct queue_rcpt *rcpts;
    size_t n_rcpts;
    unsigned ret;          /* RET_* */
    struct slice envid;    /* decoded */
    bool is_8bit, is_utf8; /* BODY=8BITMIME seen; SMTPUTF8 needed */
    struct slice hold;     /* not empty: taken, and put on hold for this reason */
    struct slice refused;  /* not empty: taken only to be returned to its sender: "5.7.1 why" */
    /* For logs, XFORWARD and later filters */
    struct slice client_name, client_ip, helo, sasl_user,
        protocol; /* "mail.x", "192.0.2.1", "mail.x", "", "ESMTPS" */
};

/* A queue id, unique for ever (see design §3), logged from the first accepted recipient on. -1: qmgr has granted
 * none (it is away): answer 451. */
int queue_id_new(struct queue_client *q, char out[QUEUE_ID_OCTETS]);

/* One message's content on its way. Lines end CRLF as on the wire, dot-unstuffed; the queue keeps them as given. */
struct queue_put;
struct queue_put *queue_put_new(struct queue_client *q);
/* Add content. Errors (disk full) are kept and told at commit. */
void queue_put_write(struct queue_put *p, struct slice s);
/* Octets not yet on disk: above 1 MiB pause the producer; on_ready (may be NULL) is called when it fell. */
size_t queue_put_backlog(const struct queue_put *p);
void queue_put_on_ready(struct queue_put *p, void (*fn)(uint64_t id), uint64_t id);
/* Commit: when cb says rc 0 the message is on disk in queue.db: 250 may be answered. The env is copied. cb comes from
 * the loop exactly once; the put is freed before it. rc -1: e says why (ERR_TEMP, err_is_full). */
void queue_put_commit(struct queue_put *p, const struct queue_env *env,
                      void (*cb)(uint64_t id, int rc, const struct err *e), uint64_t id);
void queue_put_abort(struct queue_put **p);

/* Have deferred mail for a domain (or by way of it) tried now; the rest is qmgr's. False: qmgr is away. */
bool queue_flush(struct queue_client *q, struct slice domain);

/* Address verification: what qmgr's last probe of an address found, or that one is under way (ask again). */
enum verify_status { VERIFY_TODO, VERIFY_OK, VERIFY_DEFER, VERIFY_BOUNCE };
/* addr: final, after alias expansion; orig: what it came from, for the log. cb comes from the loop exactly once. rc -1: there
 * is no answer to be had. text: why, as the delivery's log line has it; valid during the call. */
void queue_verify(struct queue_client *q, struct slice addr, struct slice orig,
                  void (*cb)(uint64_t id, int rc, enum verify_status status, struct slice text),
                  uint64_t id);

#endif
