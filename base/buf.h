/* base/buf.h - a growable octet buffer with a cap, consumed from the front.
 * A zeroed struct is an empty buffer; no memory is held while it is empty and freed.
 * Layer: base. Not thread-safe. */
#ifndef POSTERN_BASE_BUF_H
#define POSTERN_BASE_BUF_H

#include "base/slice.h"

#include <stdarg.h>

struct buf {
    char *p;    /* start of the allocation */
    size_t off; /* first octet not yet consumed */
    size_t n;   /* octets held, from off */
    size_t cap; /* octets allocated */
    size_t max; /* most that may be held; 0: no cap beyond memory */
};

/* All that is held; valid until the next change. */
struct slice buf_slice(const struct buf *b);

/* Append. 0, or -1 when max would be exceeded (then nothing was appended). */
int buf_add(struct buf *b, const void *p, size_t n);
int buf_adds(struct buf *b, struct slice s);
int buf_addz(struct buf *b, const char *z);
int buf_addc(struct buf *b, char c);
int buf_addu(struct buf *b, uint64_t n); /* in decimal */
int buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int buf_vaddf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

/* Room for n more octets at the returned place (NULL: max exceeded); buf_commit() says how many were used. */
char *buf_reserve(struct buf *b, size_t n);
void buf_commit(struct buf *b, size_t n);

void buf_consume(struct buf *b, size_t n);  /* drop n octets from the front */
void buf_truncate(struct buf *b, size_t n); /* keep the first n octets */
void buf_undo(struct buf *b, size_t n);     /* the same; with none left, memory is returned too */
void buf_reset(struct buf *b);              /* empty, memory kept */
void buf_free(struct buf *b);               /* empty, memory returned; max stays */
void buf_wipe(struct buf *b);               /* buf_free() of a secret: no octet stays in memory */
/* NUL-terminated view (the NUL is not counted); valid until the next change. */
const char *buf_z(struct buf *b);

#endif
