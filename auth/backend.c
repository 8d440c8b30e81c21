/* auth/backend.c - see backend.h. */
#include "auth/backend.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>

struct backend {
    struct work_pool *pool;
    struct table_set *tables;
    uint64_t generation, looked_ms;
};

static enum work_rc
run(struct work_job *w)
{
    struct backend_job *j = CONTAINER_OF(w, struct backend_job, work);

    j->was_changed = table_set_poll(j->tables);
    j->looked_ms = table_set_polled_ms(j->tables);
    j->run(j, j->tables);
    return WORK_DONE;
}

static void
done(struct work_job *w)
{
    struct backend_job *j = CONTAINER_OF(w, struct backend_job, work);
    struct backend *b = j->backend;

    b->generation += j->was_changed;
    if (j->tables == b->tables)
        b->looked_ms = j->looked_ms;
    j->done(j);
}

struct backend *
backend_new(const struct conf *c)
{
    struct backend *b = MEM_NEW(struct backend);

    /* One thread: the order of jobs is the order of answers, and the handles need no lock. What is asked is bounded by
     * the connections' own limits. */
    b->pool = work_pool_new("tables", 1, 0);
    b->tables = table_set_new(c);
    b->generation = 1;
    return b;
}

void
backend_free(struct backend **bp)
{
    struct backend *b = *bp;

    if (b == NULL)
        return;
    work_pool_free(&b->pool);
    table_set_free(&b->tables);
    free(b);
    *bp = NULL;
}

void
backend_submit(struct backend *b, struct backend_job *j)
{
    j->backend = b;
    j->tables = b->tables;
    j->work = (struct work_job){ .run = run, .done = done };
    work_submit(b->pool, &j->work);
}

/* ---- reload: the old set is freed by a job behind all that use it ---- */

struct farewell {
    struct work_job work;
    struct table_set *tables;
};

static enum work_rc
farewell_run(struct work_job *w)
{
    table_set_free(&CONTAINER_OF(w, struct farewell, work)->tables);
    return WORK_DONE;
}

static void
farewell_done(struct work_job *w)
{
    free(CONTAINER_OF(w, struct farewell, work));
}

void
backend_reload(struct backend *b, const struct conf *c)
{
    struct farewell *f = MEM_NEW(struct farewell);

    f->tables = b->tables;
    f->work = (struct work_job){ .run = farewell_run, .done = farewell_done };
    b->tables = table_set_new(c);
    b->generation++;
    b->looked_ms = 0;
    work_submit(b->pool, &f->work);
}

uint64_t
backend_generation(const struct backend *b)
{
    return b->generation;
}

bool
backend_is_fresh(const struct backend *b)
{
    return b->looked_ms && clock_mono_ms() - b->looked_ms < TABLE_POLL_MS;
}
