/* conf/problems.c - every problem of a file, collected, so that an operator sees them all at once. */
#include "conf/conf.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdlib.h>

void
conf_problem_add(struct conf_problems *ps, bool is_error, const char *file, unsigned line,
                 const char *fmt, ...)
{
    struct buf text = { 0 };
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    ps->v = mem_grow(ps->v, &ps->cap, ps->n + 1, sizeof(*ps->v));
    ps->v[ps->n++] =
        (struct conf_problem){ is_error, mem_dupz(file), line, mem_dupz(buf_z(&text)) };
    ps->errors += is_error;
    buf_free(&text);
}

void
conf_problems_free(struct conf_problems *ps)
{
    for (size_t i = 0; i < ps->n; i++) {
        free((void *)(uintptr_t)ps->v[i].file);
        free((void *)(uintptr_t)ps->v[i].text);
    }
    free(ps->v);
    *ps = (struct conf_problems){ 0 };
}
