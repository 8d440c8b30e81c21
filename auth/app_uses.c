/* auth/app_uses.c - see app_uses.h. */
#include "auth/app_uses.h"

#include "auth/users_app.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { SERVICE_OCTETS = 16, FAILURES_TOLD = 2, PATIENCE_DOUBLINGS = 7 };

struct use {
    int64_t id, when_unix_s;
    char service[SERVICE_OCTETS], address[ADDR_TEXT_OCTETS];
};
struct record {
    struct use use;
    int64_t written_unix_s; /* 0: never */
    bool is_other;          /* than what was written: service or address */
    bool is_unwritten;
};

struct app_uses {
    struct backend *backend;
    struct map *records; /* by number */
    struct timer timer;
    bool is_writing;
    unsigned failures; /* on end */
};

struct write_job {
    struct backend_job job;
    struct app_uses *owner; /* the backend's jobs end before it is freed */
    struct use *uses;
    size_t n;
    int rc;
    struct err e;
};

struct app_uses *
app_uses_new(struct backend *b)
{
    struct app_uses *u = MEM_NEW(struct app_uses);

    u->backend = b;
    u->records = map_new();
    return u;
}

void
app_uses_free(struct app_uses **up)
{
    struct app_uses *u = *up;

    if (u == NULL)
        return;
    timer_stop(&u->timer);
    map_free(&u->records, free);
    free(u);
    *up = NULL;
}

/* ---- writing ---- */

/* Nobody's log-in is to wait for another's lock because of this. */
static void
write_run(struct backend_job *j, struct table_set *tables)
{
    struct write_job *w = CONTAINER_OF(j, struct write_job, job);
    struct users *u = table_set_users(tables, &w->e);

    w->rc = -1;
    if (u == NULL)
        return;
    db_set_patience(users_db(u), 0);
    w->rc = db_begin(users_db(u), &w->e);
    for (size_t i = 0; i < w->n && w->rc == 0; i++) {
        const struct use *x = &w->uses[i];

        w->rc = users_app_used(u, x->id, x->when_unix_s, sl_z(x->service), sl_z(x->address), &w->e);
    }
    if (w->rc == 0)
        w->rc = db_commit(users_db(u), &w->e);
    if (db_in_tx(users_db(u)))
        db_rollback(users_db(u));
    if (w->rc == 0)
        users_wrote(u);
    db_set_patience(users_db(u), DB_IMPATIENT_MS);
}

static bool
is_due(const struct record *r)
{
    return r->is_unwritten && (r->is_other || r->use.when_unix_s < r->written_unix_s ||
                               r->use.when_unix_s - r->written_unix_s >= APP_USES_REST_S);
}

static void on_time(void *arg);

static void
arm(struct app_uses *u)
{
    unsigned n =
        u->failures ? u->failures - 1 : 0; /* the second try tells a lock from what lasts */

    if (!u->is_writing && !timer_is_running(&u->timer))
        timer_start(&u->timer,
                    (uint64_t)APP_USES_WRITE_MS
                        << (n < PATIENCE_DOUBLINGS ? n : PATIENCE_DOUBLINGS),
                    on_time, u);
}

static bool
is_same(const struct use *a, const struct use *b)
{
    return a->when_unix_s == b->when_unix_s && strcmp(a->service, b->service) == 0 &&
           strcmp(a->address, b->address) == 0;
}

static void
note_written(struct app_uses *u, const struct use *x)
{
    struct record *r = map_get_u64(u->records, (uint64_t)x->id);

    if (r == NULL)
        return;
    r->written_unix_s = x->when_unix_s;
    r->is_other =
        strcmp(x->service, r->use.service) != 0 || strcmp(x->address, r->use.address) != 0;
    r->is_unwritten = !is_same(x, &r->use);
}

/* Once may be another's lock; twice is told. */
static void
write_done(struct backend_job *j)
{
    struct write_job *w = CONTAINER_OF(j, struct write_job, job);
    struct app_uses *u = w->owner;

    u->is_writing = false;
    for (size_t i = 0; i < w->n && w->rc == 0; i++)
        note_written(u, &w->uses[i]);
    if (w->rc == 0) {
        u->failures = 0;
    } else if (++u->failures == FAILURES_TOLD) {
        log_warn("auth.app_uses", LOG_F(LF_Z("why", w->e.msg)),
                 "app passwords: when they were last used cannot be kept: %s", w->e.msg);
    }
    if (w->rc < 0)
        arm(u);
    free(w->uses);
    free(w);
}

static void
write_out(struct app_uses *u, bool all)
{
    struct write_job *w = MEM_NEW(struct write_job);
    size_t it = 0;
    uint64_t id;
    void *p;

    w->owner = u;
    w->job.run = write_run;
    w->job.done = write_done;
    w->uses = mem_zalloc((map_count(u->records) + 1) * sizeof *w->uses);
    while (map_next_u64(u->records, &it, &id, &p)) {
        const struct record *r = p;

        if (all ? r->is_unwritten : is_due(r))
            w->uses[w->n++] = r->use;
    }
    if (w->n == 0) {
        free(w->uses);
        free(w);
        return;
    }
    u->is_writing = true;
    backend_submit(u->backend, &w->job);
}

static void
on_time(void *arg)
{
    struct app_uses *u = arg;

    if (!u->is_writing)
        write_out(u, false);
}

void
app_uses_flush(struct app_uses *u)
{
    timer_stop(&u->timer);
    if (!u->is_writing)
        write_out(u, true);
}

bool
app_uses_is_idle(const struct app_uses *u)
{
    return !u->is_writing;
}

/* ---- noting ---- */

/* Those whose last use is written long since make room. */
static bool
has_room(struct app_uses *u)
{
    size_t it = 0;
    uint64_t id;
    void *p;

    if (map_count(u->records) < APP_USES_MAX)
        return true;
    while (map_next_u64(u->records, &it, &id, &p)) {
        const struct record *r = p;

        if (!r->is_unwritten)
            free(map_del_u64(u->records, id));
    }
    return map_count(u->records) < APP_USES_MAX;
}

void
app_uses_note(struct app_uses *u, int64_t id, const char *service, const struct addr *remote)
{
    struct record *r = u ? map_get_u64(u->records, (uint64_t)id) : NULL;
    struct use x = { .id = id, .when_unix_s = clock_unix_s() };

    if (u == NULL || (r == NULL && !has_room(u)))
        return;
    if (r == NULL) {
        r = MEM_NEW(struct record);
        map_set_u64(u->records, (uint64_t)id, r);
    }
    snprintf(x.service, sizeof x.service, "%s", service);
    if (addr_family(remote) == AF_INET || addr_family(remote) == AF_INET6)
        (void)addr_ip_text(remote, x.address);
    r->is_other = r->is_other || r->written_unix_s == 0 || strcmp(x.service, r->use.service) != 0 ||
                  strcmp(x.address, r->use.address) != 0;
    r->use = x;
    r->is_unwritten = true;
    if (is_due(r))
        arm(u);
}
