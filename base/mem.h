/* base/mem.h - allocation that does not fail, and small helpers around it.
 * A daemon that is out of memory logs it and aborts: the supervisor restarts it, and every promise holds
 * across kill -9. What strangers can make grow has a cap of its own (buf.max, arena caps), so only a
 * machine that is really out of memory comes here. Layer: base. */
#ifndef POSTERN_BASE_MEM_H
#define POSTERN_BASE_MEM_H

#include <stddef.h>

void *mem_alloc(size_t n);  /* never NULL */
void *mem_zalloc(size_t n); /* zeroed */
void *mem_realloc(void *p, size_t n);
/* Grow an array to hold at least `want` elements of `size` octets; doubles. *cap in elements. */
void *mem_grow(void *p, size_t *cap, size_t want, size_t size);
char *mem_dupz(const char *z);
void *mem_dup(const void *p, size_t n);
/* Overwrite a secret so that the compiler cannot leave it. */
void mem_wipe(void *p, size_t n);

#define MEM_NEW(type)                   ((type *)mem_zalloc(sizeof(type)))
#define COUNT_OF(a)                     (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* A broken invariant of our own: say where and abort. Never for input. */
#define BUG_ON(cond) ((cond) ? mem_bug(__FILE__, __LINE__, #cond) : (void)0)
_Noreturn void mem_bug(const char *file, int line, const char *what);

#endif
