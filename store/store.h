/* store/store.h - users' mail: Maildir++ folders with a SQLite index beside them. Everything here blocks (files,
 * SQLite): call it on a work pool, except where a function says "loop". Handles of one user may be used by several
 * threads at once; a view belongs to one job at a time. Layer: store.
 *
 * Mailbox names are UTF-8, "INBOX" first, with levels between store_separator(); on disk as mail_location says, mostly in
 * modified UTF-7 side by side (".Sent", ".Archive.2026").
 * The promises of docs/architecture.md on UIDs, MODSEQs and durability are kept here. */
#ifndef POSTERN_STORE_STORE_H
#define POSTERN_STORE_STORE_H

#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"

enum {
    STORE_NAME_MAX_OCTETS =
        1000, /* a mailbox name in UTF-8; each level on disk must fit NAME_MAX */
    STORE_DEPTH_MAX = 32,
    STORE_KEYWORDS_MAX = 64, /* per mailbox; the first 26 also as letters in file names */
    STORE_KEYWORD_MAX_OCTETS = 100
};

struct store; /* one a process */
int store_new(const struct conf *c, struct store **out, struct err *e);
void store_free(struct store **s);
/* What is told of new messages is computed before it is asked for, in the background. On the loop, once. */
void store_fill_ahead(struct store *s);

/* ---- a user ---- */
struct
    store_user; /* counted; the index database behind it is opened on need and kept in a bounded LRU */
struct store_userdb {  /* what userdb says of a user; each may be empty */
    struct slice mail; /* mail location, over mail_location */
    struct slice
        quota; /* lines of NAME=VALUE LF: quota_rule, quota_rule2 and what else store/quota.h names */
};
/* name "u@d". db NULL: userdb says nothing. Makes the Maildir when absent. A handle that is open already takes over the
 * newest quota rules. */
int store_user_open(struct store *s, struct slice name, const struct store_userdb *db,
                    struct store_user **out, struct err *e);
/* Between the levels of mailbox names: '.', or '/' with LAYOUT=fs. */
char store_separator(const struct store_user *u);
void store_user_close(struct store_user **u);

/* ---- flags ---- */
enum {
    STORE_SEEN = 1,
    STORE_ANSWERED = 2,
    STORE_FLAGGED = 4,
    STORE_DELETED = 8,
    STORE_DRAFT = 16,
    STORE_RECENT = 32 /* this view's alone */
};
struct store_flags {
    uint32_t sys;
    uint64_t kw; /* bit i: the mailbox's keyword i */
};

/* ---- mailboxes ---- */
enum {
    STORE_MB_NOSELECT = 1,
    STORE_MB_NONEXISTENT = 2,
    STORE_MB_HAS_CHILDREN = 4,
    STORE_MB_SUBSCRIBED = 8,
    STORE_MB_USE_DRAFTS = 16,
    STORE_MB_USE_SENT = 32,
    STORE_MB_USE_TRASH = 64,
    STORE_MB_USE_JUNK = 128,
    STORE_MB_USE_ARCHIVE = 256,
    STORE_MB_USE_ALL = 512,
    STORE_MB_USE_FLAGGED = 1024,
    STORE_MB_UNMARKED = 2048,
    STORE_MB_MARKED = 4096
};
struct store_mailbox {
    char *name;     /* UTF-8 */
    unsigned attrs; /* STORE_MB_* */
};
struct store_mailboxes {
    struct store_mailbox
        *v; /* sorted by name, INBOX first; parents that do not exist are there as NONEXISTENT */
    size_t n;
};
/* All mailboxes; subscribed names that do not exist are included as NONEXISTENT | SUBSCRIBED. */
int store_list(struct store_user *u, struct store_mailboxes *out, struct err *e);
void store_mailboxes_free(struct store_mailboxes *m);

/* ERR_CLIENT: the name is not allowed; ERR_EXISTS; ERR_NOTFOUND. use: STORE_MB_USE_* or 0 (RFC 6154). */
int store_create(struct store_user *u, struct slice name, unsigned use, struct err *e);
int store_delete(struct store_user *u, struct slice name,
                 struct err *e); /* children stay; then it is NOSELECT */
int store_rename(struct store_user *u, struct slice from, struct slice to,
                 struct err *e); /* INBOX: moves its mail */
/* Any valid name may be subscribed, existing or not. */
int store_subscribe(struct store_user *u, struct slice name, bool on, struct err *e);

struct store_status {
    uint32_t messages, recent, unseen, deleted, uidnext, uidvalidity;
    uint64_t highestmodseq, size_octets;
    char mailbox_id[40]; /* object id, RFC 8474 */
};
int store_status(struct store_user *u, struct slice name, struct store_status *out, struct err *e);
/* The same of many at once, as far as they are as they were when they were last looked at: is_known. The others are for
 * store_status(). */
int store_status_unchanged(struct store_user *u, const char *const *names, size_t n,
                           struct store_status *out, bool *is_known, struct err *e);
/* Of files that an EXPUNGE would remove (RFC 9208, DELETED-STORAGE). */
int store_deleted_octets(struct store_user *u, struct slice name, uint64_t *out, struct err *e);

/* ---- a selected mailbox: one session's view ---- */
struct store_view;
int store_select(struct store_user *u, struct slice name, bool is_readonly, struct store_view **out,
                 struct err *e);
void store_unselect(struct store_view **v);

struct store_box {
    uint32_t exists, recent, first_unseen_seq, uidnext, uidvalidity;
    uint64_t highestmodseq;
    bool is_readonly, keywords_full;
    char mailbox_id[40];
};
void store_view_box(const struct store_view *v, struct store_box *out);
struct slice store_view_name(const struct store_view *v);
/* Keyword i of the mailbox, or NULL past the last (names keep their place as long as the view lives). */
const char *store_view_keyword(const struct store_view *v, size_t i);

struct store_row { /* what is always at hand */
    uint32_t uid;
    struct store_flags flags; /* with STORE_RECENT where it applies */
    uint64_t modseq;
};
/* seq 1..exists. False out of range. Never touches the disk. */
bool store_view_row(const struct store_view *v, uint32_t seq, struct store_row *out);
/* A message that the view still counts, and that is known to be gone since the last sync. */
bool store_view_is_gone(const struct store_view *v, uint32_t seq);
/* The sequence number of a UID, or 0; and of the first UID at least that (exists + 1 when none). */
uint32_t store_view_seq(const struct store_view *v, uint32_t uid);
uint32_t store_view_seq_at_least(const struct store_view *v, uint32_t uid);

/* Bring the view up to date with the mailbox. Expunges are applied to sequence numbers only when allow_expunge; else
 * they wait, and the gone messages answer with ERR_NOTFOUND when read. Arrays are malloc'ed: store_changes_free(). */
struct store_changes {
    uint32_t *expunged; /* sequence numbers in the order to announce (each as of the ones before) */
    uint32_t *vanished; /* the same messages' UIDs */
    size_t n_expunged;
    uint32_t *
        changed; /* sequence numbers, ascending, after the expunges: flags or modseq differ; own silent ones left out */
    size_t n_changed;
    uint32_t *silent; /* those left out: sequence numbers, ascending, after the expunges */
    size_t n_silent;
    bool exists_changed, recent_changed, keywords_changed;
    bool has_held;   /* expunges wait, because they were not allowed */
    bool is_gone;    /* the mailbox was deleted */
    bool is_invalid; /* UIDVALIDITY changed under us: end the session */
};
int store_view_sync(struct store_view *v, bool allow_expunge, struct store_changes *out,
                    struct err *e);
void store_changes_free(struct store_changes *c);

/* Loop: call fn(arg) on the loop when the mailbox may have changed (this process, another one, a foreign program);
 * at most once until the next store_view_sync(). fn NULL: stop. Must be stopped before store_unselect(). */
void store_view_watch(struct store_view *v, void (*fn)(void *arg), void *arg);
/* A view that will idle gives its memory back, whatever the mailbox's size. Does not block. Until store_view_wake()
 * (blocking; nothing to do when awake) or store_view_sync(), which wakes it, only store_view_box(), _name() and _watch()
 * may be called. ERR_NOTFOUND from waking: the next sync says what became of the mailbox. */
void store_view_sleep(struct store_view *v);
int store_view_wake(struct store_view *v, struct err *e);
/* Loop: another process said that this user's mailbox changed (the notify socket of imapd). */
void store_notified(struct store *s, struct slice datagram);

/* ---- what happens to a user's mailboxes, selected or not ---- */
enum store_event_kind {
    STORE_EVENT_CHANGED, /* there may be other messages or flags in it */
    STORE_EVENT_CREATED,
    STORE_EVENT_DELETED,
    STORE_EVENT_RENAMED, /* mailbox: the new name, more: the old one; those below have events of their own */
    STORE_EVENT_SUBSCRIBED,
    STORE_EVENT_UNSUBSCRIBED,
    STORE_EVENT_METADATA, /* more: the entry; mailbox "": the server's */
    STORE_EVENT_LOST      /* some of these were lost: anything may have happened */
};
struct store_event {
    enum store_event_kind kind;
    struct slice mailbox, more; /* borrowed */
    uint64_t by; /* store_act_as() of the thread that did it, in this process; else 0 */
};
struct store_user_watch;
/* Loop: fn is called on the loop with what this process and others of Postern do, and with folders that foreign programs
 * make, rename or remove. It may not start or stop a watch. The same event may come twice, and those of what is done through a
 * folder of another user's name may be missing. The handle stays open as long. */
struct store_user_watch *store_user_watch(struct store_user *u,
                                          void (*fn)(void *arg, const struct store_event *ev),
                                          void *arg);
/* Loop: CHANGED is told too when a foreign program changes these mailboxes: by inotify, beyond its room by saying so every
 * half minute. Adding one twice or taking one away that was not added is nothing. */
void store_user_follow(struct store_user_watch *w, struct slice mailbox);
void store_user_unfollow(struct store_user_watch *w, struct slice mailbox);
/* Loop: NULL-safe, nulls. */
void store_user_unwatch(struct store_user_watch **w);
/* What this thread does from now on is done by that one (store_event.by). */
void store_act_as(uint64_t id);

/* ---- reading messages ---- */
enum { /* what store_fetch() shall fill */
       STORE_GET_SIZE = 1,
       STORE_GET_DATE = 2,
       STORE_GET_ENVELOPE = 4,
       STORE_GET_BODYSTRUCTURE = 8,
       STORE_GET_BODY = 16,
       STORE_GET_SAVEDATE = 32,
       STORE_GET_IDS = 64,
       STORE_GET_HEADERS = 128, /* the usual header fields, see store_msg */
       STORE_GET_PREVIEW = 256
};
/* Is a header field of that name among the usual ones, which the index keeps? */
bool store_caches_field(struct slice name);
struct store_msg {
    uint32_t uid;
    uint64_t size_octets; /* RFC822.SIZE: with CRLF line ends */
    int64_t internaldate_unix_s;
    int16_t tz_minutes; /* to print it in */
    int64_t savedate_unix_s;
    struct slice envelope; /* as FETCH ENVELOPE sends it, with the parentheses */
    struct slice bodystructure, body;
    /* The usual fields, raw with CRLF, in the message's order; p NULL: longer than the index keeps,
     * see store_header_open(). */
    struct slice headers;
    struct slice preview;             /* text for people, one line of UTF-8 (RFC 8970 §3.1) */
    char email_id[40], thread_id[40]; /* STORE_GET_IDS. Once told they never change */
    struct buf mem;                   /* what the slices point into: store_msg_free() */
};
/* From the index; what is not cached yet is computed from the file and kept. ERR_NOTFOUND: expunged. */
int store_fetch(struct store_view *v, uint32_t seq, unsigned want, struct store_msg *out,
                struct err *e);
void store_msg_free(struct store_msg *m);

/* The message's octets with CRLF line ends: a copy, in memory while it is short, else in a file without a name. What becomes
 * of the message's own file does not change it. Close it before the view is unselected. */
struct store_file;
int store_file_open(struct store_view *v, uint32_t seq, struct store_file **out, struct err *e);
/* The same, but sure to be there is the header alone; what follows its empty line may be cut off. */
int store_header_open(struct store_view *v, uint32_t seq, struct store_file **out, struct err *e);
/* Octets [first, first + count) of it, as far as there are so many, without reading what is behind them, nor more of what is
 * before than it takes to count its line ends. count: at most STORE_RANGE_MAX_OCTETS. */
enum { STORE_RANGE_MAX_OCTETS = 4 * 1024 * 1024 };
int store_file_range(struct store_view *v, uint32_t seq, uint64_t first, uint64_t count,
                     struct store_file **out, struct err *e);
struct slice store_file_octets(const struct store_file *f);
/* Its parts, parsed once; good until it is closed. Not of a range or a header. */
struct mime_part;
const struct mime_part *store_file_tree(struct store_file *f);
void store_file_close(struct store_file **f);

/* ---- changing messages ---- */
struct store_uid_range {
    uint32_t first, last;
};                  /* inclusive */
struct store_uids { /* sorted, merged */
    struct store_uid_range *v;
    size_t n, cap;
};
int store_uids_add(struct store_uids *s, uint32_t first, uint32_t last); /* any order; merges */
bool store_uids_has(const struct store_uids *s, uint32_t uid);
size_t store_uids_count(const struct store_uids *s);
void store_uids_free(struct store_uids *s);

/* Which messages have gone since that MODSEQ, of those UIDs (NULL: all): for a client that was away (RFC 7162, VANISHED
 * EARLIER). When the log of expunges does not reach back so far, all UIDs of them that the view does not have. Messages
 * that the view still counts are not among them; the next sync tells. ERR_NOTFOUND: the mailbox is gone. */
int store_vanished(struct store_view *v, uint64_t since_modseq, const struct store_uids *among,
                   struct store_uids *out, struct err *e);

/* Index of a keyword in this mailbox, made when absent and `create`; -1: too many or not valid (e). */
int store_keyword(struct store_view *v, struct slice name, bool create, struct err *e);

enum store_op { STORE_SET, STORE_ADD, STORE_REMOVE };
struct store_flag_change {
    enum store_op op;
    struct store_flags flags;
    bool is_silent;          /* do not report these to this view's next sync (FLAGS.SILENT) */
    bool has_unchangedsince; /* RFC 7162 */
    uint64_t unchangedsince;
    struct store_uids *missing; /* NULL, or gets those of the view that are gone */
};
/* What a change makes of flags; \Recent is none of them. */
struct store_flags store_flags_after(struct store_flags was, const struct store_flag_change *ch);
/* modified (may be NULL): UIDs left alone because of unchangedsince. A message of a higher MODSEQ is not among them where the view
 * has one that is not, and the flags that are added or removed have not changed since (RFC 7162 §3.1.12). */
int store_change_flags(struct store_view *v, const struct store_uids *uids,
                       const struct store_flag_change *ch, struct store_uids *modified,
                       struct err *e);

/* Expunge what has \Deleted, of uids only when not NULL. The view hears of it at its next sync. */
int store_expunge(struct store_view *v, const struct store_uids *uids, struct err *e);

struct store_copied { /* COPYUID: from[i] became to[i]; both ascending */
    uint32_t uidvalidity;
    uint32_t *from, *to;
    size_t n;
};
/* All or nothing. ERR_NOTFOUND: no such destination ([TRYCREATE]); err_is_stale(): some of them are gone. is_move: gone from the view's mailbox after. */
int store_copy(struct store_view *v, const struct store_uids *uids, struct slice to, bool is_move,
               struct store_copied *out, struct err *e);
void store_copied_free(struct store_copied *c);

/* APPEND of several messages, all or nothing: begin, then for each message: start, octets, end; then commit. */
struct store_append;
enum { STORE_APPEND_MAX = 1000 }; /* messages in one */
int store_append_begin(struct store_user *u, struct slice mailbox, struct store_append **out,
                       struct err *e);
int store_append_msg(struct store_append *a, uint32_t sys_flags, const char *const *keywords,
                     size_t n_keywords, int64_t internaldate_unix_s /* 0: now */,
                     int16_t tz_minutes, struct err *e);
/* Before a message whose length as it comes is known, or such a part of one that is begun: ERR_LIMIT when quota has no room
 * for it and those before it. What it lets through may still be refused by the commit, which judges all of them by their true size. */
int store_append_expect(struct store_append *a, uint64_t octets, struct err *e);
int store_append_octets(struct store_append *a, struct slice s,
                        struct err *e); /* CRLF as from the wire */
/* The message is whole, and on disk. The next message, or the commit, does it too. */
int store_append_end(struct store_append *a, struct err *e);
/* REPLACE (RFC 8508): the one message of it comes in place of that of the view's mailbox, which leaves with the commit: both
 * or neither, whatever happens. Before anything is expected. ERR_NOTFOUND: it is gone. */
int store_append_replace(struct store_append *a, struct store_view *v, uint32_t uid, struct err *e);
/* uids: n of them, malloc'ed. Durable when it returns 0. */
int store_append_commit(struct store_append **a, uint32_t *uidvalidity, uint32_t **uids, size_t *n,
                        struct err *e);
void store_append_abort(struct store_append **a);

#endif
