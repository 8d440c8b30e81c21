/* store/deliver.h - delivery into a Maildir: one file, durable, without touching the index (design §3, §4).
 * Called on the loop; the work is done on the deliverer's own threads, which batch the syncs of everybody's deliveries:
 * write batch k+1 into tmp/, rename batch k into new/, one sync for both, answer batch k. Layer: store. */
#ifndef POSTERN_STORE_DELIVER_H
#define POSTERN_STORE_DELIVER_H

#include "base/err.h"
#include "base/slice.h"
#include "conf/conf.h"
#include "store/store.h"

struct deliverer;
int deliverer_new(const struct conf *c, struct deliverer **out, struct err *e);
void deliverer_free(struct deliverer **d);
/* The store it works with, for quota (store/quota.h); lives as long as the deliverer. */
struct store *deliverer_store(const struct deliverer *d);

/* Content on its way: in memory up to DELIVER_INLINE_OCTETS, then a file of the deliverer's. CRLF in, as from the wire. */
enum { DELIVER_INLINE_OCTETS = 128 * 1024 };
struct deliver_msg;
struct deliver_msg *deliver_msg_new(struct deliverer *d);
void deliver_msg_write(struct deliver_msg *m, struct slice s);
size_t deliver_msg_backlog(const struct deliver_msg *m); /* as queue_put_backlog() */
void deliver_msg_on_ready(struct deliver_msg *m, void (*fn)(uint64_t id), uint64_t id);
void
deliver_msg_free(struct deliver_msg **m); /* after the last recipient's callback, or to give up */

struct deliver_rcpt {
    struct slice user;      /* canonical "u@d" */
    struct store_userdb db; /* what userdb says of him */
    struct slice mailbox;   /* "INBOX" or another one, made when absent */
    bool no_create;         /* ... or not: an absent one's mail goes to INBOX */
    bool or_inbox;          /* a name that is none: INBOX */
    bool must_subscribe;    /* one that is made is subscribed */
    uint32_t flags;         /* STORE_SEEN, ...: what the copy begins with */
    /* The same. What a mailbox has no letter left for (its first 26 have one), or is no keyword, is let go. */
    const char *const *keywords;
    size_t n_keywords;
    struct slice
        prepend; /* header lines for this copy: Return-Path, Delivered-To, Received; CRLF-ended */
    struct slice
        ident; /* "queueid.row" from XFORWARD IDENT, or empty: the base name is made from it */
    bool may_be_repeat; /* look for that name first: found means delivered already */
    /* Called before cb with the mailbox that the copy is in; may be NULL. */
    void (*on_place)(uint64_t id, const char *mailbox);
    bool ignores_quota; /* charged, but never too much: the warning that the mailbox gets full */
};
/* Copies of one message whose prepend is equal are hard links of one file where the file system can and they are not too
 * far apart. With quota (store/quota.h) each is charged to its user, a repeat that was found is not; ERR_LIMIT: over
 * quota, and nothing is left.
 * One copy. cb exactly once, from the loop: rc 0: data and name are on disk (or were already); -1: e says why, ERR_TEMP
 * for all that may pass. The slices are copied. */
void deliver(struct deliver_msg *m, const struct deliver_rcpt *r,
             void (*cb)(uint64_t id, int rc, const struct err *e), uint64_t id);

#endif
