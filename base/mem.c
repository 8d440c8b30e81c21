/* base/mem.c - see mem.h. */
#include "base/mem.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Straight to stderr: the log may itself want memory or a lock. */
static _Noreturn void
mem_exhausted(size_t n)
{
    dprintf(STDERR_FILENO, "fatal: out of memory: %zu octets wanted\n", n);
    abort();
}

void *
mem_alloc(size_t n)
{
    void *p = malloc(n > 0 ? n : 1);

    if (p == NULL)
        mem_exhausted(n);
    return p;
}

void *
mem_zalloc(size_t n)
{
    void *p = calloc(1, n > 0 ? n : 1);

    if (p == NULL)
        mem_exhausted(n);
    return p;
}

void *
mem_realloc(void *p, size_t n)
{
    void *q = realloc(p, n > 0 ? n : 1);

    if (q == NULL)
        mem_exhausted(n);
    return q;
}

void *
mem_grow(void *p, size_t *cap, size_t want, size_t size)
{
    size_t n = *cap > 0 ? *cap : 8;

    BUG_ON(size == 0);
    if (want <= *cap && p != NULL)
        return p;
    while (n < want)
        n = n > SIZE_MAX / 2 ? want : n * 2;
    if (n > SIZE_MAX / size)
        mem_exhausted(SIZE_MAX);
    p = mem_realloc(p, n * size);
    *cap = n;
    return p;
}

char *
mem_dupz(const char *z)
{
    return mem_dup(z, strlen(z) + 1);
}

void *
mem_dup(const void *p, size_t n)
{
    void *q = mem_alloc(n);

    if (n > 0)
        memcpy(q, p, n);
    return q;
}

void
mem_wipe(void *p, size_t n)
{
    if (n > 0)
        explicit_bzero(p, n);
}

_Noreturn void
mem_bug(const char *file, int line, const char *what)
{
    dprintf(STDERR_FILENO, "panic: %s:%d: %s\n", file, line, what);
    abort();
}
