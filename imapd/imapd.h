/* imapd/imapd.h - what the files of imapd share: a session, a command in work, and who calls whom.
 *
 * The loop's thread does I/O, framing and parsing; everything that touches the store is a job on the work pool. A session has
 * at most one command in work, and while there is one its input is paused. So the fields below belong either to the loop, or
 * to the job while one is out (marked J); is_cancelled alone is shared.
 *
 *   octets -> reader.c (lines and literals) -> cmd.c (row, parse) -> cmd_*.c run() on the pool
 *          -> notify.c (untagged EXISTS, EXPUNGE, FETCH) -> tagged reply -> session.c writes it
 *
 * A session that waits, in IDLE too, holds this struct, a socket and the store's view; command, buffers and arena
 * live only as long as a command does. Folder-private. */
#ifndef POSTERN_IMAPD_IMAPD_H
#define POSTERN_IMAPD_IMAPD_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "conf/conf.h"
#include "core/addr.h"
#include "core/conn.h"
#include "core/loop.h"
#include "core/work.h"
#include "proto/imap.h"
#include "proto/imap_id.h"
#include "session/handoff.h"
#include "store/store.h"

#include <stdatomic.h>

enum {
    IMAPD_IDLE_MS = 30 * 60 * 1000,        /* autologout: RFC 3501 §5.4 */
    IMAPD_WRITE_MS = 5 * 60 * 1000,        /* a client that reads nothing */
    IMAPD_LITERAL_MINUS_OCTETS = 4096,     /* RFC 7888 §5 */
    IMAPD_BAD_MAX = 10,                    /* bad commands in a row */
    IMAPD_OUT_MARK = 64 * 1024,            /* a job hands its output over when it is this long */
    IMAPD_PIECE_OCTETS = 64 * 1024,        /* of an APPEND, and of a FETCH's literal */
    IMAPD_ARENA_OCTETS = 32 * 1024 * 1024, /* what a command of imap_max_line_length parses into */
    IMAPD_THREADS = 4,
    IMAPD_THREADS_USER = 2 /* of these, for all sessions of a user */
};

struct imap_cmd;
struct imap_context;
struct imap_idle;
struct imap_notify;

/* Told when the session ends, in Dovecot's words. */
struct imap_stats {
    uint64_t in_octets, out_octets;                          /* loop */
    uint64_t deleted, expunged;                              /* J */
    uint64_t hdr_count, hdr_octets, body_count, body_octets; /* J */
};

/* ---- reader.c: where the client is inside a command ---- */
enum reader_mode {
    READER_LINE,         /* up to the end of a line */
    READER_LITERAL,      /* octets of a literal that becomes part of the text */
    READER_STREAM,       /* lines and literals go to the command in work: APPEND */
    READER_SKIP_LITERAL, /* of a command that was refused */
    READER_SKIP_LINE
};
struct imap_reader {
    enum reader_mode mode;
    struct buf text;    /* the command so far; literals as "{n}" CRLF octets */
    size_t line_at;     /* where in text the current line begins */
    uint64_t left;      /* octets of the literal still to come */
    uint64_t begun;     /* STREAM: the session's in_octets before the command */
    uint64_t skipped;   /* SKIP: octets of literals */
    struct buf refusal; /* SKIP: the reply when the command has passed */
};

enum imap_state { IMAP_ST_AUTH = 1, IMAP_ST_SELECTED = 2 };

/* What the client has switched on, by ENABLE (RFC 5161) or by using it; for the rest of the session. */
enum imap_enabled {
    IMAP_ON_CONDSTORE = 1, /* RFC 7162 §3.1: untagged FETCH has MODSEQ */
    IMAP_ON_QRESYNC = 2,   /* §3.2: VANISHED for EXPUNGE; brings CONDSTORE */
    IMAP_ON_REV2 = 4,      /* RFC 9051: no RECENT, ESEARCH for SEARCH, names in UTF-8 */
    IMAP_ON_UTF8 = 8,      /* RFC 6855 */
    IMAP_ON_UIDONLY =
        16 /* RFC 9586: no message numbers, UIDFETCH for FETCH; VANISHED for EXPUNGE */
};

struct imap_sess {
    uint64_t id;
    struct list link;
    struct conn *conn;          /* NULL: the client is gone */
    char *user;                 /* canonical */
    uint64_t work_key;          /* the user's, on the work pool */
    char *name;                 /* log id */
    char *mail, *quota;         /* userdb's, see struct store_userdb */
    char *capability;           /* userdb's changes of the list; NULL: none */
    char *id_capability;        /* those by what the client says of itself */
    struct imap_origin *origin; /* where it came from, for who takes it back; NULL: not known */
    char *userip;               /* key of the connection count; NULL: not counted */
    struct conf *conf;
    struct store_user *store;      /* J; NULL until the first job opened it */
    struct store_view *view;       /* J; the selected mailbox */
    bool is_examine;               /* J */
    uint64_t full_modseq;          /* J; up to here the client was told all */
    uint64_t fetch_modseq;         /* J; the highest MODSEQ told since the last sync */
    unsigned enabled;              /* IMAP_ON_*; J, and the loop's between commands */
    struct store_uids saved;       /* J; UIDs that "$" stands for (RFC 5182) */
    struct imap_context *contexts; /* J; searches that are kept up to date (RFC 5267) */
    bool is_literal_minus;         /* the client is not offered more: RFC 7888 §5 */
    bool is_watched;               /* store_view_watch() is on */
    bool is_changed;               /* the watch fired since the last sync began */
    bool is_sync_failed;           /* J; the last one: what has changed was not told */
    bool is_closing;               /* BYE was said, or the client is gone */
    bool is_drained;               /* BYE after the command in work */
    unsigned bad_count;
    const char *why; /* for the log */
    struct imap_reader reader;
    struct imap_cmd *cmd;       /* in work */
    struct imap_idle *idle;     /* in IDLE */
    struct imap_notify *notify; /* J, and the loop's between commands; NULL: NOTIFY was not used */
    struct imap_stats stats;
};

/* ---- idle.c ---- */
void imap_idle_line(struct imap_sess *s, struct slice line); /* a line came in IDLE */
void imap_idle_poke(struct imap_sess *s); /* tell changes if there are any and nothing is in work */
void imap_idle_free(struct imap_sess *s); /* loop; no reply */

/* ---- reader.c ---- */
void imap_reader_run(struct imap_sess *s);
void imap_reader_free(struct imap_reader *r);
/* Answer with this line when the command's octets, `octets` of a literal next, have passed: at once when the literal is
 * a synchronising one, for then they do not come. */
void imap_reader_refuse(struct imap_sess *s, struct slice reply, uint64_t octets, bool is_sync);
/* The command that was given the stream is over: the rest of it, if there is any, is passed over. */
struct imap_stream;
void imap_reader_stream_over(struct imap_sess *s, const struct imap_stream *st);

/* ---- session.c ---- */
struct imapd_shared {
    struct store *store;
    struct work_pool *pool;
    struct list sessions;
};
extern struct imapd_shared imapd;
/* A session that was adopted. Takes fd and userip (malloc'ed); input comes before what is read from fd. It opens the user's
 * store and answers tag. */
struct imap_adopted {
    int fd;
    const struct conf *conf;
    struct slice user; /* from authd, as is db */
    struct store_userdb db;
    const struct addr *remote, *local; /* of the client; NULL: not known */
    bool is_tls;                       /* login relays */
    struct slice capability;           /* authd's too */
    struct slice client_id;            /* ID before login, as the client wrote it; or empty */
    struct slice tag, input, name;
    char *userip;
};
void imap_sess_new(const struct imap_adopted *a);
void imap_sess_write(struct imap_sess *s, struct slice octets);
void imap_sess_writef(struct imap_sess *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* "* BYE text", then close; why is for the log (static). */
void imap_sess_bye(struct imap_sess *s, const char *text, const char *why);
/* After a command: the next one, the autologout, or the end. */
void imap_sess_continue(struct imap_sess *s);
void imap_sess_stop_watch(struct imap_sess *s);
void imap_sess_drain(void);

/* ---- cmd_unauthenticate.c ---- */
struct imap_origin *imap_origin_new(const struct imap_adopted *a);

/* ---- capability.c ---- */
/* The names that this session is offered, with spaces between. */
void imap_add_capabilities(const struct imap_sess *s, struct buf *out);
bool imap_is_literal_minus(const struct imap_sess *s); /* by that list; kept in the field */
void imap_note_id(struct imap_sess *s, const struct imap_id *id); /* loop; the list may change */
/* Names travel as UTF-8 rather than in modified UTF-7, and quoted strings may hold it. */
static inline bool
imap_is_utf8(const struct imap_sess *s)
{
    return (s->enabled & (IMAP_ON_REV2 | IMAP_ON_UTF8)) != 0;
}

/* ---- adopt.c ---- */
struct auth_master;
struct userips;
extern struct auth_master *imap_auth;
extern struct userips *imap_userips; /* sessions by user and address, of all workers */
void imap_adopt(uint64_t key, const struct handoff *h, int fd); /* handoff_serve()'s on_session */

#endif
