/* base/arena.c - see arena.h. Blocks in a list, the one being filled at its head. */
#include "base/arena.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Under AddressSanitizer a reset keeps nothing, so that use after reset is reported. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_KEEPS_NOTHING 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(ARENA_KEEPS_NOTHING)
#define ARENA_KEEPS_NOTHING 1
#endif

enum {
    ARENA_FIRST_OCTETS = 1024,
    ARENA_BLOCK_OCTETS = 16 * 1024,
#ifdef ARENA_KEEPS_NOTHING
    ARENA_KEEP_OCTETS = 0
#else
    ARENA_KEEP_OCTETS = 4 * 1024 /* the largest block that a reset keeps */
#endif
};

struct arena_block {
    struct arena_block *next;
    size_t size, used; /* octets of data */
    _Alignas(max_align_t) char data[];
};

static struct arena_block *
arena_add_block(struct arena *a, size_t n)
{
    size_t size = a->head == NULL                          ? ARENA_FIRST_OCTETS
                  : a->head->size < ARENA_BLOCK_OCTETS / 4 ? a->head->size * 4
                                                           : ARENA_BLOCK_OCTETS;
    bool is_odd = n > size / 2; /* has a block to itself, and the head is filled further */
    struct arena_block *b;

    if (is_odd && n > size)
        size = n;
    b = mem_alloc(sizeof(*b) + size);
    b->size = size;
    b->used = 0;
    if (is_odd && a->head != NULL) {
        b->next = a->head->next;
        a->head->next = b;
    } else {
        b->next = a->head;
        a->head = b;
    }
    return b;
}

void *
arena_alloc(struct arena *a, size_t n)
{
    const size_t align = _Alignof(max_align_t);
    struct arena_block *b = a->head;
    void *p;

    BUG_ON(n > PTRDIFF_MAX / 2);
    n = n == 0 ? align : (n + align - 1) / align * align;
    if (a->cap > 0 && (a->used > a->cap || n > a->cap - a->used))
        return NULL;
    if (b == NULL || n > b->size - b->used)
        b = arena_add_block(a, n);
    p = b->data + b->used;
    b->used += n;
    a->used += n;
    return memset(p, 0, n);
}

struct slice
arena_dup(struct arena *a, struct slice s)
{
    char *z = arena_dupz(a, s);

    return sl_n(z, z == NULL ? 0 : s.n);
}

char *
arena_dupz(struct arena *a, struct slice s)
{
    char *z;

    BUG_ON(s.n > PTRDIFF_MAX / 4);
    z = arena_alloc(a, s.n + 1);
    if (z != NULL && s.n > 0)
        memcpy(z, s.p, s.n);
    return z;
}

char *
arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    int want;
    char *z;

    va_start(ap, fmt);
    want = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (want < 0)
        return NULL;
    z = arena_alloc(a, (size_t)want + 1);
    if (z == NULL)
        return NULL;
    va_start(ap, fmt);
    vsnprintf(z, (size_t)want + 1, fmt, ap);
    va_end(ap);
    return z;
}

static void
arena_free_blocks(struct arena_block *b)
{
    while (b != NULL) {
        struct arena_block *next = b->next;

        free(b);
        b = next;
    }
}

void
arena_reset(struct arena *a)
{
    struct arena_block *keep = NULL;

    a->used = 0;
    while (a->head != NULL && keep == NULL) {
        struct arena_block *b = a->head;

        a->head = b->next;
        if (b->size <= ARENA_KEEP_OCTETS)
            keep = b;
        else
            free(b);
    }
    arena_free_blocks(a->head);
    a->head = keep;
    if (keep != NULL) {
        keep->next = NULL;
        keep->used = 0;
    }
}

void
arena_free(struct arena *a)
{
    arena_free_blocks(a->head);
    a->head = NULL;
    a->used = 0;
}

struct slice
arena_join(struct arena *a, struct slice left, struct slice right)
{
    char *p = arena_alloc(a, left.n + right.n + 1);

    if (p == NULL)
        return sl_n(NULL, 0);
    if (left.n > 0)
        memcpy(p, left.p, left.n);
    if (right.n > 0)
        memcpy(p + left.n, right.p, right.n);
    return sl_n(p, left.n + right.n);
}
