/* imapd/cmd.h - a command in work, what its run() may use, and the helpers that many of them share. Folder-private. */
#ifndef POSTERN_IMAPD_CMD_H
#define POSTERN_IMAPD_CMD_H

#include "imapd/imapd.h"

/* ---- cmd.c ---- */
enum cmd_rc {
    CMD_DONE,
    CMD_FLUSH, /* hand over c->out, then run again when the client has taken enough */
    CMD_YIELD, /* others' turn, then run again */
    CMD_INPUT /* hand over c->out, then run again with c->piece filled from the stream, or is_stream_end */
};
enum {                   /* of rows */
       IF_LOOP = 1,      /* needs no store: runs on the loop */
       IF_SYNC = 2,      /* the reply comes after what has changed in the mailbox */
       IF_KEEPS_SEQ = 4, /* that must not be EXPUNGE (RFC 3501 §7.4.1), except in the UID form */
       IF_UID = 8,       /* "UID name" exists too */
       IF_ONLY_UID = 16, /* and nothing else does (UID EXPUNGE has a row of its own) */
       IF_STREAM = 32,   /* the last literal is streamed into the command */
       IF_SAVES = 64,    /* what is too much for it is so for the quota */
       IF_SEQ = 128 /* takes or tells message numbers, except in the UID form (RFC 9586 §3.2) */
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
    struct buf text; /* what tag and arguments point into */
    struct slice tag;
    bool is_uid;
    struct arena mem;
    void *args;        /* the row's own, in mem */
    void *run_state;   /* J; the row's own */
    struct buf out;    /* J; untagged responses */
    struct buf tagged; /* J; "OK ..." without the tag */
    struct store_uids
        told;        /* J; UIDs whose FLAGS the sync tells whether they changed or not (STORE) */
    bool is_bad;     /* J; counts as a bad command */
    bool must_end;   /* J; end the session after the reply */
    const char *why; /* J; with must_end: for the log */
    enum cmd_rc rc;  /* J; of the last run() */
    bool is_parked, is_input_wanted; /* is_input_wanted: parked for octets of the stream */
    uint64_t stream_octets;          /* IF_STREAM: size of the literal */
    bool is_stream_sync;
    struct buf piece;     /* J; octets of the stream */
    uint64_t stream_left; /* of the literal, beyond piece */
    bool is_stream_end;   /* the command's last line was read */
    bool is_stream_bad;   /* it was not empty */
    atomic_bool is_cancelled;
};

const struct imap_row *imap_row_find(struct slice name, bool is_uid);
/* A command whose text is whole (or, IF_STREAM, whole but for its stream); takes text over. */
void imap_cmd_dispatch(struct imap_sess *s, struct buf *text);
void imap_cmd_dispatch_stream(struct imap_sess *s, struct buf *text, uint64_t octets, bool is_sync);
/* What a command begins with: tag, name and UID, and its row; *in is left after them. NULL: there is no such command, or not
 * in this state; the reply is appended to *why. */
const struct imap_row *imap_cmd_head(const struct imap_sess *s, struct slice *in, struct slice *tag,
                                     bool *is_uid, struct buf *why);
struct imap_cmd *imap_cmd_new(struct imap_sess *s, const struct imap_row *row);
void imap_cmd_start(struct imap_cmd *c); /* on the pool, or at once when IF_LOOP */
void imap_cmd_resume(struct imap_cmd *c);

/* For run(): the tagged reply, "OK [CODE] text" without tag and line end. The last one counts. */
void imap_reply(struct imap_cmd *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void imap_bad(struct imap_cmd *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* What an error of the store is to the client; what is the operator's is logged. mailbox: the name it was about, UTF-8, or
 * empty. code_notfound: "NONEXISTENT" or "TRYCREATE". */
void imap_fail(struct imap_cmd *c, const struct err *e, struct slice mailbox,
               const char *code_notfound);
bool imap_is_cancelled(const struct imap_cmd *c);
/* An untagged line. */
void imap_untagged(struct imap_cmd *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- names.c ---- */
/* From the wire: INBOX in any case, modified UTF-7 or, where enabled, UTF-8. False: replied. Into c->mem. */
bool imap_name_decode(struct imap_cmd *c, struct slice raw, struct slice *name);
/* To the wire, without quotes: what LIST's patterns are held against. -1: no such form. */
int imap_name_encode(const struct imap_sess *s, struct slice name, struct buf *out);
/* The same as an astring, onto c->out. */
void imap_add_mailbox(struct imap_cmd *c, struct slice name);
/* A LIST pattern, to hold names (as on the wire) against. In mem; NULL, which matches nothing, when that
 * is full. */
struct list_pattern;
struct list_pattern *imap_pattern_new(struct arena *mem, struct slice pattern, char separator);
bool imap_pattern_match(const struct list_pattern *p, struct slice name);

/* ---- sets.c ---- */
/* Sequence numbers of this view that a set names. False: replied BAD, because it names sequence
 * numbers that are not there. Free seqs in either case. */
bool imap_set_resolve(struct imap_cmd *c, const struct imap_set *set, bool is_uid,
                      struct store_uids *seqs);
/* The same where numbers that are not there are nothing: SEARCH. */
void imap_set_find(struct imap_cmd *c, const struct imap_set *set, bool is_uid,
                   struct store_uids *seqs);
/* Their UIDs. */
void imap_seqs_to_uids(const struct imap_cmd *c, const struct store_uids *seqs,
                       struct store_uids *uids);

/* ---- notify.c ---- */
/* Bring the view up to date and say what changed. J. */
void imap_sync(struct imap_cmd *c, bool allow_expunge);
/* "(\Seen $Junk)" of a message. */
void imap_add_flags(struct buf *out, const struct store_view *v, const struct store_flags *f);
/* "* FLAGS (...)" and PERMANENTFLAGS. */
void imap_tell_flags(struct imap_cmd *c);

#endif
