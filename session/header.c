/* session/header.c - see header.h. A stage that ends at once brings the next one from the same loop. */
#include "session/header.h"

#include "base/mem.h"
#include "core/loop.h"

#include <stdlib.h>

/* ---- fields ---- */

void
header_init(struct header *h)
{
    *h = (struct header){ 0 };
    h->end = &h->first;
}

void
header_field_set(struct header_field *f, struct slice text)
{
    struct buf b = { 0 };

    buf_adds(&b, text); /* it may be a part of what goes */
    buf_free(&f->text);
    f->text = b;
    f->name_n = sl_find_char(text, ':');
    BUG_ON(f->name_n == SL_NPOS);
}

struct header_field *
header_add(struct header *h, struct slice text)
{
    struct header_field *f = MEM_NEW(struct header_field);

    header_field_set(f, text);
    header_push(h, f);
    return f;
}

void
header_push(struct header *h, struct header_field *f)
{
    f->next = NULL;
    *h->end = f;
    h->end = &f->next;
    h->n++;
    h->octets += f->text.n;
}

void
header_field_free(struct header_field *f)
{
    if (f == NULL)
        return;
    buf_free(&f->text);
    free(f);
}

void
header_clear(struct header *h)
{
    while (h->first) {
        struct header_field *f = h->first;

        h->first = f->next;
        header_field_free(f);
    }
    h->end = &h->first;
    h->n = h->octets = 0;
}

/* ---- stages ---- */

struct header_run {
    struct header h;
    const struct header_stage *stages;
    size_t n, at;
    void (*done)(uint64_t id, int rc, struct header *h, const struct err *e);
    uint64_t id;
    bool is_looping, may_go_on;
    int rc;
    struct err e;
};

static void
end_run(struct header_run *r)
{
    if (id_get(r->id))
        r->done(r->id, r->rc, &r->h, &r->e);
    header_clear(&r->h);
    free(r);
}

static void
go_on(struct header_run *r)
{
    r->is_looping = true;
    while (r->may_go_on) {
        r->may_go_on = false;
        if (r->rc || r->at == r->n || id_get(r->id) == NULL) {
            end_run(r);
            return;
        }
        r->at++;
        r->stages[r->at - 1].run(r->stages[r->at - 1].arg, r->id, &r->h, r);
    }
    r->is_looping = false;
}

void
header_run_next(struct header_run *r, int rc, const struct err *e)
{
    r->rc = rc;
    if (rc && e)
        r->e = *e;
    r->may_go_on = true;
    if (!r->is_looping)
        go_on(r);
}

void
header_run_start(struct header *h, const struct header_stage *stages, size_t n,
                 void (*done)(uint64_t id, int rc, struct header *h, const struct err *e),
                 uint64_t id)
{
    struct header_run *r = MEM_NEW(struct header_run);

    r->h = *h;
    if (r->h.first == NULL)
        r->h.end = &r->h.first;
    h->first = NULL;
    header_clear(h);
    r->stages = stages;
    r->n = n;
    r->done = done;
    r->id = id;
    header_run_next(r, 0, NULL);
}
