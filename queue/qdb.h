/* queue/qdb.h - queue.db: every message that was answered 250 and is not yet delivered or reported.
 *
 * A message is a row `message` (key: the counter inside its queue id) with the packed envelope and, up to
 * QUEUE_INLINE_OCTETS, the content; longer content is the file files/ID beside the database. A recipient that still has
 * to be served is a row `rcpt` (message, i). Envelope and content have a CRC-32 each, so that a damaged database can be
 * read row by row. The last recipient row takes its message with it.
 *
 * rcpt.due: NULL while qmgr has it in memory; else the second from which it may be tried (QDB_DUE_HELD: on hold). Opening
 * turns every NULL into 0: after a crash all of them are due, and marked as possibly delivered already.
 *
 * Exactly one connection, used by one thread: everything here blocks and is called from the writer (queue/writer.h), or
 * by tools while qmgr is not running. Layer: queue. */
#ifndef POSTERN_QUEUE_QDB_H
#define POSTERN_QUEUE_QDB_H

#include "base/buf.h"
#include "base/err.h"
#include "queue/qdb_clock.h"
#include "session/queue_proto.h"

#define QDB_DUE_HELD INT64_MAX

/* rcpt.flags. The operator's are in the database's hand alone: what is recorded of a delivery does not change them, however
 * long it was under way. */
enum {
    QDB_REPEAT = 1,  /* an earlier delivery may have happened */
    QDB_SENT = 2,    /* delivered, and a report is owed: status and why say how. Not tried again */
    QDB_RELAYED = 4, /* ... by a host that reports nothing itself */
    QDB_WARNED = 8,  /* the sender was told of the delay */
    QDB_NOBODY = 16, /* a bounce that failed, on hold because nobody could be told */
    QDB_EXPIRED = 0x100, /* an operator wants it returned at its next turn */
    QDB_FLUSHED =
        0x200, /* its next turn is one that an operator asked for: defer_transports does not count */
    QDB_BY_HAND =
        0x400, /* an operator holds it: due is QDB_DUE_HELD once it is not in memory any more */
    QDB_OPERATORS = QDB_EXPIRED | QDB_BY_HAND
};

struct qdb;

/* dir holds queue.db, files/ and the reserve; made when absent. A damaged database is kept under another name, and what can
 * be read of it taken over. After an unclean stop, or a mark, it is looked through for damage. ERR_TEMP. */
int qdb_open(const char *dir, struct qdb **out, struct err *e);
/* Damage was met: the next opening looks for it. */
void qdb_mark_damaged(const struct qdb *q);
/* For tools: no recovery, no due changes. ERR_TEMP when qmgr holds it. */
int qdb_open_readonly(const char *dir, struct qdb **out, struct err *e);
void qdb_close(struct qdb **q);
uint32_t qdb_db_bits(const struct qdb *q);
const struct qdb_clock *qdb_clock(const struct qdb *q); /* as long as q */
/* Counters below this were granted before this opening: their messages may have been tried already. */
uint64_t qdb_first_new_counter(const struct qdb *q);
const char *qdb_dir(const struct qdb *q);

/* ---- transactions: the writer's ---- */
int qdb_begin(struct qdb *q, struct err *e);
int qdb_commit(struct qdb *q, struct err *e);
void qdb_rollback(struct qdb *q);
/* Octets written to the log since the last checkpoint, roughly; and do one. truncate: give the log's room back. */
uint64_t qdb_wal_octets(const struct qdb *q);
int qdb_checkpoint(struct qdb *q, bool truncate, struct err *e);
/* Would a checkpoint find the room it may need? On a full disk it must not eat what the log needs. */
bool qdb_checkpoint_fits(struct qdb *q);
/* Give pages of the database that hold nothing back to the file system, a few MiB at a time; in a transaction of its own.
 * least: only when so many octets are to be had. */
int qdb_shrink(struct qdb *q, uint64_t least, struct err *e);
void qdb_drop_cache(struct qdb *q); /* pages in memory, when idle */

/* ---- the 4 MiB reserve: room to delete on a full disk ---- */
void qdb_release_reserve(struct qdb *q);
bool qdb_make_reserve(struct qdb *q); /* true when it is there (again) */
/* Free octets of the file system for others than root. */
uint64_t qdb_free_octets(const struct qdb *q);

/* ---- changes ---- */
int qdb_grant(struct qdb *q, uint32_t count, uint64_t *first, struct err *e);

struct qdb_put {
    uint64_t n; /* counter of the id */
    const char *id;
    struct slice env; /* packed */
    uint64_t size;
    uint32_t crc;
    struct slice body; /* or file */
    const char
        *file; /* path in incoming/, or NULL; moved, its new folder is synced before the commit */
    bool *
        is_moved; /* set when it was moved: then it is the caller's to remove if nothing comes of it; or NULL */
    uint32_t n_rcpts;
    int64_t due; /* INT64_MIN: NULL, qmgr keeps it in memory */
};
/* A file that is left without a row by a crash is removed at the next opening. */
int qdb_put(struct qdb *q, const struct qdb_put *p, struct err *e);

int qdb_rcpt_done(struct qdb *q, uint64_t n, uint32_t i, struct err *e);
struct qdb_defer {
    uint64_t n;
    uint32_t i;
    int64_t due;
    uint32_t attempts, flags;
    struct slice status; /* "4.4.1" */
    struct slice why;
    struct slice hop; /* next hop of this try; may be empty */
};
int qdb_rcpt_defer(struct qdb *q, const struct qdb_defer *d, struct err *e);
/* The same, whatever an operator has said meanwhile; due INT64_MIN: NULL, it stays in memory. */
int qdb_rcpt_set(struct qdb *q, const struct qdb_defer *d, struct err *e);
/* Not tried: only due and flags change. */
int qdb_rcpt_park(struct qdb *q, const struct qdb_defer *d, struct err *e);
/* Delete the message when no recipient is left. *gone tells; then the caller removes the file with
 * qdb_remove_file() after the commit. */
int qdb_message_reap(struct qdb *q, uint64_t n, bool *gone, struct err *e);
/* Every recipient of a message on hold, also those in memory (whose deliveries are taken back by the caller). */
int qdb_hold(struct qdb *q, uint64_t n, uint64_t *changed, struct err *e);
int qdb_message_delete(struct qdb *q, uint64_t n, bool *was_there, struct err *e);
void qdb_remove_file(struct qdb *q, const char *id);
/* What an operator wants of a message. Recipients in memory keep their NULL: they are called back by the caller, and what is
 * recorded of them then heeds what is set here. *changed counts rows; 0: there was nothing to do. */
enum qdb_act {
    QDB_FLUSH,   /* deferred ones are due now */
    QDB_HOLD,    /* on hold; those in memory once they come back */
    QDB_RELEASE, /* held ones are due now */
    QDB_REQUEUE, /* all are due now */
    QDB_EXPIRE,  /* returned to the sender at the next turn, which is now unless it is on hold */
    QDB_BOUNCE,  /* the same, and released */
    QDB_ACTS
};
int qdb_operate(struct qdb *q, enum qdb_act act, uint64_t n, int64_t now, uint64_t *changed,
                struct err *e);

/* The wall clock was set: what waits for its time waits so much longer, or shorter. In a transaction. */
int qdb_shift_due(struct qdb *q, int64_t seconds, struct err *e);

/* ---- reading ---- */
struct qdb_rcpt {
    uint32_t i;
    int64_t due; /* INT64_MIN: in memory */
    uint32_t attempts, flags;
    struct slice status, why;
    struct slice hop; /* next hop of the last try */
};
struct qdb_message {
    uint64_t n;
    const char *id;
    int64_t arrived_s;    /* by the wall clock, as it goes now */
    int64_t aged_from_us; /* by the queue's */
    uint64_t size;
    struct slice env;
    struct slice body; /* empty where `is_file`, or not asked for */
    uint32_t crc;
    bool is_file, is_env_ok;
    const struct qdb_rcpt *rcpts;
    size_t n_rcpts;
};
/* Messages with a recipient due at or before `now`, oldest due first; their due recipients become NULL (in memory). fn gets
 * each with exactly the recipients that became due; of one message at most `round`, the others stay due. */
struct qdb_take {
    int64_t now;
    size_t messages, rcpts; /* at most; the last message may exceed it by `least` */
    size_t round, least;    /* of one message: at most, and at least if it has them */
    size_t body_octets;     /* content too when it has at most that many */
};
typedef void qdb_fn(void *arg, const struct qdb_message *m);
int qdb_take_due(struct qdb *q, const struct qdb_take *t, qdb_fn *fn, void *arg, struct err *e);
/* Earliest due that is not held; INT64_MAX: none. */
int qdb_next_due(struct qdb *q, int64_t *due, struct err *e);
/* Messages after `after` by counter (roughly by arrival), with all recipients and without content, until fn says false. The
 * database may not be changed meanwhile. */
int qdb_walk(struct qdb *q, uint64_t after, bool (*fn)(void *arg, const struct qdb_message *m),
             void *arg, struct err *e);
/* A qdb_fn: append the content to the struct buf that arg points to. */
void qdb_take_body(void *arg, const struct qdb_message *m);
/* One message with its recipients and content; ERR_NOTFOUND. */
int qdb_get(struct qdb *q, uint64_t n, bool want_body, qdb_fn *fn, void *arg, struct err *e);
/* Messages by what the most urgent of their recipients has, of the first `most` recipients. */
enum qdb_state { QDB_ACTIVE, QDB_DEFERRED, QDB_HELD, QDB_STATES };
int qdb_count_states(struct qdb *q, uint64_t most, uint64_t counts[QDB_STATES], struct err *e);
/* Numbers of the first and the last message; 0, 0: there is none. */
int qdb_ends(struct qdb *q, uint64_t *first, uint64_t *last, struct err *e);
int qdb_count(struct qdb *q, uint64_t *messages, uint64_t *rcpts, uint64_t *held, struct err *e);
/* Recipients on hold with QDB_NOBODY. */
int qdb_count_nobody(struct qdb *q, uint64_t *rcpts, struct err *e);
/* Path of a message's file. out: PATH_MAX. */
const char *qdb_file_path(const struct qdb *q, const char *id, char *out, size_t out_octets);

/* Read every message whose checksums hold from a database that may be damaged, in order of arrival, each with the recipients
 * whose rows can be read; the number of messages skipped in *bad. */
int qdb_salvage(const char *db_path, qdb_fn *fn, void *arg, uint64_t *bad, struct err *e);

#endif
