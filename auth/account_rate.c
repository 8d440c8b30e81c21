/* auth/account_rate.c - see account_rate.h. Entries live in memory; those that changed are copied and written by a job on
 * a thread of its own, in one transaction. */
#include "auth/account_rate.h"

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/loop.h"
#include "core/work.h"
#include "db/db.h"

#include <stdlib.h>

enum { HOUR_S = 3600, DAY_S = 86400, SPANS = 2 };

struct span {
    int64_t began_unix_s;
    uint64_t messages, recipients;
};

struct entry {
    struct span span[SPANS]; /* hour, day */
    int64_t told_unix_s;     /* postmaster was told; 0: never */
    bool is_dirty;
};

struct saved {
    char name[ACCOUNT_NAME_OCTETS];
    size_t n;
    struct entry e;
};

struct account_rate {
    struct map *entries;
    struct {
        uint64_t messages, recipients;
    } max[SPANS];
    struct db *db; /* the job's while it runs */
    struct work_pool *pool;
    struct work_job job;
    struct saved *batch;
    size_t n_batch, n_dirty;
    struct timer save;
    bool is_saving, is_ending;
};

static const int64_t lengths_s[SPANS] = { HOUR_S, DAY_S };

/* ---- counting ---- */

/* A clock that was set back does not make an hour longer than one. */
static bool
is_over(int64_t began_unix_s, int64_t length_s, int64_t now)
{
    return now < began_unix_s || now - began_unix_s >= length_s;
}

static void
sweep(struct account_rate *a, int64_t now)
{
    struct slice key;
    size_t it = 0;
    void *v;

    while (map_next(a->entries, &it, &key, &v)) {
        struct entry *e = v;

        if (is_over(e->span[1].began_unix_s, DAY_S, now) && !e->is_dirty) {
            map_del(a->entries, key);
            free(e);
        }
    }
}

static struct entry *
find(struct account_rate *a, struct slice account, int64_t now)
{
    struct entry *e = map_get(a->entries, account);

    if (e)
        return e;
    if (map_count(a->entries) >= ACCOUNT_RATE_MAX)
        sweep(a, now);
    if (map_count(a->entries) >= ACCOUNT_RATE_MAX)
        return NULL;
    e = MEM_NEW(struct entry);
    for (size_t i = 0; i < SPANS; i++)
        e->span[i].began_unix_s = now;
    map_set(a->entries, account, e);
    return e;
}

static void
judge(const struct account_rate *a, const struct entry *e, struct account_verdict *out)
{
    static const char *const names[SPANS][2] = {
        { "message_limit_hour", "recipient_limit_hour" },
        { "message_limit_day", "recipient_limit_day" },
    };

    for (size_t i = 0; i < SPANS; i++) {
        uint64_t counts[2] = { e->span[i].messages, e->span[i].recipients };
        uint64_t maxima[2] = { a->max[i].messages, a->max[i].recipients };

        for (size_t k = 0; k < 2; k++)
            if (out->limit == NULL && maxima[k] > 0 && counts[k] > maxima[k]) {
                out->limit = names[i][k];
                out->max = maxima[k];
                out->count = counts[k];
            }
    }
}

static void begin_save(void *arg);

bool
account_rate_count(struct account_rate *a, struct slice account, uint64_t recipients, int64_t now,
                   struct account_verdict *out)
{
    struct entry *e = find(a, sl_head(account, ACCOUNT_NAME_OCTETS), now);

    *out = (struct account_verdict){ 0 };
    if (e == NULL)
        return false;
    for (size_t i = 0; i < SPANS; i++) {
        if (is_over(e->span[i].began_unix_s, lengths_s[i], now))
            e->span[i] = (struct span){ .began_unix_s = now };
        e->span[i].messages++;
        e->span[i].recipients += recipients;
    }
    judge(a, e, out);
    if (out->limit && (e->told_unix_s == 0 || is_over(e->told_unix_s, DAY_S, now))) {
        out->tell = true;
        e->told_unix_s = now;
    }
    a->n_dirty += !e->is_dirty;
    e->is_dirty = true;
    if (a->db && !a->is_saving && !timer_is_running(&a->save))
        timer_start(&a->save, ACCOUNT_SAVE_MS, begin_save, a);
    return true;
}

size_t
account_rate_size(const struct account_rate *a)
{
    return map_count(a->entries);
}

void
account_rate_set_limits(struct account_rate *a, const struct conf *c)
{
    a->max[0].messages = (uint64_t)c->submission_account_message_limit_hour;
    a->max[0].recipients = (uint64_t)c->submission_account_recipient_limit_hour;
    a->max[1].messages = (uint64_t)c->submission_account_message_limit_day;
    a->max[1].recipients = (uint64_t)c->submission_account_recipient_limit_day;
}

/* ---- the database ---- */

static const char schema[] = "CREATE TABLE IF NOT EXISTS account_rate (account TEXT PRIMARY KEY,"
                             " hour_began INTEGER, hour_messages INTEGER, hour_recipients INTEGER,"
                             " day_began INTEGER, day_messages INTEGER, day_recipients INTEGER,"
                             " told INTEGER) WITHOUT ROWID";

static int
write_one(struct db *d, const struct saved *s, struct err *e)
{
    struct db_stmt *st;
    int at = 1;

    if (db_prepare(d, "INSERT OR REPLACE INTO account_rate VALUES (?, ?, ?, ?, ?, ?, ?, ?)", &st,
                   e))
        return -1;
    db_bind_text(st, at++, sl_n(s->name, s->n));
    for (size_t i = 0; i < SPANS; i++) {
        db_bind_int(st, at++, s->e.span[i].began_unix_s);
        db_bind_int(st, at++, (int64_t)s->e.span[i].messages);
        db_bind_int(st, at++, (int64_t)s->e.span[i].recipients);
    }
    db_bind_int(st, at, s->e.told_unix_s);
    return db_run(st, e);
}

static int
write_batch(struct account_rate *a, struct err *e)
{
    int64_t newest = 0;
    struct db_stmt *st;

    if (db_begin(a->db, e))
        return -1;
    for (size_t i = 0; i < a->n_batch; i++) {
        if (a->batch[i].e.span[1].began_unix_s > newest)
            newest = a->batch[i].e.span[1].began_unix_s;
        if (write_one(a->db, &a->batch[i], e)) {
            db_rollback(a->db);
            return -1;
        }
    }
    if (db_prepare(a->db, "DELETE FROM account_rate WHERE day_began < ?", &st, e)) {
        db_rollback(a->db);
        return -1;
    }
    db_bind_int(st, 1, newest - 2 * DAY_S);
    if (db_run(st, e)) {
        db_rollback(a->db);
        return -1;
    }
    return db_commit(a->db, e);
}

static enum work_rc
save_run(struct work_job *j)
{
    struct account_rate *a = CONTAINER_OF(j, struct account_rate, job);
    struct err e = { 0 };

    if (write_batch(a, &e))
        log_warn("account.save", LOG_F(LF_Z("why", e.msg)),
                 "counts of accounts are not written: %s", e.msg);
    return WORK_DONE;
}

static void
save_done(struct work_job *j)
{
    struct account_rate *a = CONTAINER_OF(j, struct account_rate, job);

    free(a->batch);
    a->batch = NULL;
    a->is_saving = false;
    a->job = (struct work_job){ 0 };
    if (a->n_dirty > 0 && !a->is_ending)
        timer_start(&a->save, ACCOUNT_SAVE_MS, begin_save, a);
}

static void
take_batch(struct account_rate *a)
{
    struct slice key;
    size_t it = 0;
    void *v;

    a->batch = mem_zalloc((a->n_dirty + 1) * sizeof(*a->batch));
    a->n_batch = 0;
    while (a->n_batch < a->n_dirty && map_next(a->entries, &it, &key, &v)) {
        struct entry *e = v;
        struct saved *s = &a->batch[a->n_batch];

        if (!e->is_dirty)
            continue;
        s->n = key.n;
        memcpy(s->name, key.p, key.n);
        s->e = *e;
        e->is_dirty = false;
        a->n_batch++;
    }
    a->n_dirty = 0;
}

static void
begin_save(void *arg)
{
    struct account_rate *a = arg;

    take_batch(a);
    a->is_saving = true;
    a->job = (struct work_job){ .run = save_run, .done = save_done };
    if (a->pool == NULL)
        a->pool = work_pool_new("account", 1, 0);
    work_submit(a->pool, &a->job);
}

static int
load(struct account_rate *a, struct err *e)
{
    struct db_stmt *st;
    int rc;

    if (db_exec(a->db, schema, e) || db_prepare(a->db, "SELECT * FROM account_rate", &st, e))
        return -1;
    while ((rc = db_step(st, e)) > 0 && map_count(a->entries) < ACCOUNT_RATE_MAX) {
        struct entry *n = MEM_NEW(struct entry);

        for (size_t i = 0; i < SPANS; i++)
            n->span[i] = (struct span){ .began_unix_s = db_int(st, (int)(3 * i + 1)),
                                        .messages = (uint64_t)db_int(st, (int)(3 * i + 2)),
                                        .recipients = (uint64_t)db_int(st, (int)(3 * i + 3)) };
        n->told_unix_s = db_int(st, 7);
        free(map_set(a->entries, sl_head(db_text(st, 0), ACCOUNT_NAME_OCTETS), n));
    }
    if (rc > 0)
        db_reset(st);
    return rc < 0 ? -1 : 0;
}

struct account_rate *
account_rate_new(const char *path)
{
    struct account_rate *a = MEM_NEW(struct account_rate);
    struct err e = { 0 };

    a->entries = map_new_icase();
    if (db_open(path, DB_CREATE | DB_WAL | DB_IMPATIENT, 0, &a->db, &e) || load(a, &e)) {
        log_warn("account.open", LOG_F(LF_Z("path", path), LF_Z("why", e.msg)),
                 "%s: %s: a restart will forget what accounts have sent", path, e.msg);
        db_close(&a->db);
    }
    return a;
}

void
account_rate_free(struct account_rate **ap)
{
    struct account_rate *a = *ap;

    *ap = NULL;
    if (a == NULL)
        return;
    timer_stop(&a->save);
    a->is_ending = true;
    work_pool_free(&a->pool);
    if (a->db && a->n_dirty > 0) {
        take_batch(a);
        save_run(&a->job);
        free(a->batch);
    }
    db_close(&a->db);
    map_free(&a->entries, free);
    free(a);
}
