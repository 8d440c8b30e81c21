/* store/cache.h - what is computed of a message and kept in the index: forms, their rows, thread ids. Folder-private.
 * Locks: only functions that say so want user.lock held. */
#ifndef POSTERN_STORE_CACHE_H
#define POSTERN_STORE_CACHE_H

#include "store/store_int.h"

enum form { FORM_ENVELOPE, FORM_BODYSTRUCTURE, FORM_BODY, FORM_HEADERS, FORM_PREVIEW, FORMS };
/* STORE_GET_ bits by form, and all of them. */
extern const unsigned form_bits[FORMS];
enum {
    FORM_BITS = STORE_GET_ENVELOPE | STORE_GET_BODYSTRUCTURE | STORE_GET_BODY | STORE_GET_HEADERS |
                STORE_GET_PREVIEW
};

enum sort_text {
    SORT_SUBJECT,
    SORT_FROM_KEY,
    SORT_TO_KEY,
    SORT_CC_KEY,
    SORT_FROM_NAME,
    SORT_TO_NAME,
    SORT_MESSAGE_ID,
    SORT_REFS,
    SORT_TEXTS
};

struct forms { /* of one message, computed */
    uint32_t uid;
    int64_t crlf; /* RFC822.SIZE */
    bool is_kept; /* the index has its rows already: some form is longer than is kept */
    struct buf form[FORMS];
    struct buf sort[SORT_TEXTS];
    bool is_reply, has_sent;
    int64_t sent_unix_s;
    int16_t sent_tz;
};

/* ---- compute.c ---- */
/* All forms, from one parse of a message with CRLF line ends. */
void forms_compute(struct slice message, struct forms *out);
void forms_free(struct forms *f);
size_t forms_octets(const struct forms *f);
bool form_is_kept(const struct forms *f, enum form i); /* not longer than its bound */

/* ---- file.c ---- */
struct place { /* of messages: a mailbox without a view */
    struct store_user *u;
    int64_t mailbox;
    const char *name, *dir;
};
struct place place_of(const struct store_view *v);
/* Where the index has it. 1 open, 0 not there, -1. No lock. */
int file_open(const struct place *p, const struct msg_row *m, int *fd, struct err *e);
/* The same; a file that was renamed is looked for, and m loaded again. user.lock held. ERR_NOTFOUND: gone. */
int file_find(const struct place *p, struct msg_row *m, int *fd, struct err *e);
/* What is open, with CRLF line ends; fd stays the caller's. No lock. */
/* With user.lock: the row, and the view's kept file (*out), if it will do, or the open file. */
int file_find_seq(struct store_view *v, uint32_t seq, bool only_header, struct msg_row *m, int *fd,
                  struct store_file **out, struct err *e);
/* LF to CRLF where there is no CR, as octets come; *last is the octet before. */
void add_crlf(struct buf *out, struct slice in, char *last);
/* Octets in memory, which are taken over. */
struct store_file *file_of(struct buf *octets);
int file_read(const struct place *p, int fd, bool only_header, struct store_file **out,
              struct err *e);
int file_gone(struct err *e); /* -1 and ERR_NOTFOUND in words for clients */

/* ---- cache.c; user.lock held ---- */
struct form_texts { /* places in a buf, which may move while it grows; at SL_NPOS: p NULL */
    size_t at[FORMS], n[FORMS];
    bool has[FORMS];
};
void form_add(struct buf *mem, struct form_texts *t, enum form i, struct slice s);
/* From a column. NULL is a form that is too long to keep: of the headers that is all there is to say, others are not
 * there. */
void form_take(struct buf *mem, struct form_texts *t, enum form i, struct db_stmt *s, int column);
/* 1: the rows are there, and what is wanted of them in mem; 0: none; -1 e. */
int cache_load(struct store_user *u, int64_t mailbox, uint32_t uid, unsigned want, struct buf *mem,
               struct form_texts *t, struct err *e);
/* Are the rows of that message there? 1, 0, -1. */
int cache_has(struct store_user *u, int64_t mailbox, uint32_t uid, struct err *e);
/* Rows, sizes and thread ids of n messages of a mailbox, in a transaction of its own. */
int cache_save(struct store_user *u, int64_t mailbox, struct forms *v, size_t n, struct err *e);

/* ---- threads.c; in a transaction ---- */
/* The thread of a message: that of its own id if a reply came before it, else of its nearest known ancestor, else a new
 * one. email: its object id. */
int thread_of(struct store_user *u, const struct forms *f, int64_t email, int64_t *thread,
              struct err *e);

#endif
