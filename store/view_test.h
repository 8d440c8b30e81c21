/* store/view_test.h - what tests of views and of the index share: the index asked and changed by hand, a mailbox with many
 * messages, and two views or rows compared. Tests only. */
#ifndef POSTERN_STORE_VIEW_TEST_H
#define POSTERN_STORE_VIEW_TEST_H

#include "base/rand.h"
#include "store/shared.h"
#include "store/store_test.h"

enum { MANY = 3000 };

/* ---- the index by hand ---- */

__attribute__((unused)) static int64_t
ask(const char *sql)
{
    struct db_stmt *s;
    int64_t v = INT64_MIN;

    if (user_lock(us, &e)) {
        FAIL("%s", e.msg);
        return v;
    }
    if (db_prepare_once(us->db, sl_z(sql), &s, NULL, &e) || db_step(s, &e) < 0)
        FAIL("%s: %s", sql, e.msg);
    else if (db_columns(s) > 0)
        v = db_int(s, 0);
    db_stmt_free(&s);
    user_unlock(us);
    return v;
}

__attribute__((unused)) static void
run(const char *sql)
{
    if (user_lock(us, &e)) {
        FAIL("%s", e.msg);
        return;
    }
    if (db_exec(us->db, sql, &e))
        FAIL("%s: %s", sql, e.msg);
    user_unlock(us);
}

__attribute__((unused)) static void
check_sums(void)
{
    static const struct {
        const char *name, *sql;
    } rows[] = {
        { "messages", "count(*) FROM messages WHERE mailbox = mailboxes.id" },
        { "unseen", "count(*) FROM messages WHERE mailbox = mailboxes.id AND flags & 1 = 0" },
        { "deleted", "count(*) FROM messages WHERE mailbox = mailboxes.id AND flags & 8 = 8" },
        { "octets", "coalesce(sum(size), 0) FROM messages WHERE mailbox = mailboxes.id" },
        { "crlf_octets",
          "coalesce(sum(max(crlf, size)), 0) FROM messages WHERE mailbox = mailboxes.id" },
        { "recent", "count(*) FROM messages WHERE mailbox = mailboxes.id AND uid >= recent_from" },
        { "ranges", "count(*) FROM expunges WHERE mailbox = mailboxes.id" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char sql[300];

        snprintf(sql, sizeof sql, "SELECT count(*) FROM mailboxes WHERE %s <> (SELECT %s)",
                 rows[i].name, rows[i].sql);
        if (ask(sql) != 0)
            FAIL("the sum %s is wrong", rows[i].name);
    }
}

/* ---- a mailbox with many messages ---- */

__attribute__((unused)) static void
fill(unsigned n)
{
    foreign_mkdirs("");
    for (unsigned i = 0; i < n; i++) {
        char path[400];
        int fd;

        snprintf(path, sizeof path, "%s/cur/%u.M%uP1.x:2,%s", root, 1700000000 + i, i,
                 i % 2 ? "S" : "");
        fd = open(path, O_CREAT | O_WRONLY, 0600);
        BUG_ON(fd < 0 || write(fd, "Subject: x\n\ny\n", 14) != 14);
        close(fd);
    }
}

__attribute__((unused)) static void
setup_many(void)
{
    setup();
    fill(MANY);
    open_store();
}

__attribute__((unused)) static void
again(void)
{
    close_store();
    open_store();
}

__attribute__((unused)) static void
expunge(struct store_view *v, uint32_t first, uint32_t last)
{
    struct store_uids u = { 0 };

    store_flags(v, first, last, STORE_ADD, STORE_DELETED, 0, true);
    store_uids_add(&u, first, last);
    if (store_expunge(v, &u, &e))
        FAIL("expunge: %s", e.msg);
    store_uids_free(&u);
}

__attribute__((unused)) static bool
row_eq(const struct store_row *a, const struct store_row *b)
{
    return a->uid == b->uid && ((a->flags.sys ^ b->flags.sys) & ~(uint32_t)STORE_RECENT) == 0 &&
           a->flags.kw == b->flags.kw && a->modseq == b->modseq;
}

/* Both know the same, but for \Recent. */
__attribute__((unused)) static void
check_equal(const struct store_view *a, const struct store_view *b)
{
    struct store_box x, y;
    struct store_row r, q;

    store_view_box(a, &x);
    store_view_box(b, &y);
    CHECK_EQ_INT(x.exists, y.exists);
    CHECK_EQ_INT(x.uidnext, y.uidnext);
    CHECK_EQ_INT(x.highestmodseq, y.highestmodseq);
    CHECK_EQ_INT(x.first_unseen_seq, y.first_unseen_seq);
    for (uint32_t i = 1; store_view_row(a, i, &r) && store_view_row(b, i, &q); i++)
        if (!row_eq(&r, &q)) {
            FAIL("rows %u differ: UID %u, %u; flags %x, %x; MODSEQ %llu, %llu", i, r.uid, q.uid,
                 r.flags.sys, q.flags.sys, (unsigned long long)r.modseq,
                 (unsigned long long)q.modseq);
            return;
        }
}

__attribute__((unused)) static void
check_rows_equal(const struct rows *a, const struct rows *b)
{
    CHECK_EQ_INT(rows_count(a), rows_count(b));
    for (size_t i = 0; i < rows_count(a) && i < rows_count(b); i++) {
        struct vrow x = rows_at(a, i), y = rows_at(b, i);

        if (x.uid != y.uid || x.sys != y.sys || x.kw != y.kw || x.modseq != y.modseq) {
            FAIL("rows %zu differ: UID %u, %u", i, x.uid, y.uid);
            return;
        }
    }
}

/* Something that a session or a foreign program might do. */
__attribute__((unused)) static void
random_change(struct store_view *v)
{
    uint32_t n = exists(v), first = 1 + rand_below(n + 5), many = 1 + rand_below(20);
    char name[80];

    switch (rand_below(5)) {
    case 0:
        expunge(v, first, first + many);
        break;
    case 1:
        for (uint32_t i = 0; i < many; i++) {
            snprintf(name, sizeof name, "%u.M%uP2.y", 1800000000 + rand_below(1000000),
                     rand_below(1000000));
            foreign("new", name, "Subject: n\n\nz\n");
        }
        break;
    case 2:
        append("INBOX", "Subject: a\r\n\r\nb\r\n", rand_below(2), NULL);
        break;
    default: /* not FLAGGED: other tests have it lie */
        store_flags(v, first, first + rand_below(2) * many, (enum store_op)rand_below(3),
                    rand_below(2) ? STORE_SEEN : STORE_ANSWERED, rand_below(2), false);
    }
}

__attribute__((unused)) static struct store_uids
uids(const uint32_t *bounds, size_t n)
{
    struct store_uids u = { 0 };

    for (size_t i = 0; i + 1 < n; i += 2)
        store_uids_add(&u, bounds[i], bounds[i + 1]);
    return u;
}
#define UIDS(...) uids((const uint32_t[]){ __VA_ARGS__ }, sizeof((uint32_t[]){ __VA_ARGS__ }) / 4)

#endif
