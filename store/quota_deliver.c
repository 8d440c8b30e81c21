/* store/quota_deliver.c - see quota_int.h: rows of deliveries that no index knows yet. */
#include "store/quota_int.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- who is alive ---- */

static struct flock
octet_of(int64_t owner, short type)
{
    return (
        struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)owner, .l_len = 1 };
}

static int
open_owners(struct quota *q, struct err *e)
{
    if (q->owners_fd < 0)
        q->owners_fd = open(q->owners_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return q->owners_fd < 0 ? err_sys(e, "cannot open %s", q->owners_path) : 0;
}

/* This process becomes an owner: for as long as it lives its octet is locked. */
static int
be_owner(struct quota *q, struct err *e)
{
    struct flock l;

    if (q->owner != 0)
        return 0;
    if (open_owners(q, e))
        return -1;
    q->owner = (int64_t)(rand_u64() >> 2) | 1;
    l = octet_of(q->owner, F_WRLCK);
    if (fcntl(q->owners_fd, F_OFD_SETLK, &l)) {
        q->owner = 0;
        return err_sys(e, "cannot lock in %s", q->owners_path);
    }
    return 0;
}

static bool
is_alive(struct quota *q, int64_t owner)
{
    struct flock l = octet_of(owner, F_WRLCK);

    if (owner == q->owner)
        return true;
    /* When it cannot be told, wait: the next start tries again. */
    return fcntl(q->owners_fd, F_OFD_GETLK, &l) != 0 || l.l_type != F_UNLCK;
}

/* ---- rows ---- */

int
quota_delivery_add(struct quota *q, struct quota_delivery *d, struct err *e)
{
    struct db_stmt *s;

    if (be_owner(q, e) ||
        db_prepare(q->db,
                   "INSERT INTO deliveries (user, base, dir, file, octets, owner, id)"
                   " VALUES (?1, ?2, ?3, ?4, ?5, ?6, max(?7, coalesce("
                   "(SELECT max(id) FROM deliveries), 0) + 1))",
                   &s, e))
        return -1;
    db_bind_int(s, 1, d->user);
    db_bind_text(s, 2, d->base);
    db_bind_text(s, 3, d->dir);
    db_bind_text(s, 4, d->file);
    db_bind_int(s, 5, d->octets);
    db_bind_int(s, 6, q->owner);
    /* Never that of a row that is gone, or of a quota.db that is: a mark may come late. */
    db_bind_int(s, 7, clock_unix_us());
    if (db_run(s, e))
        return -1;
    d->id = db_last_id(q->db);
    return 0;
}

static int
run_on(struct quota *q, const char *sql, int64_t id, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(q->db, sql, &s, e))
        return -1;
    db_bind_int(s, 1, id);
    return db_run(s, e);
}

int
quota_delivery_done(struct quota *q, int64_t id, struct err *e)
{
    return run_on(q, "UPDATE deliveries SET is_done = 1 WHERE id = ?", id, e);
}

int
quota_delivery_drop(struct quota *q, int64_t id, struct err *e)
{
    return run_on(q, "DELETE FROM deliveries WHERE id = ?", id, e);
}

int
quota_deliveries_gone(struct quota *q, int64_t user, struct err *e)
{
    return run_on(q, "DELETE FROM deliveries WHERE user = ? AND is_done = 1", user, e);
}

/* ---- what the dead have left ---- */

/* A file that has left its place has been met by a scan, which took the row, or by a foreign program, which a scan will
 * find. */
static bool
is_file_there(struct slice dir, struct slice file)
{
    struct buf path = { 0 };
    bool is;

    buf_addf(&path, "%.*s/%.*s", SL_ARG(dir), SL_ARG(file));
    is = access(buf_z(&path), F_OK) == 0;
    buf_free(&path);
    return is;
}

static int
settle_all(struct quota *q, size_t *n, struct err *e)
{
    struct {
        int64_t id;
        bool is_there;
    } *v = NULL;
    size_t cap = 0;
    struct db_stmt *s;
    int rc;

    *n = 0;
    if (db_prepare(q->db, "SELECT id, owner, dir, file FROM deliveries WHERE is_done = 0", &s, e))
        return -1;
    while ((rc = db_step(s, e)) == 1) {
        if (is_alive(q, db_int(s, 1)))
            continue;
        v = mem_grow(v, &cap, *n + 1, sizeof(v[0]));
        v[*n].id = db_int(s, 0);
        v[*n].is_there = is_file_there(db_text(s, 2), db_text(s, 3));
        ++*n;
    }
    for (size_t i = 0; rc == 0 && i < *n; i++)
        rc =
            v[i].is_there ? quota_delivery_done(q, v[i].id, e) : quota_delivery_drop(q, v[i].id, e);
    free(v);
    return rc;
}

void
quota_settle_dead(struct quota *q)
{
    struct err e = { 0 };
    size_t n = 0;
    int rc;

    if (quota_begin(q, true, &e) == 0) {
        rc = open_owners(q, &e);
        if (rc == 0)
            rc = settle_all(q, &n, &e);
        rc = quota_end(q, true, rc, &e);
        if (rc == 0 && n > 0)
            log_info("quota.settle", LOG_NONE,
                     "quota: %zu deliveries that were cut off are settled by what is on disk", n);
    }
    if (e.kind != ERR_NONE)
        log_warn("quota.settle", LOG_NONE, "%s", e.msg);
}
