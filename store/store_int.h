/* store/store_int.h - what the files of store/ share. Private to the folder.
 *
 * Locks: store.lock guards the table of users and the list of open databases; user.lock guards a user's database and
 * everything done by it in this process, so one job at a time works on a user here. Take user.lock first; with store.lock
 * held a user's lock is only tried. Between processes SQLite's write lock decides, and the flock of index_begin():
 * shared while writing, exclusive while checkpointing or rolling a record forward. */
#ifndef POSTERN_STORE_STORE_INT_H
#define POSTERN_STORE_STORE_INT_H

#include "base/arena.h"
#include "base/list.h"
#include "base/map.h"
#include "core/loop.h"
#include "core/work.h"
#include "db/db.h"
#include "store/maildir.h"
#include "store/names.h"
#include "store/notify.h"
#include "store/quota_int.h"
#include "store/reserve.h"
#include "store/store.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    STORE_OPEN_MAX = 32, /* index databases open at once in a process */
    STORE_DB_CACHE_KIB =
        512, /* of each at most: less, and what is computed is read back from the log */
    STORE_IDLE_MS = 10 * 1000, /* a database unused for that long is closed */
    INDEX_SCHEMA = 2,
    INDEX_UID_BLOCK = 512, /* reserved durably at a time */
    INDEX_MODSEQ_BLOCK = 1024,
    INDEX_WAL_MAX_OCTETS = 4 * 1024 * 1024,   /* a longer log is checkpointed */
    INDEX_WAL_BULK_OCTETS = 16 * 1024 * 1024, /* while much is computed: checkpoints are syncs */
    INDEX_WAL_IDLE_OCTETS = 256 * 1024        /* that of a database being closed for idling */
};
#define INDEX_FILE       "postern-index.db"
#define INDEX_LOCK_FILE  "postern-index.lock"
#define UIDVALIDITY_FILE "postern-uidvalidity"

struct watcher;
struct rows;
struct shared;

struct store {
    struct conf *conf;
    struct notifier *notifier;
    struct reserve *reserve;
    struct quota *quota; /* NULL: off */
    pthread_mutex_t lock;
    struct map *users; /* by root TAB name */
    struct list open;  /* users with a database, least recently used first */
    unsigned n_open;
    struct watcher *watcher; /* loop only */
    uint64_t watcher_id;
    atomic_uint n_watches;  /* none: nobody to tell */
    struct work_pool *pool; /* for the sweep */
    struct work_job sweep;
    struct timer sweep_timer;
    bool is_sweeping;       /* loop only */
    atomic_bool must_sweep; /* the timer runs, or is about to */
    struct filler *filler;  /* NULL: nothing is computed in the background */
    atomic_uint n_busy;     /* threads that hold or want a user's lock */
};

struct store_user {
    struct store *s;
    unsigned refs; /* under store.lock */
    char *key, *name;
    struct location loc;
    const char *root, *control_dir, *index_dir; /* in loc */
    struct list open_link;                      /* in store.open */
    uint64_t used_ms;                           /* under store.lock */
    /* rows of mailboxes that views have open, or had: shared.c */
    pthread_mutex_t rows_lock; /* the innermost of all, for moments */
    struct list shared;
    bool keeps_unused;
    pthread_mutex_t gate;  /* held while waiting for lock: whoever gave that up waits behind */
    atomic_uint n_waiting; /* for lock */
    pthread_mutex_t lock;
    /* under lock */
    struct scanning *scans; /* folders being scanned by this process */
    struct db *db;
    int lock_fd; /* with db */
    uint64_t db_inode;
    bool is_prepared; /* root and folders were made */
    bool keeps_lock;  /* a record is being carried out: the flock outlives its transactions */
    bool is_durable;  /* the transaction began as such */
    bool must_sync;   /* the transaction took from a new block: on disk before it is told */
    struct quota_rules *rules; /* NULL: the configuration's */
    bool has_wrong_rules;      /* his own cannot be understood: nothing is let in */
    struct quota_charge charge;
    unsigned n_ids_noted; /* new rows of message_ids since we started (threads.c) */
};

struct scanning { /* on the stack of the scan */
    int64_t mailbox;
    bool is_missed; /* somebody would have scanned it, too */
    struct scanning *next;
};

/* ---- users (user.c) ---- */
/* A handle with nothing done yet: no old UIDs taken over, no folders made. For maintenance. */
int user_open_bare(struct store *s, struct slice name, const struct store_userdb *db,
                   struct store_user **out, struct err *e);
/* Lock, with the index open. On failure nothing is locked. */
int user_lock(struct store_user *u, struct err *e);
void user_unlock(struct store_user *u);
/* The lock back, after user_unlock() in the middle of something. On failure it is held all the same, but the index is
 * not open: nothing is left to do but user_unlock(). */
int user_relock(struct store_user *u, struct err *e);
/* In the middle of something long, outside transactions: those who wait for the lock have it first. As user_relock(). */
int user_turn(struct store_user *u, struct err *e);
struct store_user *user_ref(struct store_user *u);
/* Tell everybody's views, but not `except`'s, that a mailbox changed. */
struct store_view;
void user_tell(struct store_user *u, struct slice mailbox, const struct store_view *except);
/* The same with what happened, and everybody who watches the user's mailboxes (user_watch.c). more: see store_event. */
void user_tell_event(struct store_user *u, enum store_event_kind kind, struct slice mailbox,
                     struct slice more);

/* ---- the index database (index.c); user.lock held ---- */
int index_open(struct store_user *u, struct err *e);
/* Checkpoint when the log is longer than that and nobody else is writing. */
void index_checkpoint(struct store_user *u, int64_t longer_than_octets);
void index_close(struct store_user *u);
/* An index that was found damaged goes aside: who locks the user next makes another. */
void index_mend(struct store_user *u);
/* Put a damaged one aside and begin another. On failure none is open. */
int index_replace(struct store_user *u, const struct err *why, struct err *e);
int index_begin(struct store_user *u, struct err *e);
/* For what moves or removes folders: no COPY, MOVE or APPEND of another process is half done. */
int index_begin_alone(struct store_user *u, struct err *e);
/* The commit is on disk when it returns, or has not happened. */
int index_begin_durable(struct store_user *u, struct err *e);
/* On failure it is rolled back. After success new blocks are on disk. */
int index_commit(struct store_user *u, struct err *e);
/* One of a row of large transactions. */
int index_commit_more(struct store_user *u, struct err *e);
void index_rollback(struct store_user *u);
/* What was committed is on disk (commits alone survive a kill, not a power cut). */
int index_sync(struct store_user *u, struct err *e);
/* What is read in between is as of one moment. Nothing is locked. */
int index_read_begin(struct store_user *u, struct err *e);
/* rc and e: what came of the reading; given back, or the failure of the end. */
int index_read_end(struct store_user *u, int rc, struct err *e);
/* The one number that a statement without parameters asks for; 0 when it has no row. */
int index_number(struct store_user *u, const char *sql, int64_t *out, struct err *e);
/* For tests: another boot than the kernel's. NULL: the kernel's. */
void index_fake_boot(const char *id);

/* ---- UIDVALIDITY (uidvalidity.c) ---- */
struct uidvalidity {
    uint32_t highest;
    bool is_imported; /* the old server's UIDs were taken over; never again */
    bool is_exported; /* but a Dovecot may have assigned UIDs since (import_again.c) */
};
int uidvalidity_read(const char *root, struct uidvalidity *out, struct err *e);
int uidvalidity_write(const char *root, const struct uidvalidity *v, struct err *e);
/* Imported, and exported too; in a transaction of its own, so that no value given meanwhile is given again. */
int uidvalidity_mark(struct store_user *u, uint32_t at_least, bool is_exported, struct err *e);
/* The next value, durable before it is used. Inside a transaction: that keeps other processes out. */
int uidvalidity_next(const char *root, uint32_t *out, struct err *e);

/* ---- a mailbox (mailbox.c) ---- */
struct
    mbox { /* a row of mailboxes; changed in memory, written by mbox_save() in the same transaction */
    int64_t id;
    uint32_t uidvalidity, uidnext, uid_reserved, recent_from;
    uint64_t modseq, modseq_reserved, floor;
    int64_t new_mtime_ns, cur_mtime_ns; /* as of the last scan that was conclusive; 0: scan */
    int64_t
        suspect_ms; /* our own change may hide a foreign one of the same moment: scan later; 0: no */
    int64_t scan_ms, scan_cost_ms;
    unsigned use;
    /* Sums over its messages: octets are those of the files, crlf_octets RFC822.SIZEs. */
    int64_t messages, unseen, deleted, octets, crlf_octets;
    int64_t was_messages, was_octets; /* as loaded, for quota */
    int64_t recent;                   /* messages from recent_from on */
    int64_t ranges;                   /* in the expunge log */
    uint64_t pruned_modseq;           /* what was expunged up to here is not all in the log */
    uint64_t change;                  /* the modseq of this transaction, 0: none yet */
    char object_id[40];
};
/* The folder's path, appended and NUL-terminated. */
int mbox_dir(const struct store_user *u, struct slice normal, struct buf *out, struct err *e);
/* Where dovecot-keywords, dovecot-uidlist and their like of a folder lie, by its path. malloc'ed. */
char *mbox_control_dir(const struct store_user *u, const char *dir);
/* The row of a mailbox by name; made when its folder is there. ERR_NOTFOUND: no such folder. No transaction. */
int mbox_find(struct store_user *u, struct slice normal, int64_t *id, struct err *e);
/* 1 there, 0 not, -1 e. */
int mbox_load(struct store_user *u, int64_t id, struct mbox *out, struct err *e);
/* Only while it has that name: whoever goes on to the folder of that name would touch another mailbox's files after a
 * RENAME or DELETE by another session. */
int mbox_load_named(struct store_user *u, int64_t id, struct slice normal, struct mbox *out,
                    struct err *e);
/* Without a look at the disk: 0 also where the row is one that mbox_find() would replace. */
int mbox_load_by_name(struct store_user *u, struct slice normal, struct mbox *out, struct err *e);
int mbox_save(struct store_user *u, const struct mbox *mb, struct err *e);
/* Make a row, in a transaction. uidvalidity 0: the next one. */
int mbox_insert(struct store_user *u, struct slice normal, uint32_t uidvalidity, uint32_t uidnext,
                uint64_t modseq, int64_t *id, struct err *e);
int mbox_forget(struct store_user *u, int64_t id, struct err *e); /* the rows; in a transaction */
/* The modseq of this transaction's changes; the next UID. */
uint64_t mbox_change(struct store_user *u, struct mbox *mb);
uint32_t mbox_next_uid(struct store_user *u, struct mbox *mb);
/* So many are to come, in several transactions: one block for all, as each new one costs a sync. */
void mbox_expect_uids(struct store_user *u, struct mbox *mb, size_t n);

/* Messages from that UID on were seen by nobody; in a transaction. */
int mbox_set_recent(struct store_user *u, struct mbox *mb, uint32_t from, struct err *e);

/* ---- the expunge log (expunges.c) ---- */
enum {
    EXPUNGES_KEEP = 10 * 1000, /* ranges a mailbox; of more, those go that are older than a day */
    EXPUNGES_KEEP_S = 24 * 3600,
    EXPUNGES_PRUNE_EVERY = 1024, /* looked at after so many new ranges */
    EXPUNGES_PRUNE_MAX = 4096    /* removed in one transaction, about */
};
/* Those UIDs left at mbox_change(); in a transaction, mb is saved by the caller. Ascending UIDs in a row make one range. */
int expunges_add(struct store_user *u, struct mbox *mb, uint32_t first, uint32_t last,
                 struct err *e);
/* Let go of old ranges beyond the count; in a transaction. expunges_add() calls it now and then. */
int expunges_prune(struct store_user *u, struct mbox *mb, int64_t now_unix_s, struct err *e);

/* Bracket renames of our own in cur/, so that they alone do not cause a scan. */
struct own_change {
    bool was_known;
};
struct own_change mbox_own_begin(const struct mbox *mb, const char *dir);
void mbox_own_end(struct mbox *mb, const char *dir, struct own_change own);

/* ---- messages in the index (message.c) ---- */
struct msg_row {
    int64_t mailbox;
    uint32_t uid;
    int dir; /* MAILDIR_NEW, MAILDIR_CUR */
    char file[MAILDIR_NAME_MAX];
    struct store_flags flags;
    uint64_t modseq;
    int64_t size, crlf; /* octets; crlf -1: not known */
    int64_t date_s, savedate_s;
    int tz_minutes;
    int64_t email, thread;
};
enum { TZ_LOCAL = 32767 }; /* tz_minutes of a date from the file: print it as local time */
int msg_load(struct store_user *u, int64_t mailbox, uint32_t uid, struct msg_row *out,
             struct err *e); /* 1, 0, -1 */
/* In a transaction, with the sums of mb, which the caller saves. */
struct msg_brief;
int msg_insert(struct store_user *u, struct mbox *mb, const struct msg_brief *m, struct err *e);
/* What a message adds to the sums of its mailbox; times -1: takes away. */
void mbox_count(struct mbox *mb, int times, const struct msg_brief *m);
/* A message of mb has other flags now: the sums. Whoever writes flags calls it. */
void mbox_count_flags(struct mbox *mb, struct store_flags was, struct store_flags now);
/* dir, file, flags, modseq */
int msg_update(struct store_user *u, const struct msg_row *m, struct err *e);
/* The row and its cache go, the expunge is logged at mbox_change(). */
int msg_expunge(struct store_user *u, struct mbox *mb, uint32_t uid, struct err *e);
int64_t msg_new_object_id(void);

/* ---- many messages (batch.c) ---- */
struct msg_brief { /* a row in memory; the name is elsewhere, as in the batch's arena */
    uint32_t uid;
    int dir, tz_minutes;
    const char *file;
    struct store_flags flags;
    uint64_t modseq;
    int64_t size, crlf, date_s, savedate_s, email, thread;
};
struct msg_batch {
    struct arena mem;
    struct msg_brief *v;
    size_t n, cap;
};
/* Those of the UIDs (ascending) that the index has, appended in their order. */
int msg_batch_load(struct store_user *u, int64_t mailbox, const uint32_t *uids, size_t n,
                   struct msg_batch *out, struct err *e);
void msg_batch_reset(struct msg_batch *b); /* empty, for the next */
void msg_batch_free(struct msg_batch *b);
/* dir, file, flags, modseq into the row; the sums are the caller's. */
int msg_write(struct store_user *u, int64_t mailbox, const struct msg_brief *m, struct err *e);
/* msg_expunge() of many, ascending, as they are in the index in this transaction: runs of UIDs go by one statement. */
int msg_expunge_batch(struct store_user *u, struct mbox *mb, const struct msg_brief *v, size_t n,
                      struct err *e);
struct msg_run { /* messages and their copies: uid + i and to + i, i < n */
    uint32_t uid, to, n;
};

/* A folder's new/ and cur/, open: its files are then reached by their names alone. */
struct parts {
    int fd[2]; /* by MAILDIR_NEW, MAILDIR_CUR; -1: closed */
};
int parts_open(struct parts *p, const char *dir, struct err *e);
void parts_close(struct parts *p);
/* Give a message's file other flags by renaming it in or into cur/; m: file (in mem), dir, flags. Where the name has no
 * room for letters the index alone knows them. 1 done, 0 the file is not where the index has it, -1 e. */
int msg_rename(struct msg_brief *m, const struct parts *p, struct arena *mem,
               struct store_flags flags, struct err *e);

/* ---- index against disk (scan.c) ---- */
/* Nothing for a scan to do: the folder is there as the last one left it. */
bool mbox_is_unchanged(const struct mbox *mb, const char *dir);
/* Bring the index in line with new/ and cur/ when they changed (always when must). take_new: move new/ to cur/. No
 * transaction; gives up user.lock in between (see user_relock()), and mb is loaded anew. While another thread scans the
 * mailbox 0 may come early: its views are told when that ends. */
int mbox_scan(struct store_user *u, struct slice normal, struct mbox *mb, bool take_new, bool must,
              struct err *e);
/* The same inside the caller's transaction; hints (may be NULL): UIDs of base names, from an old server. */
int mbox_scan_in_tx(struct store_user *u, const char *dir, struct mbox *mb, bool take_new,
                    bool must, struct map *hints, struct err *e);

/* ---- keywords (keywords.c) ---- */
struct keywords {
    char **name;
    size_t n, cap; /* at most STORE_KEYWORDS_MAX */
};
int keywords_load(struct store_user *u, int64_t mailbox, struct keywords *out, struct err *e);
void keywords_free(struct keywords *k);
/* In a transaction: the place of a keyword, made when absent (file first, then row). -1 e: ERR_LIMIT, ERR_CLIENT. */
int keywords_take(struct store_user *u, const char *dir, int64_t mailbox, struct slice name,
                  bool create, struct err *e);
/* In a transaction: take over dovecot-keywords; letters in use without a name get one ("unknown-3"). */
int keywords_import(struct store_user *u, const char *dir, int64_t mailbox, uint64_t in_use,
                    struct err *e);
/* The folder's dovecot-keywords: the first 26. */
int keywords_read_file(const struct store_user *u, const char *dir, struct keywords *out,
                       struct err *e);
int keywords_write_file(const struct store_user *u, const char *dir, const struct keywords *k,
                        struct err *e);

/* ---- from a Dovecot (import.c, import_again.c) ---- */
struct uidlist;
/* At the first opening of a root: UIDs, UIDVALIDITYs and keywords of all folders; after an export, what a Dovecot has
 * assigned since. */
int dovecot_import(struct store_user *u, struct err *e);
/* The state of a mailbox as it was taken over or exported, in its row: "UIDVALIDITY UIDNEXT" and what tells the file from another. */
struct exported {
    uint32_t uidvalidity, uidnext; /* 0: neither taken over nor exported */
    int64_t octets, mtime_ns, inode;
};
int exported_load(struct store_user *u, int64_t mailbox, struct exported *out, struct err *e);
int exported_save(struct store_user *u, int64_t mailbox, const struct exported *x, struct err *e);
struct stat;
void exported_of_file(struct exported *x, const struct stat *st);
bool exported_is_file(const struct exported *x, const struct stat *st);
/* In a transaction: a mailbox without a row gets one from the list. v: highest is raised. */
int import_list(struct store_user *u, struct slice normal, const char *dir, struct uidlist *l,
                struct uidvalidity *v, struct err *e);
/* GUIDs, UIDLs and sizes of messages that are in the index under the list's UIDs. */
int import_extras(struct store_user *u, struct mbox *mb, const struct uidlist *l, struct err *e);
/* What the old server had in new/ nobody has seen; the rest is not recent. */
int import_recent(struct store_user *u, struct mbox *mb, struct err *e);
struct store_imported;
struct store_teller;
int import_again(struct store_user *u, struct uidvalidity *v, bool must,
                 const struct store_teller *t, struct store_imported *out, struct err *e);

/* ---- several messages at once (record.c, recover.c) ---- */
struct record_item {
    struct msg_brief
        m; /* what its row will be; file: the name it gets in cur/. The uid is filled in */
    const char *
        src_file; /* append: in tmp/ of the destination, whole and synced; else in src_dir of the source */
    int src_dir;
    uint32_t src_uid; /* copy, move, replace */
};
enum record_how {
    RECORD_APPEND, /* renamed from tmp/ */
    RECORD_COPY,   /* linked */
    RECORD_MOVE,   /* renamed from the source, expunged there */
    RECORD_REPLACE /* one item, renamed from tmp/; the message src_uid of `from` is expunged */
};
struct record {
    struct store_user *u;
    enum record_how how;
    struct slice to, from; /* normal names; from: all but append */
    const char *to_dir, *from_dir;
    int64_t to_id, from_id;
    struct record_item *items;
    size_t n;
    size_t n_lost; /* all but append: sources that were not where the index has them */
};
/* Bring the items into cur/ and the index, all or none, durably. On failure nothing is left, neither in tmp/; should even
 * that fail, recovery sees to it. ERR_NOTFOUND with n_lost > 0: the source's folder has changed, look and try again. */
int record_commit(struct record *r, uint32_t *uidvalidity, struct err *e);
/* Is there room for what it brings (quota_charge.c)? Moves within the user bring nothing, unless out of an ignored
 * mailbox. Asked in the transaction that brings it; before may spare work. */
int quota_record_room(const struct record *r, struct err *e);
/* Interrupted ones are undone: nobody was told that they had happened. No transaction; when another process is at it,
 * nothing is done. */
int record_recover(struct store_user *u, struct err *e);
/* The same in index_begin_alone(): before folders get other names or go, the messages of those go back to where they were. */
int record_undo(struct store_user *u, struct err *e);
/* In a transaction: base names of those under way into a mailbox, whose files no scan may take; *out NULL: none. */
int record_names(struct store_user *u, int64_t mailbox, struct map **out, struct err *e);
/* The next of a list in a row of pending; false at its end. */
bool record_next_name(struct slice *list, struct slice *name);

/* ---- subscriptions (subscriptions.c) ---- */
struct names {
    char **v; /* UTF-8, sorted */
    size_t n, cap;
};
int subscriptions_read(const struct location *l, struct names *out, struct err *e);
/* which: sorted */
int subscriptions_change(const struct location *l, const struct names *which, bool on,
                         struct err *e);
void names_add(struct names *l, struct slice name);
bool names_has(const struct names *l, struct slice name);
void names_sort(struct names *l);
void names_free(struct names *l);

/* ---- annotations (metadata.c) ---- */
/* The special use that the file of a folder says, or 0; it is the one that outlives the index. */
unsigned meta_read_use(const struct store_user *u, const char *dir);
/* The file of a new folder. */
int meta_write_use(struct store_user *u, const char *dir, unsigned use, struct err *e);
/* A new folder has none of what one of its name may have left in CONTROL=. */
void meta_forget(const struct store_user *u, const char *dir);
/* Can a mailbox be given that use? ERR_CLIENT. */
int store_use_check(unsigned use, struct err *e);

/* ---- folders on disk (folders.c) ---- */
int folders_read(const struct location *l, struct names *out, struct err *e); /* without INBOX */
/* Is there a mailbox at that path? 1, 0, -1 e (it may be there). */
int folder_is_there(const struct store_user *u, const char *dir, struct err *e);
/* Does it get Maildir++'s "maildirfolder"? The argument is_subfolder of maildir_make(). */
bool folder_has_mark(const struct store_user *u, const char *dir);
int folders_make_auto(struct store_user *u, struct err *e);
/* What a DELETE that was killed had still to remove (list.c). */
void folders_sweep(struct store_user *u);

/* ---- what the index caches of a message (cache.c, compute.c, fill.c, threads.c) ----
 * All forms come from one parse of the file and are kept together: a row of cache, of cache_headers and of cache_sort
 * each, or none of them; messages.thread is given then. A form longer than its bound is NULL in its row. cache_sort:
 *   base_subject          RFC 5256 §2.1, folded by fold_text(); is_reply: a "Re:" or the like was taken off
 *   from_key to_key cc_key  local part of the first address, folded ("" none): SORT FROM, TO, CC
 *   from_name to_name     display name or local@host of the first address, folded: RFC 5957
 *   sent                  Date in UTC seconds, NULL: none that can be read; sent_tz: minutes east as written
 *   message_id refs       without <>; refs oldest first, LF between, In-Reply-To's first one where there are no References
 * cache_headers.headers: fields of store_caches_field(), raw, CRLF, as they stand; preview: RFC 8970. */
enum {
    CACHE_VERSION = 2,                   /* of the forms: an index with another drops them */
    CACHE_TEXT_MAX_OCTETS = 1024 * 1024, /* envelope, bodystructure, body, each */
    CACHE_HEADERS_MAX_OCTETS = 64 * 1024,
    CACHE_KEY_MAX_OCTETS = 512, /* each text of cache_sort but refs */
    CACHE_REFS_MAX = 100,       /* message ids in refs: the first and the last ones */
    CACHE_REFS_MAX_OCTETS = 16 * 1024
};
/* Compute what the index lacks for messages of the view (uids NULL: for all of them), some dozens at a time, with user.lock
 * free while files are parsed. Not under user.lock. yield (may be NULL) is asked after each batch: true stops, with *at
 * (a UID, 0 to start) left where to go on. 0 done: rows are there but for messages that are gone or cannot be read;
 * 1 stopped by yield; -1 e. */
int cache_fill(struct store_view *v, const struct store_uids *uids, uint32_t *at,
               bool (*yield)(void *), void *arg, struct err *e);
/* What is cached of messages becomes that of their copies; in a transaction. */
int cache_copy(struct store_user *u, int64_t from, int64_t to, const struct msg_run *run,
               struct err *e);
/* Forms of another version go. At the opening of an index; user.lock held. */
int cache_check_version(struct store_user *u, struct err *e);
/* Messages of a mailbox from that UID on are new: compute in the background (fill.c). Any thread, with or without locks of
 * users. Nothing happens unless the process has asked for it (store_fill_ahead()). */
struct filler;
struct filler *filler_new(struct store *s);
void filler_free(struct filler **f); /* on the loop; drops what waits */
void fill_ask(struct store_user *u, struct slice normal, uint32_t from_uid);

/* ---- a view (view.c) ---- */
struct silent { /* a change of our own that shall not be reported */
    uint64_t modseq;
    struct store_uids uids;
};
struct forms; /* of a message, computed, not yet in the index's cache (cache.h) */
enum { VIEW_FRESH_MAX = 512, VIEW_FRESH_OCTETS = 3 * 1024 * 1024 };
struct ahead; /* rows read ahead for a FETCH that goes through the mailbox (fetch.c) */
struct watch;
struct store_view {
    struct store_user *u;
    int64_t mailbox;
    char *name, *dir;
    bool is_readonly, is_gone;
    bool
        is_asleep; /* rows are made again by view_wake(): n, last_uid and modseq say what was told */
    uint32_t uidvalidity, uidnext, n_recent, last_uid, first_unseen;
    uint64_t modseq;       /* changes up to here are in rows */
    struct rows *rows;     /* NULL asleep; what this holds does not change: rows.h */
    struct shared *shared; /* NULL asleep */
    size_t n, n_gone;
    struct store_uids
        gone; /* expunged, not yet announced: still in rows; in between are none that are not */
    struct store_uids recent; /* \Recent here, as far as they are there */
    struct keywords keywords;
    struct silent *silent;
    size_t n_silent, cap_silent;
    char mailbox_id[40];
    struct forms *fresh; /* VIEW_FRESH_MAX; NULL while there are none */
    size_t n_fresh, fresh_octets;
    uint32_t fresh_last; /* the highest UID of them */
    uint32_t filled_to;  /* cache_fill() has seen to the UIDs up to here */
    struct ahead *ahead;
    uint32_t last_opened;    /* sequence number of a message whose file was opened */
    unsigned n_opened;       /* in a row, since rows that were read ahead were dropped */
    struct store_file *kept; /* the long message that was read last, or NULL (file.c) */
    uint32_t kept_uid;
    struct {
        uint32_t uid;         /* 0: none */
        uint64_t raw, crlf;   /* the same place in the file, and with CRLFs */
        char last;            /* the octet before */
    } range;                  /* where store_file_range() was (range.c) */
    uint32_t last_fetched;    /* sequence number */
    struct sort_order *order; /* of the last SORT of many, or NULL (sort.c) */
    struct watch *watch;      /* loop only */
    atomic_bool is_told;      /* the watch has called; until the next sync */
};
/* Write v->fresh to the index; user.lock held. What fails is lost: it can be computed again. */
void view_save_fresh(struct store_view *v);
void view_drop_fresh(struct store_view *v);
void view_drop_ahead(struct store_view *v);
/* The file of the next message of many that are opened one after the other: true, *fd is open. Not under user.lock. */
bool view_open_next(struct store_view *v, uint32_t seq, int *fd);
void view_drop_kept(struct store_view *v);
void view_drop_order(struct store_view *v);
void view_drop_silent(struct store_view *v,
                      size_t from);                 /* forget the silent changes from that one on */
int view_wake(struct store_view *v, struct err *e); /* user.lock held */
void view_drop_rows(struct store_view *v);
/* Rows by index, 0 .. v->n - 1, while the view is awake: no other file looks into rows. store_view_row() gives all of one. */
size_t view_at_least(const struct store_view *v, uint32_t uid);
uint32_t view_uid_at(const struct store_view *v, size_t i);
bool view_gone_at(const struct store_view *v, size_t i);   /* expunged, not yet announced */
bool view_missed_at(const struct store_view *v, size_t i); /* changed while the view was asleep */

/* ---- watching (watch.c); loop only, but for watcher_tell() ---- */
struct watcher *watcher_new(struct store *s);
void watcher_free(struct watcher **w);
struct store *watcher_store(const struct watcher *w);
/* For tests: room for so many folders; and how often those beyond are looked at. */
void watcher_fake_limit(size_t folders, unsigned every_ms);
/* From any thread: views of this mailbox (USER TAB MAILBOX) shall look, but not `except`, and who watches the user hears. */
void watcher_tell(struct store *s, struct slice key, const struct store_view *except,
                  enum store_event_kind kind, struct slice more);

/* Small things. */
char *path_join(const char *dir, const char *part,
                const char *name);                       /* malloc'ed; name may be NULL */
int64_t dir_mtime_ns(const char *dir, const char *part); /* 0: cannot tell */
int64_t now_realtime_ns(void);

#endif
