/* store/quota_int.h - what the files of quota share, and the hooks for those that change mailboxes. Private to store/.
 *
 * quota.db has one row a user with ABSOLUTE numbers taken from his index (as of a sequence number that grows with every
 * change of the sums, in the index's own transaction), and one row a delivery that no index knows yet. Nothing is added
 * up that could be added twice: a crash between two databases leaves numbers that are old, never wrong ones, and the
 * next to open the index sees by the sequence number that they are.
 *
 * Cut by cut:
 *   delivery  row written | renamed | synced, answered | row marked done
 *     before the row: nothing happened. After it: the file is not there; a deliverer that starts finds the row of a dead
 *     one, looks, and drops it. After the rename: it looks, and marks it done. Rows are on disk before the rename (the
 *     sync of the round takes the log of quota.db with it), so a power cut leaves no file without one; it can take the
 *     mark, and then the above. A repeat that is found writes no row: its first attempt did.
 *   scan      done rows read | folder read | index committed | sums and rows of quota.db in one transaction
 *     after the index's commit: sequence numbers differ; who opens the index next, or writes sums that are not of his
 *     own transaction alone, drops the rows whose files the index knows. A row leaves with the transaction that brings
 *     the sums its file is in. Rows whose files no scan met (removed, moved away by another program, deleted or renamed
 *     with their folder) may be left by this, or be marked done after it: whoever has the user open looks for them.
 *   append, copy, move, expunge, delete, rename   index committed | sums of quota.db: as above.
 *     A delete whose folder went and whose index was not committed: who opens the index sees that there is no such folder.
 *   power cut  both databases fall back to some earlier commit of theirs: the numbers differ, or nothing is missing; an
 *     index that fell behind quota.db goes on at a number beyond it: the first to open it moves on to the clock's.
 *   index set aside, deleted: its successor's numbers start with the clock, so they differ.
 *   quota.db set aside, deleted: nobody is counted in it; counting is a scan of all mailboxes. */
#ifndef POSTERN_STORE_QUOTA_INT_H
#define POSTERN_STORE_QUOTA_INT_H

#include "db/db.h"
#include "store/quota.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

/* ---- rules (quota_rules.c) ---- */
/* Those of base with a user's own over them; base itself, counted, when he has none. */
int quota_rules_over(struct quota_rules *base, struct slice userdb, struct quota_rules **out,
                     struct err *e);
struct quota_rules *quota_rules_ref(struct quota_rules *r);
bool quota_rules_enforce(const struct quota_rules *r); /* not "noenforcing" */
/* Which mailboxes count, as one number: the same in every process. */
int64_t quota_rules_ignored(const struct quota_rules *r);
bool quota_rules_ignore_any(const struct quota_rules *r);
/* Is there any limit of numbers for him, his own or his domain's? Without one nobody is counted for a check. */
bool quota_rules_limited(const struct quota_rules *r, struct slice user);
int64_t quota_rules_grace(const struct quota_rules *r); /* octets */

/* 0, or -1 with ERR_LIMIT: does it fit? u: usage without what is asked for, limits of user and domain; at: the mailbox's. */
int quota_judge(const struct quota_rules *r, const struct quota_usage *u,
                const struct quota_limit *at, int64_t octets, int64_t messages, int64_t max_octets,
                unsigned flags, struct err *e);

/* ---- quota.db (quota_db.c) ---- */
struct store_user;
struct quota { /* one a store; NULL: quota is off */
    struct quota_rules *rules;
    char *path, *lock_path, *owners_path;
    void (*on_change)(void *arg, const struct quota_change *c);
    void *on_change_arg;
    pthread_mutex_t lock;
    /* under lock */
    struct db *db;
    uint64_t inode;
    int lock_fd, owners_fd;
    int64_t owner; /* this process's rows of deliveries; 0: none yet */
    uint64_t
        epoch; /* another with each quota.db that is opened: what was known of the last is not known of this */
};
/* *out NULL when quota is off. ERR_CONFIG. */
int quota_new(const struct conf *c, struct quota **out, struct err *e);
void quota_free(struct quota **q);
/* Lock, with quota.db open and, when is_write, a transaction begun. On failure (ERR_TEMP) nothing is locked. */
int quota_begin(struct quota *q, bool is_write, struct err *e);
/* End of it: commit, or roll back when rc is negative (e is the reason then); unlock. Returns rc, or -1 with e when the
 * commit failed. e may be NULL. */
int quota_end(struct quota *q, bool is_write, int rc, struct err *e);
/* What was committed is to be on disk before it is relied on: the log's descriptor, to be closed; -1: there is none (all
 * is in the database, synced). dev: its file system. */
int quota_log_fd(struct quota *q, dev_t *dev);

struct quota_row {
    int64_t id, seq, ignored;
    bool is_counted;
    int64_t octets, messages;           /* of the index */
    int64_t open_octets, open_messages; /* of deliveries */
};
/* Between begin and end. 1 there, 0 not, -1 e. */
int quota_row_load(struct quota *q, struct slice user, struct quota_row *out, struct err *e);
/* The same in a writing one; made when absent. */
int quota_row_take(struct quota *q, struct slice user, struct quota_row *out, struct err *e);
int quota_row_save(struct quota *q, const struct quota_row *r, struct err *e); /* without open_ */
/* out: the user's numbers by r with his domain's, and the limits of rules. */
int quota_row_usage(struct quota *q, struct slice user, const struct quota_row *r,
                    const struct quota_rules *rules, struct quota_usage *out, struct err *e);
struct slice quota_domain_of(struct slice user);

/* ---- deliveries (quota_deliver.c); between begin and end, writing ---- */
struct quota_delivery {
    int64_t id; /* out */
    int64_t user;
    struct slice base; /* of its name */
    struct slice dir;  /* the folder's path */
    struct slice file; /* below it: new/BASE, cur/BASE:2,S */
    int64_t octets;
};
int quota_delivery_add(struct quota *q, struct quota_delivery *d, struct err *e);
int quota_delivery_done(struct quota *q, int64_t id, struct err *e); /* the file is in its place */
int quota_delivery_drop(struct quota *q, int64_t id, struct err *e); /* it never came to that */
/* All of a user that had come to their places: the places are gone. */
int quota_deliveries_gone(struct quota *q, int64_t user, struct err *e);
/* At a deliverer's start: rows of dead ones are settled by what is on disk. What fails is logged. */
void quota_settle_dead(struct quota *q);

/* ---- charging (quota_charge.c); user.lock held ---- */
struct quota_scan { /* a folder that was scanned in this transaction */
    int64_t mailbox;
    uint32_t first_uid; /* files met for the first time have UIDs from here on */
};
struct quota_charge { /* of a store_user: what this transaction of the index means for quota.db */
    bool is_changed;  /* sums: the sequence number grows with them */
    bool is_recount;  /* all mailboxes were scanned: the user is counted */
    bool is_full;     /* rows are looked for in the whole index */
    bool
        is_behind; /* quota.db could not be written: tried again with the next transaction, or lock, or opening */
    int64_t floor; /* the sequence number shall be beyond */
    int64_t seq;   /* what this transaction made of it */
    uint64_t retry_ms, look_ms, look_boxes_ms;
    char *looked; /* base name up to which rows were looked at */
    struct quota_scan *scans;
    size_t n_scans, cap_scans;
    int64_t
        *seen; /* rows of deliveries that were done before a scan looked, or whose files are gone */
    size_t n_seen, cap_seen;
};
/* A scan of a folder begins, before anything is read: deliveries that are done, into `seen` of a charge of its own. */
void quota_scan_look(struct store_user *u, const char *dir, struct quota_charge *done);
/* A transaction of it: messages from uidnext on are new. */
void quota_scan_tx(struct store_user *u, int64_t mailbox, uint32_t uidnext);
/* In its last one, when the folder was still: those deliveries have been met, or are gone. */
void quota_scan_seen(struct store_user *u, const struct quota_charge *done);
/* Part of index_commit(): the sequence number, inside; and quota.db, after it. Nothing that fails afterwards undoes the
 * change: it is made good later. */
int quota_before_commit(struct store_user *u, struct err *e);
void quota_after_commit(struct store_user *u);
void quota_after_rollback(struct store_user *u);
/* The index was opened: is quota.db as of it? And each time it is locked: is something still to be written? Now and then
 * rows whose files are no more where they were delivered to leave, and mailboxes whose folders are gone: no scan may ever
 * come there again. */
void quota_opened(struct store_user *u);
void quota_locked(struct store_user *u);
void quota_charge_free(struct quota_charge *c);
/* A mailbox's folder has another path; or is no more (to NULL). After the index's commit. */
void quota_moved(struct store_user *u, const char *dir, const char *to);
/* May so much go into the mailbox (normal name)? Best inside the transaction that brings it: sums are the index's own. */
int quota_room(struct store_user *u, struct slice mailbox, int64_t octets, int64_t messages,
               int64_t max_octets, struct err *e);
/* Are messages of that mailbox (normal name) counted at all? */
bool quota_counts(const struct store_user *u, struct slice mailbox);
/* Before user.lock is taken: a user with limits who was never counted is counted. */
int quota_be_counted(struct store_user *u, struct err *e);
int quota_recount_user(struct store_user *u, void (*progress)(void *arg, struct slice mailbox),
                       void *arg, struct quota_usage *out, struct err *e);

/* ---- maildirsize (maildirsize.c) ---- */
/* Note a change in the file that other tools read: appended, or written anew by now when it is long, absent or of other
 * limits. Never read for numbers of ours; what fails is let be. */
void maildirsize_note(const char *root, const struct quota_rules *r, int64_t octets,
                      int64_t messages, const struct quota_usage *now);

#endif
