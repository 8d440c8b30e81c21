/* store/shared.c - the newest rows of each mailbox in use: brought up to date from the index, shared by the views. */
#include "store/shared.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/snapshot.h"

#include <stdlib.h>

struct shared {
    struct list link; /* in store_user.shared; last used first */
    unsigned users;   /* under rows_lock, as the link */
    int64_t mailbox;
    /* under user.lock, by who is one of the users */
    uint64_t db_inode; /* of the index that rows are from */
    uint32_t uidvalidity;
    uint64_t modseq;
    struct rows *rows;     /* NULL: not read yet */
    size_t n_unpacked;     /* changes since what the snapshot has */
    uint64_t packed_at_ms; /* 0: not by us */
    bool must_pack, is_told;
    bool sums_are_wrong; /* so that they tell nothing */
};

/* ---- who uses them ---- */

static void
drop(struct shared *s)
{
    list_remove(&s->link);
    rows_unref(&s->rows);
    free(s);
}

/* Those that no view uses: all, or what is too much. rows_lock held. */
static void
drop_unused(struct store_user *u)
{
    size_t n = 0;

    LIST_EACH(at, nxt, &u->shared)
    {
        struct shared *s = CONTAINER_OF(at, struct shared, link);
        bool is_last_used = at == u->shared.next;

        if (s->users > 0)
            continue;
        n += s->rows == NULL ? 0 : rows_count(s->rows);
        if (!u->keeps_unused || (n > SHARED_UNUSED_ROWS_MAX && !is_last_used))
            drop(s);
    }
}

struct shared *
shared_enter(struct store_user *u, int64_t mailbox)
{
    struct shared *found = NULL;

    pthread_mutex_lock(&u->rows_lock);
    LIST_EACH(at, nxt, &u->shared)
    {
        struct shared *s = CONTAINER_OF(at, struct shared, link);

        if (s->mailbox == mailbox)
            found = s;
    }
    if (found == NULL) {
        found = MEM_NEW(struct shared);
        found->mailbox = mailbox;
    }
    list_remove(&found->link);
    list_push_front(&u->shared, &found->link);
    found->users++;
    u->keeps_unused = true;
    drop_unused(u);
    pthread_mutex_unlock(&u->rows_lock);
    return found;
}

void
shared_leave(struct store_user *u, struct shared **sp)
{
    struct shared *s = *sp;

    *sp = NULL;
    if (s == NULL)
        return;
    pthread_mutex_lock(&u->rows_lock);
    s->users--;
    drop_unused(u);
    pthread_mutex_unlock(&u->rows_lock);
}

void
shared_drop_unused(struct store_user *u)
{
    pthread_mutex_lock(&u->rows_lock);
    u->keeps_unused = false;
    drop_unused(u);
    pthread_mutex_unlock(&u->rows_lock);
}

/* ---- from the index ---- */

struct changes {
    struct rows_change *v;
    size_t n, cap;
};

static void
add_change(struct changes *c, const struct vrow *row, bool is_gone)
{
    c->v = mem_grow(c->v, &c->cap, c->n + 1, sizeof(c->v[0]));
    c->v[c->n++] = (struct rows_change){ *row, is_gone };
}

static int
cmp_changes(const void *a, const void *b)
{
    uint32_t x = ((const struct rows_change *)a)->row.uid,
             y = ((const struct rows_change *)b)->row.uid;

    return x < y ? -1 : x > y;
}

static struct vrow
row_of(struct db_stmt *s)
{
    return (struct vrow){ .uid = (uint32_t)db_int(s, 0),
                          .sys = (uint32_t)db_int(s, 1),
                          .kw = (uint64_t)db_int(s, 2),
                          .modseq = (uint64_t)db_int(s, 3) };
}

static int
read_expunges(struct store_user *u, const struct mbox *mb, uint64_t since, const struct rows *old,
              struct changes *out, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(u->db, "SELECT first, last FROM expunges WHERE mailbox = ? AND modseq > ?", &s,
                   e))
        return -1;
    db_bind_int(s, 1, mb->id);
    db_bind_int(s, 2, (int64_t)since);
    while ((rc = db_step(s, e)) == 1) {
        uint32_t last = (uint32_t)db_int(s, 1);

        for (size_t i = rows_at_least(old, (uint32_t)db_int(s, 0)); i < rows_count(old); i++) {
            struct vrow row = rows_at(old, i);

            if (row.uid > last)
                break;
            add_change(out, &row, true);
        }
    }
    return rc;
}

static int
read_changed(struct store_user *u, const struct mbox *mb, uint64_t since, struct changes *out,
             struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(u->db,
                   "SELECT uid, flags, kw, modseq FROM messages INDEXED BY messages_modseq"
                   " WHERE mailbox = ? AND modseq > ?",
                   &s, e))
        return -1;
    db_bind_int(s, 1, mb->id);
    db_bind_int(s, 2, (int64_t)since);
    while ((rc = db_step(s, e)) == 1) {
        struct vrow row = row_of(s);

        add_change(out, &row, false);
    }
    return rc;
}

/* From the state of a MODSEQ to now: only what changed is read. n_changes is added to. */
static int
replay(struct store_user *u, const struct mbox *mb, const struct rows *old, uint64_t since,
       struct rows **out, size_t *n_changes, struct err *e)
{
    struct changes c = { 0 };
    int rc = read_expunges(u, mb, since, old, &c, e);

    if (rc == 0)
        rc = read_changed(u, mb, since, &c, e);
    if (rc == 0) {
        if (c.n > 1)
            qsort(c.v, c.n, sizeof(c.v[0]), cmp_changes);
        *out = rows_apply(old, c.v, c.n);
        *n_changes += c.n;
    }
    free(c.v);
    return rc;
}

static int
read_all(struct store_user *u, const struct mbox *mb, struct rows **out, struct err *e)
{
    struct rows_maker *m;
    struct db_stmt *s;
    int rc;

    if (db_prepare(u->db,
                   "SELECT uid, flags, kw, modseq FROM messages WHERE mailbox = ? ORDER BY uid", &s,
                   e))
        return -1;
    db_bind_int(s, 1, mb->id);
    m = rows_maker_new();
    while ((rc = db_step(s, e)) == 1) {
        struct vrow row = row_of(s);

        rows_maker_add(m, &row);
    }
    if (rc == 0)
        *out = rows_maker_end(&m);
    rows_maker_free(&m);
    return rc;
}

/* After an unclean stop every message counts as changed at the floor. */
static void
apply_floor(struct rows **r, uint64_t floor)
{
    struct rows *raised;

    if (floor == 0)
        return;
    raised = rows_raise(*r, floor);
    rows_unref(r);
    *r = raised;
}

/* The mailbox's sums tell rows that are not the index's. */
static bool
is_right(const struct shared *s, const struct rows *r, const struct mbox *mb)
{
    return s->sums_are_wrong ||
           ((int64_t)rows_count(r) == mb->messages && (int64_t)rows_unseen(r) == mb->unseen);
}

static void
tell_bad(struct store_user *u, struct shared *s, const char *what)
{
    if (!s->is_told)
        log_warn("store.snapshot", LOG_F(LF_Z("user", u->name)), "user %s, mailbox %lld: %s",
                 u->name, (long long)s->mailbox, what);
    s->is_told = true;
}

/* Nothing is known yet, or nothing that can be gone on from. */
static int
load(struct store_user *u, struct shared *s, const struct mbox *mb, struct rows **out,
     struct err *e)
{
    struct rows *packed;
    uint64_t modseq;
    bool is_bad;
    int rc = snapshot_load(u, mb, &packed, &modseq, &is_bad, e);

    s->n_unpacked = 0;
    s->must_pack = false;
    if (rc == 1) {
        rc = replay(u, mb, packed, modseq, out, &s->n_unpacked, e);
        rows_unref(&packed);
        if (rc == 0 && mb->floor > modseq) {
            apply_floor(out, mb->floor);
            s->n_unpacked = rows_count(*out);
        }
        if (rc || is_right(s, *out, mb))
            return rc;
        rows_unref(out);
        is_bad = true;
    }
    if (rc < 0)
        return -1;
    if (is_bad)
        tell_bad(u, s, "the snapshot is damaged");
    if (read_all(u, mb, out, e))
        return -1;
    apply_floor(out, mb->floor);
    s->must_pack = is_bad;
    s->n_unpacked = rows_count(*out);
    if (!is_right(s, *out, mb)) {
        tell_bad(u, s, "its sums are not those of its messages");
        s->sums_are_wrong = true;
    }
    return 0;
}

int
shared_refresh(struct store_user *u, struct shared *s, const struct mbox *mb, struct rows **out,
               struct err *e)
{
    struct rows *now = NULL;
    bool can_go_on = s->rows != NULL && s->db_inode == u->db_inode &&
                     s->uidvalidity == mb->uidvalidity && s->modseq <= mb->modseq &&
                     s->modseq >= mb->pruned_modseq;

    if (can_go_on && s->modseq < mb->modseq) {
        if (replay(u, mb, s->rows, s->modseq, &now, &s->n_unpacked, e))
            return -1;
        if (mb->floor > s->modseq)
            apply_floor(&now, mb->floor);
        if (!is_right(s, now, mb)) {
            tell_bad(u, s, "what is known of it does not agree with the index");
            rows_unref(&now);
            can_go_on = false;
        }
    }
    if (!can_go_on && load(u, s, mb, &now, e))
        return -1;
    if (now != NULL) {
        rows_unref(&s->rows);
        s->rows = now;
        s->db_inode = u->db_inode;
        s->uidvalidity = mb->uidvalidity;
        s->modseq = mb->modseq;
    }
    *out = rows_ref(s->rows);
    return 0;
}

/* ---- to the index ---- */

static bool
is_long(const struct shared *s)
{
    size_t n = s->rows == NULL ? 0 : rows_count(s->rows) / SHARED_SNAPSHOT_PART;

    if (s->rows == NULL)
        return false;
    return s->must_pack ||
           s->n_unpacked >= (n > SHARED_SNAPSHOT_CHANGES ? n : SHARED_SNAPSHOT_CHANGES);
}

void
shared_settle(struct store_user *u, struct shared *s)
{
    uint64_t now_ms = clock_mono_ms();
    struct err e = { 0 };

    if (!is_long(s) || s->db_inode != u->db_inode ||
        (s->packed_at_ms != 0 && now_ms - s->packed_at_ms < SHARED_SNAPSHOT_EVERY_S * 1000))
        return;
    if (snapshot_save(u, s->mailbox, s->uidvalidity, s->modseq, s->rows, &e))
        log_warn("store.snapshot", LOG_F(LF_Z("user", u->name)),
                 "user %s: cannot keep the rows of a mailbox packed: %s", u->name, e.msg);
    s->packed_at_ms = now_ms;
    s->n_unpacked = 0;
    s->must_pack = false;
}

enum { SETTLE_MAX = 8 };

void
shared_settle_all(struct store_user *u)
{
    struct shared *all[SETTLE_MAX];
    size_t n = 0;

    pthread_mutex_lock(&u->rows_lock);
    LIST_EACH(at, nxt, &u->shared)
    {
        struct shared *s = CONTAINER_OF(at, struct shared, link);

        if (n == COUNT_OF(all))
            break;
        s->users++;
        all[n++] = s;
    }
    pthread_mutex_unlock(&u->rows_lock);
    for (size_t i = 0; i < n; i++) {
        shared_settle(u, all[i]);
        shared_leave(u, &all[i]);
    }
}
