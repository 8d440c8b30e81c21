/* pop3d/pop3d.h - what the files of pop3d share. The loop does the talking; what touches the store is a job on the work
 * pool (box.c), at most one a session, and while one is out no further command is taken. Folder-private.
 *
 *   adopt.c    login's offer, the cookie, the connection
 *   session.c  the life of a session: input, waiting, end, log
 *   cmd.c      RFC 1939's commands in the TRANSACTION state
 *   box.c      opening INBOX, sending a message, the UPDATE state */
#ifndef POSTERN_POP3D_POP3D_H
#define POSTERN_POP3D_POP3D_H

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "conf/conf.h"
#include "core/addr.h"
#include "core/conn.h"
#include "core/loop.h"
#include "core/work.h"
#include "proto/pop3.h"
#include "store/store.h"
#include "store/uidl.h"

#include <stdatomic.h>

struct auth_master;
struct handoff;

enum {
    POP3D_IDLE_MS = 10 * 60 * 1000, /* autologout: RFC 1939 §3 */
    POP3D_BAD_MAX = 20,
    POP3D_THREADS = 4,
    POP3D_THREADS_USER = 2, /* of these, for all sessions of a user */
    POP3D_IN_MAX = 4096,
    POP3D_PIECE_OCTETS = 64 * 1024, /* of a message, made by the pool at a time */
    POP3D_MESSAGES_MAX = 10 * 1000 * 1000
};

enum pop3_state {
    POP3_OPENING,
    POP3_TRANSACTION,
    POP3_LISTING, /* a long reply waits for the client to read */
    POP3_SENDING, /* RETR, TOP */
    POP3_UPDATE,  /* QUIT, or the flags of a session whose client is gone */
    POP3_ENDING   /* conn_close() was called */
};

struct pop3_msg {
    uint64_t size_octets;
    uint32_t uid;
    uint32_t order;           /* of an old server; UINT32_MAX: none */
    const char *uidl;         /* of an old server, in uidls; NULL: ours */
    bool is_deleted, is_seen; /* by this session, to be made so in the UPDATE state */
    bool was_seen;
};

struct pop3_sess {
    uint64_t id;
    struct list link;
    struct conn *conn; /* NULL: the client is gone */
    struct conf *conf;
    char *user, *mail, *quota, *sid, *ip;
    enum pop3_state state;
    unsigned bad;
    const char *end_why; /* of the log line; NULL: nobody said */

    /* the job's while one is out */
    struct work_job job;
    bool is_job_out;
    atomic_bool is_cancelled; /* the client is gone: stop soon */
    struct err err;
    struct store_user *store;
    struct store_view *view;
    uint32_t uidvalidity;
    struct store_uidls uidls;
    struct pop3_msg *v;
    size_t n;

    /* LISTING */
    void (*list_row)(struct pop3_sess *s, size_t i, struct buf *out);
    size_t list_at;

    /* SENDING */
    size_t msg; /* index */
    bool is_top;
    bool is_whole;   /* the reply ended as it should */
    bool is_waiting; /* parked until the client has read */
    uint64_t top_lines;
    struct store_file *file;
    struct slice rest;
    bool at_line_start;
    struct buf piece;

    bool with_deletes; /* UPDATE */

    /* the log line */
    uint64_t top_n, top_octets, retr_n, retr_octets, deleted, size_octets;
};

struct pop3d {
    struct store *store;
    struct auth_master *auth;
    struct work_pool *pool;
    struct list sessions;
    size_t n_sessions;
};
extern struct pop3d pop3d;

/* adopt.c */
void pop3_adopt(uint64_t key, const struct handoff *h, int fd);

/* session.c. pop3_new: user, db, sid are copied; fd is taken over. */
void pop3_new(int fd, struct slice user, const struct store_userdb *db, struct slice sid,
              const char *ip, struct slice input, const struct conf *conf);
void pop3_end(struct pop3_sess *s, const char *why); /* what is written still goes out */
void pop3_go_on(struct pop3_sess *s);                /* the command is answered: take the next */
void pop3_free(struct pop3_sess *s);
void pop3_drain(void);

/* cmd.c: take one command from the input; false: none is there yet. */
bool pop3_command(struct pop3_sess *s);
void pop3_list_more(struct pop3_sess *s); /* on with LISTING */

/* box.c: start a job. What follows comes from the loop. */
void pop3_box_open(struct pop3_sess *s);
void pop3_box_send(struct pop3_sess *s, size_t i, bool is_top, uint64_t lines);
void pop3_box_drained(struct pop3_sess *s); /* the client has read */
void pop3_box_update(struct pop3_sess *s, bool with_deletes);
void pop3_box_close(struct pop3_sess *s); /* then pop3_free() again */

#endif
