/* store/pop3.h - what POP3 alone asks: a mailbox as it was when the session began, sizes and names of many messages at once, who
 * has the mailbox to himself. Layer: store. Blocking. */
#ifndef POSTERN_STORE_POP3_H
#define POSTERN_STORE_POP3_H

#include "store/store.h"

/* INBOX, writable. keeps_recent: messages stay recent, and in new/, as if nobody had looked. */
int store_pop3_select(struct store_user *u, bool keeps_recent, struct store_view **out,
                      struct err *e);

/* What store_fetch() has computed since goes into the index, so that the view can sleep. What fails is told by the log. */
void store_pop3_keep_sizes(struct store_view *v);

struct store_pop3_row {
    uint32_t uid;
    uint32_t order;      /* an old server's place in LIST; UINT32_MAX: none */
    int64_t crlf_octets; /* RFC822.SIZE; -1: the message must be read to know it (store_fetch()) */
    int64_t file_octets;
    struct slice file; /* name without flags */
    struct slice guid; /* an old server's, else p NULL: the file's name is it */
    struct slice uidl; /* told before, by an old server or us, and to stay; p NULL: none */
};
/* The mailbox's messages from one UID to another, ascending, `most` at most (0: all); those that the view does not have are
 * among them. Slices are good during the call of fn, which must not come back into the store. */
int store_pop3_rows(struct store_view *v, uint32_t from_uid, uint32_t to_uid, size_t most,
                    void (*fn)(void *arg, const struct store_pop3_row *row), void *arg,
                    struct err *e);

enum {
    STORE_UIDL_MAX_OCTETS = 512
}; /* of printable ASCII; RFC 1939 §7 has 70, Dovecot keeps longer ones */
struct store_uidl {
    uint32_t uid;
    struct slice uidl; /* 1 to STORE_UIDL_MAX_OCTETS of printable ASCII */
};
/* Keep them for messages that have none kept yet. One transaction. */
int store_pop3_save_uidls(struct store_view *v, const struct store_uidl *l, size_t n,
                          struct err *e);

/* Have the user's mail to oneself until *fd is closed or the process ends. 1 yes, 0 another has it, -1 e. */
int store_pop3_lock(struct store_user *u, int *fd, struct err *e);

/* Messages leave, marked \Deleted or not; otherwise as store_expunge(). */
int store_remove(struct store_view *v, const struct store_uids *uids, struct err *e);

#endif
