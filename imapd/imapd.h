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
#include "session/handoff.h"
#include "store/store.h"

#include <stdatomic.h>

#define IMAPD_CAPABILITY \
    "IMAP4rev1 SASL-IR LITERAL+ ID ENABLE IDLE NAMESPACE CHILDREN UNSELECT UIDPLUS MOVE SPECIAL-USE"

enum {
    IMAPD_IDLE_MS = 30 * 60 * 1000,     /* autologout: RFC 3501 §5.4 */
    IMAPD_WRITE_MS = 5 * 60 * 1000,     /* a client that reads nothing */
    IMAPD_BAD_MAX = 10,                 /* bad commands in a row */
    IMAPD_OUT_MARK = 64 * 1024,         /* a job hands its output over when it is this long */
    IMAPD_PIECE_OCTETS = 64 * 1024,     /* of an APPEND, and of a FETCH's literal */
    IMAPD_ARENA_OCTETS = 32 * 1024 * 1024, /* what a command of imap_max_line_length parses into */
    IMAPD_THREADS = 4
};

struct imap_cmd;
struct imap_idle;

/* Told when the session ends, in Dovecot's words. */
struct imap_stats {
    uint64_t in_octets, out_octets;                            /* loop */
    uint64_t deleted, expunged;                                /* J */
    uint64_t hdr_count, hdr_octets, body_count, body_octets;   /* J */
};

/* ---- reader.c: where the client is inside a command ---- */
enum reader_mode {
    READER_LINE,         /* up to the end of a line */
    READER_LITERAL,      /* octets of a literal that becomes part of the text */
    READER_STREAM,       /* octets of a literal that a command in work takes: APPEND */
    READER_SKIP_LITERAL, /* of a command that was refused */
    READER_SKIP_LINE
};
struct imap_reader {
    enum reader_mode mode;
    struct buf text;    /* the command so far; literals as "{n}" CRLF octets */
    size_t line_at;     /* where in text the current line begins */
    uint64_t left;      /* octets of the literal still to come */
    struct buf refusal; /* SKIP: the reply when the command has passed */
};

enum imap_state { IMAP_ST_AUTH = 1, IMAP_ST_SELECTED = 2 };

struct imap_sess {
    uint64_t id;
    struct list link;
    struct conn *conn;          /* NULL: the client is gone */
    char *user;                 /* canonical */
    char *name;                 /* log id */
    char *userip;               /* key of the connection count; NULL: not counted */
    struct conf *conf;
    struct store_user *store;   /* J; NULL until the first job opened it */
    struct store_view *view;    /* J; the selected mailbox */
    bool is_examine;            /* J */
    bool is_watched;            /* store_view_watch() is on */
    bool is_changed;            /* the watch fired since the last sync began */
    bool is_closing;            /* BYE was said, or the client is gone */
    bool is_drained;            /* BYE after the command in work */
    unsigned bad_count;
    const char *why;            /* for the log */
    struct imap_reader reader;
    struct imap_cmd *cmd;       /* in work */
    struct imap_idle *idle;     /* in IDLE */
    struct imap_stats stats;
};

/* ---- cmd.c ---- */
enum cmd_rc {
    CMD_DONE,
    CMD_FLUSH, /* hand over c->out, then run again when the client has taken enough */
    CMD_YIELD, /* others' turn, then run again */
    CMD_INPUT  /* hand over c->out, then run again with c->piece filled from the stream, or is_stream_end */
};
enum { /* of rows */
    IF_LOOP = 1,      /* needs no store: runs on the loop */
    IF_SYNC = 2,      /* the reply comes after what has changed in the mailbox */
    IF_KEEPS_SEQ = 4, /* that must not be EXPUNGE (RFC 3501 §7.4.1), except in the UID form */
    IF_UID = 8,       /* "UID name" exists too */
    IF_ONLY_UID = 16, /* and nothing else does (UID EXPUNGE has a row of its own) */
    IF_STREAM = 32    /* the last literal is streamed into the command */
};
struct imap_row {
    const char *name, *usage;
    unsigned states, flags;
    /* Arguments, from after the name; *in is left where it fails. Loop. Into c->args. */
    enum parse_rc (*parse)(struct imap_cmd *c, struct slice *in, struct err *e);
    enum cmd_rc (*run)(struct imap_cmd *c);
    void (*done)(struct imap_cmd *c); /* loop, before the command is freed; may be NULL */
};

struct imap_cmd {
    struct work_job job;
    struct imap_sess *s;
    const struct imap_row *row;
    struct buf text;       /* what tag and arguments point into */
    struct slice tag;
    bool is_uid;
    struct arena mem;
    void *args;            /* the row's own, in mem */
    void *run_state;       /* J; the row's own */
    struct buf out;        /* J; untagged responses */
    struct buf tagged;     /* J; "OK ..." without the tag */
    struct store_uids told; /* J; UIDs whose FLAGS the sync tells whether they changed or not (STORE) */
    bool is_bad;           /* J; counts as a bad command */
    bool must_end;         /* J; end the session after the reply */
    const char *why;       /* J; with must_end: for the log */
    enum cmd_rc rc;        /* J; of the last run() */
    bool is_parked, is_input_wanted; /* is_input_wanted: parked for octets of the stream */
    uint64_t stream_octets; /* IF_STREAM: size of the literal */
    bool is_stream_sync;
    struct buf piece;      /* J; octets of the stream */
    uint64_t stream_left;  /* of the literal, beyond piece */
    bool is_stream_end;    /* the command's last line was read */
    bool is_stream_bad;    /* it was not empty */
    atomic_bool is_cancelled;
};

const struct imap_row *imap_row_find(struct slice name, bool is_uid);
/* A command whose text is whole (or, IF_STREAM, whole but for its stream); takes text over. */
void imap_cmd_dispatch(struct imap_sess *s, struct buf *text);
void imap_cmd_dispatch_stream(struct imap_sess *s, struct buf *text, uint64_t octets, bool is_sync);
/* Tag, name, UID from the front of a command. Row NULL: not known. */
enum parse_rc imap_cmd_head(struct slice *in, struct slice *tag, struct slice *name, bool *is_uid,
                            const struct imap_row **row, struct err *e);
struct imap_cmd *imap_cmd_new(struct imap_sess *s, const struct imap_row *row);
void imap_cmd_start(struct imap_cmd *c); /* on the pool, or at once when IF_LOOP */
void imap_cmd_resume(struct imap_cmd *c);

/* For run(): the tagged reply, "OK [CODE] text" without tag and line end. The last one counts. */
void imap_reply(struct imap_cmd *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void imap_bad(struct imap_cmd *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* What an error of the store is to the client; what is the operator's is logged. mailbox: the name it was about, UTF-8, or
 * empty. code_notfound: "NONEXISTENT" or "TRYCREATE". */
void imap_fail(struct imap_cmd *c, const struct err *e, struct slice mailbox, const char *code_notfound);
bool imap_is_cancelled(const struct imap_cmd *c);
/* An untagged line. */
void imap_untagged(struct imap_cmd *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- names.c ---- */
/* From the wire: INBOX in any case, modified UTF-7. False: replied. Into c->mem. */
bool imap_name_decode(struct imap_cmd *c, struct slice raw, struct slice *name);
/* To the wire, as an astring. */
void imap_add_mailbox(struct buf *out, struct slice name);
/* name (as on the wire) against a LIST pattern; '.' is the separator. */
bool imap_list_match(struct slice pattern, struct slice name);

/* ---- sets.c ---- */
/* Sequence numbers of this view that a set names. False: replied BAD. Free seqs in either case. */
bool imap_set_resolve(struct imap_cmd *c, const struct imap_set *set, bool is_uid, struct store_uids *seqs);
/* Their UIDs. */
void imap_seqs_to_uids(const struct imap_cmd *c, const struct store_uids *seqs, struct store_uids *uids);

/* ---- notify.c ---- */
/* Bring the view up to date and say what changed. J. */
void imap_sync(struct imap_cmd *c, bool allow_expunge);
/* "(\Seen $Junk)" of a message. */
void imap_add_flags(struct buf *out, const struct store_view *v, const struct store_flags *f);
/* "* FLAGS (...)" and PERMANENTFLAGS. */
void imap_tell_flags(struct imap_cmd *c);

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
    struct slice user, mail; /* from authd */
    struct slice tag, input, name;
    char *userip;
};
void imap_sess_new(const struct imap_adopted *a);
void imap_sess_write(struct imap_sess *s, struct slice octets);
void imap_sess_writef(struct imap_sess *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* "* BYE text", then close; why is for the log (static). */
void imap_sess_bye(struct imap_sess *s, const char *text, const char *why);
/* After a command: the next one, the autologout, or the end. */
void imap_sess_continue(struct imap_sess *s);
void imap_sess_stop_watch(struct imap_sess *s);
void imap_sess_drain(void);

/* ---- adopt.c ---- */
struct auth_master;
extern struct auth_master *imap_auth;
void imap_adopt(uint64_t key, const struct handoff *h, int fd); /* handoff_serve()'s on_session */
void imap_userip_drop(char *userip); /* a counted session ended; frees it. NULL-safe */

/* ---- rows of cmd_*.c ---- */
extern const struct imap_row imap_row_idle_sync;
enum parse_rc imap_parse_none(struct imap_cmd *c, struct slice *in, struct err *e);
enum parse_rc imap_parse_mailbox(struct imap_cmd *c, struct slice *in, struct err *e); /* args: struct slice */
enum parse_rc imap_parse_set(struct imap_cmd *c, struct slice *in, struct err *e); /* args: struct imap_set */
#define IMAP_CMD(name) \
    enum parse_rc imap_parse_##name(struct imap_cmd *c, struct slice *in, struct err *e); \
    enum cmd_rc imap_run_##name(struct imap_cmd *c);
#define IMAP_RUN(name) enum cmd_rc imap_run_##name(struct imap_cmd *c);
IMAP_RUN(capability)
IMAP_RUN(noop)
IMAP_RUN(check)
IMAP_RUN(logout)
IMAP_CMD(id)
IMAP_CMD(enable)
IMAP_RUN(namespace)
IMAP_RUN(idle)
IMAP_RUN(select)
IMAP_RUN(examine)
IMAP_RUN(close)
IMAP_RUN(unselect)
IMAP_RUN(expunge)
IMAP_RUN(uid_expunge)
IMAP_CMD(create)
IMAP_RUN(delete)
IMAP_CMD(rename)
IMAP_RUN(subscribe)
IMAP_RUN(unsubscribe)
IMAP_CMD(list)
IMAP_RUN(lsub)
IMAP_CMD(status)
IMAP_CMD(append)
IMAP_CMD(fetch)
IMAP_CMD(store)
IMAP_CMD(copy)
IMAP_RUN(move)
IMAP_CMD(search)
void imap_done_idle(struct imap_cmd *c);
void imap_done_append(struct imap_cmd *c);
void imap_done_fetch(struct imap_cmd *c);
void imap_done_search(struct imap_cmd *c);

#endif
