/* pop3d/pop3d.h - what the files of pop3d share. The loop does the talking; what touches the store is a job on the work
 * pool, at most one a session, and while one is out no further command is taken. Folder-private.
 *
 *   adopt.c    login's offer, the cookie, the connection
 *   session.c  the life of a session: input, waiting, end
 *   alone.c    who may have a session now: pop3_lock_session, pop3_login_delay
 *   cmd.c      commands in the TRANSACTION state; those that are answered from memory
 *   job.c      a job's way out and back
 *   open.c     INBOX's messages and their sizes
 *   uidl.c     what messages are called
 *   send.c     RETR and TOP; surrogate.c: header fields in UTF-8 for clients that have not said UTF8
 *   update.c   QUIT, and what remains of a session without it
 *   logout.c   the log line at the end */
#ifndef POSTERN_POP3D_POP3D_H
#define POSTERN_POP3D_POP3D_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "conf/conf.h"
#include "core/addr.h"
#include "core/conn.h"
#include "core/loop.h"
#include "core/work.h"
#include "proto/pop3.h"
#include "store/pop3.h"
#include "store/store.h"

#include <stdatomic.h>

struct auth_master;
struct handoff;
struct map;
struct userips;

enum {
    POP3D_IDLE_MS = 10 * 60 * 1000, /* autologout: RFC 1939 §3 */
    POP3D_REST_MS = 3 * 1000,       /* without a command, then what can be made again is let go */
    POP3D_BAD_MAX = 20,             /* in a row, as Dovecot */
    POP3D_THREADS = 4,
    POP3D_THREADS_USER = 2, /* of these, for all sessions of a user */
    POP3D_IN_MAX = 4096,    /* read ahead of the command in work */
    POP3D_OUT_HIGH = 128 * 1024,
    POP3D_OUT_LOW = 32 * 1024,
    POP3D_PIECE_OCTETS = 64 * 1024, /* of a reply, made by the pool at a time */
    POP3D_TURN_MS = 30,             /* of a long job, then others have theirs */
    POP3D_MESSAGES_MAX = 10 * 1000 * 1000
};

enum pop3_state {
    POP3_WAITING, /* for another session of the user to end */
    POP3_OPENING,
    POP3_TRANSACTION,
    POP3_LISTING, /* a long reply waits for the client to read */
    POP3_SENDING, /* a job makes a reply */
    POP3_UPDATE,  /* QUIT, or the flags of a session whose client is gone */
    POP3_ENDING   /* conn_close() was called */
};

enum { /* of a message, by this session but for WAS_SEEN */
       POP3_MSG_DELETED = 1,
       POP3_MSG_SEEN = 2, /* to be made so in the UPDATE state */
       POP3_MSG_WAS_SEEN = 4,
       POP3_MSG_TOLD_GONE = 8
};

/* There may be millions: 12 octets each. */
struct pop3_msg {
    uint32_t uid;
    uint32_t size_low;
    uint16_t size_high;
    uint16_t is;
};

static inline uint64_t
pop3_size(const struct pop3_msg *m)
{
    return (uint64_t)m->size_high << 32 | m->size_low;
}

struct pop3_sess {
    uint64_t id;
    struct list link;
    struct conn *conn; /* NULL: the client is gone */
    struct conf *conf;
    char *user, *mail, *quota, *sid, *ip;
    char *userip; /* token of the connection count; NULL: not counted */
    enum pop3_state state;
    unsigned bad;
    bool is_utf8;         /* RFC 6856 §2.1 */
    bool is_resting;      /* since POP3D_REST_MS */
    const char *end_why;  /* of the log line; NULL: nobody said */
    uint64_t last_act_ms; /* the client's */
    int lock_fd;          /* -1: none */
    unsigned lock_tries;
    struct timer lock_timer;

    /* the job's while one is out */
    struct work_job job;
    bool is_job_out;
    atomic_bool is_cancelled; /* the client is gone: stop soon */
    struct err err;
    struct store_user *store;
    struct store_view *view;
    uint32_t uidvalidity;
    struct pop3_msg *v; /* in the order of LIST */
    size_t n;
    uint64_t size_octets; /* of all of them at login */
    size_t marked_n;      /* to be deleted; their octets */
    uint64_t marked_octets;
    size_t touched_at, touched_end; /* of v: RSET need not look at others; end 0: none */
    size_t n_max; /* while opening: room in v, which row comes next (0: all were taken) */
    uint32_t next_uid;
    uint32_t *orders;   /* and the places that an old server gave them; NULL: none */
    bool is_by_uid;     /* v is */
    bool has_kept_uidl; /* a message of them has a UIDL that stays */
    uint32_t last_seen; /* LAST: message number; 0 none */

    /* LISTING, or a job that goes from message to message */
    void (*list_row)(struct pop3_sess *s, size_t i, struct buf *out);
    size_t list_at, list_end;

    /* UIDLs, when the session must know them all */
    char **uidls; /* n; NULL: not yet */
    struct arena uidl_mem;
    struct map *uidl_names; /* while they are made, with pop3_uidl_duplicates = rename */
    bool is_one;            /* UIDL of one message */
    bool is_begun;          /* a piece of the answer is out */

    /* SENDING */
    size_t msg; /* index */
    bool is_top;
    bool is_whole;   /* the reply ended as it should */
    bool is_waiting; /* parked until the client has read */
    uint64_t top_lines;
    struct store_file *file;
    struct slice *parts; /* what is left to send: of the file, and of mem */
    size_t n_parts, part;
    struct arena part_mem;
    bool at_line_start, lacks_end; /* of the header */
    struct buf piece;

    bool with_deletes, is_removing, was_updated; /* UPDATE; list_at goes through what was touched */

    /* the log line */
    uint64_t top_n, top_octets, retr_n, retr_octets, deleted, deleted_octets, in_octets, out_octets;
    uint32_t lowest_retr; /* message number; 0 none */
};

struct pop3d {
    struct store *store;
    struct auth_master *auth;
    struct userips *userips;
    struct work_pool *pool;
    struct list sessions;
    size_t n_sessions;
    bool is_drained; /* a session ends when what it was told is done */
};
extern struct pop3d pop3d;

/* adopt.c */
void pop3_adopt(uint64_t key, const struct handoff *h, int fd);

/* session.c. */
struct pop3_adopted {
    int fd;            /* taken over */
    struct slice user; /* this and those below are copied */
    struct store_userdb db;
    struct slice sid, input;
    const char *ip;
    const struct conf *conf;
    bool is_utf8;
    char *userip; /* of userip_join(); taken over, or NULL */
};
void pop3_new(const struct pop3_adopted *a);
void pop3_say(struct pop3_sess *s, struct slice text); /* counts what goes out */
void pop3_sayf(struct pop3_sess *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void pop3_end(struct pop3_sess *s, const char *why); /* what is written still goes out */
void pop3_go_on(struct pop3_sess *s);                /* the command is answered: take the next */
void pop3_free(struct pop3_sess *s);
void pop3_drain(void);

/* alone.c. Open the mailbox when nobody else has it, or answer that somebody has. */
void pop3_begin(struct pop3_sess *s);
void pop3_lock_drop(struct pop3_sess *s);
/* False: this user was here a moment ago. */
bool pop3_delay_admits(struct slice user, const struct conf *conf);
void pop3_delay_forget(void);

/* cmd.c: take one command from the input; false: none is there yet. */
bool pop3_command(struct pop3_sess *s);
/* A command that is wrong. True: it was one too many, goodbye was said. */
bool pop3_count_bad(struct pop3_sess *s);
void pop3_list_more(struct pop3_sess *s); /* on with LISTING */
void pop3_list(struct pop3_sess *s, void (*row)(struct pop3_sess *, size_t, struct buf *));
/* POP3_MSG_DELETED or POP3_MSG_SEEN for message i, until RSET. */
void pop3_mark(struct pop3_sess *s, size_t i, uint16_t mark);

/* job.c */
void pop3_job(struct pop3_sess *s, enum pop3_state state, enum work_rc (*run)(struct work_job *),
              void (*done)(struct work_job *), void (*parked)(struct work_job *));
struct pop3_sess *pop3_of_job(struct work_job *j);
/* The job is back. False: the client left meanwhile, and so did the session. */
bool pop3_job_back(struct pop3_sess *s);
void pop3_job_drained(struct pop3_sess *s); /* the client has read */
/* What a job that makes a reply in pieces does when it is parked: write the piece, go on when the client has taken it. */
void pop3_job_piece(struct work_job *j);
/* In a job: the view is at hand. -1 with s->err. */
int pop3_view_wake(struct pop3_sess *s);
void pop3_log_err(const struct pop3_sess *s, const char *what);
/* -ERR with the response code for s->err (RFC 3206 §4). */
void pop3_say_err(struct pop3_sess *s, const char *what);

/* open.c */
void pop3_box_open(struct pop3_sess *s);
/* uidl.c: UIDL of message i, or of all (SIZE_MAX). */
void pop3_uidl(struct pop3_sess *s, size_t i);
/* send.c */
void pop3_box_send(struct pop3_sess *s, size_t i, bool is_top, uint64_t lines);
/* surrogate.c. Text of f, which begins with the message's header and may be cut, with other header fields in the place of those
 * that are in UTF-8 (RFC 6856 §2.1): into parts[] in the arena. Their number, and *octets of them together; 0: the text may
 * be sent as it is, parts and octets are left alone. */
size_t pop3_surrogate(struct store_file *f, struct slice text, struct arena *mem,
                      struct slice **parts, uint64_t *octets);
/* update.c. RSET with LAST: all are unseen (RFC 1460). */
void pop3_box_unsee(struct pop3_sess *s);
bool pop3_has_seen(const struct pop3_sess *s);
void pop3_box_update(struct pop3_sess *s, bool with_deletes);
void pop3_box_close(struct pop3_sess *s); /* then pop3_free() again */
/* logout.c */
void pop3_log_end(const struct pop3_sess *s);

#endif
