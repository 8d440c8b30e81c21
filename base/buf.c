/* base/buf.c - see buf.h. One octet beyond what is held is always allocated, for buf_z()'s NUL. */
#include "base/buf.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

enum { BUF_LEAST_OCTETS = 64 };

struct slice
buf_slice(const struct buf *b)
{
    return sl_n(b->n > 0 ? b->p + b->off : "", b->n);
}

/* Make room for n more octets and a NUL behind what is held. */
static void
buf_make_room(struct buf *b, size_t n)
{
    size_t want, cap;
    char *p;

    BUG_ON(n > SIZE_MAX / 4 || b->n > SIZE_MAX / 4);
    want = b->n + n + 1;
    if (want <= b->cap - b->off)
        return;
    if (want <= b->cap && b->off >= b->n) { /* moving is paid for by what was consumed */
        if (b->n > 0)
            memcpy(b->p, b->p + b->off, b->n);
        b->off = 0;
        return;
    }
    cap = b->cap > BUF_LEAST_OCTETS ? b->cap : BUF_LEAST_OCTETS;
    while (cap < want)
        cap *= 2;
    if (b->max > 0 && cap > b->max && want <= b->max)
        cap = b->max + 1;
    p = mem_alloc(cap);
    if (b->n > 0)
        memcpy(p, b->p + b->off, b->n);
    free(b->p);
    b->p = p;
    b->off = 0;
    b->cap = cap;
}

char *
buf_reserve(struct buf *b, size_t n)
{
    if (b->max > 0 && (b->n > b->max || n > b->max - b->n))
        return NULL;
    buf_make_room(b, n);
    return b->p + b->off + b->n;
}

void
buf_commit(struct buf *b, size_t n)
{
    BUG_ON(n > 0 && n >= b->cap - b->off - b->n); /* the NUL's octet stays free */
    b->n += n;
}

int
buf_add(struct buf *b, const void *p, size_t n)
{
    char *at = buf_reserve(b, n);

    if (at == NULL)
        return -1;
    if (n > 0)
        memcpy(at, p, n);
    buf_commit(b, n);
    return 0;
}

int
buf_adds(struct buf *b, struct slice s)
{
    return buf_add(b, s.p, s.n);
}

int
buf_addz(struct buf *b, const char *z)
{
    return buf_add(b, z, strlen(z));
}

int
buf_addc(struct buf *b, char c)
{
    if (b->n + 1 < b->cap - b->off && (b->max == 0 || b->n < b->max)) {
        b->p[b->off + b->n++] = c;
        return 0;
    }
    return buf_add(b, &c, 1);
}

int
buf_addu(struct buf *b, uint64_t n)
{
    char digits[20];
    size_t at = sizeof(digits);

    do
        digits[--at] = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    return buf_add(b, digits + at, sizeof(digits) - at);
}

int
buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    int rc;

    va_start(ap, fmt);
    rc = buf_vaddf(b, fmt, ap);
    va_end(ap);
    return rc;
}

int
buf_vaddf(struct buf *b, const char *fmt, va_list ap)
{
    char small[128]; /* most fit */
    va_list again;
    int want;
    char *at;

    va_copy(again, ap);
    want = vsnprintf(small, sizeof(small), fmt, again);
    va_end(again);
    if (want < 0)
        return -1;
    if ((size_t)want < sizeof(small))
        return buf_add(b, small, (size_t)want);
    at = buf_reserve(b, (size_t)want);
    if (at == NULL)
        return -1;
    vsnprintf(at, (size_t)want + 1, fmt, ap);
    buf_commit(b, (size_t)want);
    return 0;
}

void
buf_consume(struct buf *b, size_t n)
{
    BUG_ON(n > b->n);
    b->n -= n;
    b->off = b->n == 0 ? 0 : b->off + n;
}

void
buf_truncate(struct buf *b, size_t n)
{
    if (n < b->n)
        b->n = n;
    if (b->n == 0)
        b->off = 0;
}

void
buf_undo(struct buf *b, size_t n)
{
    if (n == 0)
        buf_free(b);
    else
        buf_truncate(b, n);
}

void
buf_reset(struct buf *b)
{
    b->off = b->n = 0;
}

void
buf_free(struct buf *b)
{
    free(b->p);
    b->p = NULL;
    b->off = b->n = b->cap = 0;
}

void
buf_wipe(struct buf *b)
{
    if (b->p)
        mem_wipe(b->p, b->cap);
    buf_free(b);
}

const char *
buf_z(struct buf *b)
{
    if (b->p == NULL)
        return "";
    b->p[b->off + b->n] = '\0';
    return b->p + b->off;
}
