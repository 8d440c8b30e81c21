/* imapd/cmd.h - a command in work, what its run() may use, and the helpers that many of them share. Folder-private. */
#ifndef POSTERN_IMAPD_CMD_H
#define POSTERN_IMAPD_CMD_H

#include "imapd/imapd.h"

/* ---- cmd.c ---- */
enum cmd_rc {
    CMD_DONE,
    CMD_FLUSH, /* hand over c->out, then run again when the client has taken enough */
    CMD_YIELD, /* others' turn, then run again */
    CMD_ASK,   /* c->ask(c) is called on the loop; who has the answer calls imap_cmd_resume() */
    CMD_INPUT  /* IF_STREAM: hand over c->out, then run again with the next of c->stream */
};
enum {                   /* of rows */
       IF_LOOP = 1,      /* needs no store: runs on the loop */
       IF_SYNC = 2,      /* the reply comes after what has changed in the mailbox */
       IF_KEEPS_SEQ = 4, /* that must not be EXPUNGE (RFC 3501 §7.4.1), except in the UID form */
       IF_UID = 8,       /* "UID name" exists too */
       IF_ONLY_UID = 16, /* and nothing else does (UID EXPUNGE has a row of its own) */
       IF_STREAM = 32,   /* what follows its first arguments comes to run() piece by piece */
       IF_SAVES = 64,    /* what is too much for it is so for the quota */
       IF_SEQ = 128, /* takes or tells message numbers, except in the UID form (RFC 9586 §3.2) */
       IF_UNSELECTS = 256, /* may end the selected mailbox */
       IF_REMOVES =
           512 /* messages, which its own EXPUNGE responses say (NOTIFY takes no others away) */
};
enum { /* more of them */
       IF_STREAM_2ND =
           4096, /* IF_STREAM: two arguments come before that, the first of them no string */
       IF_LITERAL8 = 8192,  /* takes "~{n}" literals: imap_take_nstring8() */
       IF_ANNOTATES = 16384 /* imap_metadata_value_size bounds each literal */
};
struct imap_row {
    const char *name, *usage;
    unsigned states, flags;
    /* Arguments, from after the name; *in is left where it fails. Loop. Into c->args. IF_STREAM: the first ones alone. */
    enum parse_rc (*parse)(struct imap_cmd *c, struct slice *in, struct err *e);
    enum cmd_rc (*run)(struct imap_cmd *c);
    void (*done)(struct imap_cmd *c); /* loop, before the command is freed; may be NULL */
};

/* Of an IF_STREAM command what comes after its first arguments: lines, each up to a literal or the end of the command, and
 * octets of literals. When run() has seen a line that a literal follows, it wants that when it returns CMD_INPUT, having
 * said "+ OK" to a synchronising one. Where it returns CMD_DONE before the end the reader passes over the rest. */
struct imap_stream {
    bool is_new;             /* run() has not taken it yet (it may run again for another reason) */
    bool is_line;            /* else octets of the literal */
    bool is_end;             /* a line: nothing follows */
    bool is_sync, is_binary; /* a line, not the last: the literal that follows */
    uint64_t octets;         /* its size */
    uint64_t left;           /* of it, not yet brought */
    uint64_t at;             /* octets of the command before a line */
    struct buf piece;
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
        told; /* J; UIDs whose FLAGS the sync tells whether they changed or not (STORE) */
    bool is_told_silent; /* J; of them MODSEQ alone */
    const struct store_flag_change
        *told_change;       /* J; NULL, or what was asked for them: told of those that have gone */
    struct imap_news *news; /* J; notify.c's: the sync that is being told */
    bool is_run;            /* J; run() is done */
    uint32_t
        limit_uid;   /* J; not 0: MESSAGELIMIT cut its messages, this is the lowest that was kept */
    bool is_bad;     /* J; counts as a bad command */
    bool must_end;   /* J; end the session after the reply */
    const char *why; /* J; with must_end: for the log */
    enum cmd_rc rc;  /* J; of the last run() */
    bool is_parked, is_input_wanted; /* is_input_wanted: parked for octets of the stream */
    struct imap_stream stream;       /* J; the reader's while is_input_wanted */
    void (*ask)(struct imap_cmd *c); /* J; CMD_ASK */
    struct imap_urls *urls;          /* J; url.c's; NULL: no URL was opened */
    /* J; progress.c */
    const char *doing; /* "Searched"; NULL: "Processed" */
    uint64_t begun_ms, told_ms, done_before;
    atomic_bool is_cancelled;
};

const struct imap_row *imap_row_find(struct slice name, bool is_uid);
/* A command whose text is whole; takes text over. */
void imap_cmd_dispatch(struct imap_sess *s, struct buf *text);
/* IF_STREAM: up to a literal. */
void imap_cmd_dispatch_stream(struct imap_sess *s, struct buf *text, uint64_t octets, bool is_sync,
                              bool is_binary);
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
/* fail.c. What an error of the store is to the client; what is the operator's is logged. mailbox: the name it was about, UTF-8, or
 * empty. code_notfound: "NONEXISTENT" or "TRYCREATE". */
void imap_fail(struct imap_cmd *c, const struct err *e, struct slice mailbox,
               const char *code_notfound);
bool imap_is_cancelled(const struct imap_cmd *c);
/* The selected mailbox is no more, nor what "$" stood for. J; no watch is on. */
void imap_unselect(struct imap_sess *s); /* cmd_close.c */
/* An untagged line. */
void imap_untagged(struct imap_cmd *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- progress.c ---- */
/* For a run() that takes turns, once a turn: done of goal (0: not known) messages, or whatever it counts. Tells the client
 * [INPROGRESS] (RFC 9585) at most every ten seconds. True: something was told; return CMD_FLUSH rather than CMD_YIELD. */
bool imap_progress(struct imap_cmd *c, uint64_t done, uint64_t goal);

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
/* A set of UIDs, or "$", as UIDs, there or not; with '*' as the last of that view (NULL: none) and all
 * after it. */
void imap_set_uids(const struct imap_sess *s, const struct store_view *v,
                   const struct imap_set *set, struct store_uids *uids);
/* Their UIDs. */
void imap_seqs_to_uids(const struct imap_cmd *c, const struct store_uids *seqs,
                       struct store_uids *uids);
/* "1:3,5". */
void imap_add_set(struct buf *out, const struct store_uids *set);
/* The same from range `at` on, until it has so many octets; the range to go on with. */
size_t imap_add_set_from(struct buf *out, const struct store_uids *set, size_t at, size_t octets);
/* The same ranges, as written; '*' is UINT32_MAX. */
void imap_set_to_uids(const struct imap_set *set, struct store_uids *uids);

/* ---- condstore.c: MODSEQs (RFC 7162) ---- */
/* Does the client know of MODSEQs? Then FETCH responses that tell flags tell MODSEQ too. */
bool imap_has_condstore(const struct imap_sess *s);
/* Expunges are told by UID: QRESYNC, or UIDONLY. */
bool imap_has_vanished(const struct imap_sess *s);
/* The client switched these on (IMAP_ON_*), by ENABLE or by a command that uses them (§3.1). The first that makes it know of
 * MODSEQs is told HIGHESTMODSEQ when a mailbox is selected. Loop or J. */
void imap_enable(struct imap_cmd *c, unsigned on);
/* "VANISHED (EARLIER)": what has gone since, of these UIDs (NULL: all); lines of bounded length into c->out, which may be
 * some megabytes. -1: replied. */
int imap_tell_vanished(struct imap_cmd *c, uint64_t since_modseq, const struct store_uids *among);

/* "* VANISHED " earlier UIDs, in as many lines as that takes: long ones break clients. */
void imap_add_vanished(struct imap_cmd *c, const char *earlier, const struct store_uids *uids);

/* ---- limit.c: MESSAGELIMIT and SAVELIMIT (RFC 9738) ---- */
/* Keep as many of the set's highest as a command may work on (all, when there is no limit). Every number in it is a message: of
 * imap_set_resolve(), or is_uids, of imap_seqs_to_uids(). How many were left out; if any, the tagged reply gets its
 * [MESSAGELIMIT n uid] without more ado. */
size_t imap_limit_messages(struct imap_cmd *c, struct store_uids *set, bool is_uids);
/* Whether there is one. */
bool imap_has_limit(const struct imap_cmd *c);
/* For commands that do all or nothing: COPY, APPEND, THREAD. False: n messages are too many; replied NO. */
bool imap_limit_all(struct imap_cmd *c, size_t n);
/* " MESSAGELIMIT=n" or so, for CAPABILITY. */
void imap_add_limit_capability(const struct conf *c, struct buf *out);
/* The code of a command whose messages were cut goes into its tagged reply, or before it when that has another code. */
void imap_limit_tell(struct imap_cmd *c);

/* ---- notify_hear.c, notify_tell.c, notify_selected.c: NOTIFY (RFC 5465); nothing is done in sessions that have not used it ---- */
/* Loop, between commands: start one that tells what is due. */
void imap_notify_poke(struct imap_sess *s);
/* Whether changes of the selected mailbox are told as they come: in IDLE, or as NOTIFY said. */
bool imap_notify_hears(const struct imap_sess *s);
bool imap_notify_keeps_seq(const struct imap_sess *s); /* but for expunges, just now */
/* Around the sync of the view: whether expunges may be told; what is not asked for is taken away. J. */
bool imap_notify_sync_begins(struct imap_cmd *c, bool allow_expunge);
void imap_notify_sync_ends(struct imap_cmd *c, struct store_changes *ch);
void imap_notify_unselected(struct imap_sess *s); /* J; before it is */
/* The client put messages into that mailbox: this is no news to it. J. */
void imap_notify_added(struct imap_cmd *c, struct slice mailbox, const uint32_t *uids,
                       size_t count);
/* Tell at once what waits half a second: taken on the loop, told by run(), which ends when CMD_DONE comes, and finished by done(). */
void imap_notify_take(struct imap_sess *s);
enum cmd_rc imap_notify_tell(struct imap_cmd *c);
void imap_done_notify_tell(struct imap_cmd *c);
void imap_notify_free(struct imap_sess *s); /* loop */

/* ---- notify.c ---- */
/* Bring the view up to date and say what changed. False: hand c->out over and call again. J. */
bool imap_sync(struct imap_cmd *c, bool allow_expunge);
void imap_sync_free(struct imap_cmd *c); /* a sync that was not told to the end */
/* "* 3 FETCH (", or "* 17 UIDFETCH (" with UIDONLY (RFC 9586 §3.3); the items and ")" are the caller's. */
void imap_begin_fetch(struct imap_cmd *c, uint32_t seq, uint32_t uid);
/* "MODSEQ (n)" of a FETCH response, and that it was told; or that alone. */
void imap_note_modseq(struct imap_sess *s, uint64_t modseq);
void imap_add_modseq(struct imap_cmd *c, uint64_t modseq);
/* "(\Seen $Junk)" of a message of the selected mailbox. */
void imap_add_flags(struct buf *out, const struct imap_sess *s, const struct store_flags *f);
/* "* FLAGS (...)" and PERMANENTFLAGS. */
void imap_tell_flags(struct imap_cmd *c);

#endif
