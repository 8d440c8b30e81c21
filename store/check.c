/* store/check.c - a user's index looked through: SQLite's own check, rows that belong to nothing, half-done work, and each
 * mailbox (check_box.c). */
#include "store/check_int.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PENDING_TRIES = 20, PENDING_WAIT_US = 50 * 1000 };

struct user_check {
    struct store_user *u;
    struct store_check *c;
    uint64_t done, all; /* messages */
};

__attribute__((format(printf, 3, 4))) static void
note(const struct user_check *k, struct slice mailbox, const char *fmt, ...)
{
    char text[400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (k->c->teller.note != NULL)
        k->c->teller.note(k->c->teller.arg, mailbox, text);
}

/* ---- rows that belong to nothing ---- */

#define NO_MAILBOX " NOT EXISTS (SELECT 1 FROM mailboxes b WHERE b.id = "
#define NO_MESSAGE(t)                                                                              \
    " NOT EXISTS (SELECT 1 FROM messages m WHERE m.mailbox = " t ".mailbox AND m.uid = " t ".uid)"

static const struct {
    const char *what, *count, *remove;
} orphans[] = {
    { "messages of mailboxes that are gone",
      "SELECT count(*) FROM messages WHERE" NO_MAILBOX "messages.mailbox)",
      "DELETE FROM messages WHERE" NO_MAILBOX "messages.mailbox)" },
    { "keywords of mailboxes that are gone",
      "SELECT count(*) FROM keywords WHERE" NO_MAILBOX "keywords.mailbox)",
      "DELETE FROM keywords WHERE" NO_MAILBOX "keywords.mailbox)" },
    { "expunges of mailboxes that are gone",
      "SELECT count(*) FROM expunges WHERE" NO_MAILBOX "expunges.mailbox)",
      "DELETE FROM expunges WHERE" NO_MAILBOX "expunges.mailbox)" },
    { "snapshots of mailboxes that are gone",
      "SELECT count(*) FROM snapshots WHERE" NO_MAILBOX "snapshots.mailbox)",
      "DELETE FROM snapshots WHERE" NO_MAILBOX "snapshots.mailbox)" },
    { "cached forms of messages that are gone",
      "SELECT count(*) FROM cache WHERE" NO_MESSAGE("cache"),
      "DELETE FROM cache WHERE" NO_MESSAGE("cache") },
    { "cached headers of messages that are gone",
      "SELECT count(*) FROM cache_headers WHERE" NO_MESSAGE("cache_headers"),
      "DELETE FROM cache_headers WHERE" NO_MESSAGE("cache_headers") },
    { "sort keys of messages that are gone",
      "SELECT count(*) FROM cache_sort WHERE" NO_MESSAGE("cache_sort"),
      "DELETE FROM cache_sort WHERE" NO_MESSAGE("cache_sort") },
    { "ids of messages that are gone",
      "SELECT count(*) FROM foreign_ids WHERE" NO_MESSAGE("foreign_ids"),
      "DELETE FROM foreign_ids WHERE" NO_MESSAGE("foreign_ids") },
};

static int
remove_orphans(struct store_user *u, struct err *e)
{
    int rc = index_begin(u, e);

    if (rc)
        return -1;
    for (size_t i = 0; rc == 0 && i < COUNT_OF(orphans); i++)
        rc = db_exec(u->db, orphans[i].remove, e);
    if (rc) {
        index_rollback(u);
        return -1;
    }
    return index_commit(u, e);
}

static int
check_orphans(struct user_check *k, struct err *e)
{
    uint64_t all = 0;
    int64_t n;

    for (size_t i = 0; i < COUNT_OF(orphans); i++) {
        if (index_number(k->u, orphans[i].count, &n, e))
            return -1;
        if (n > 0)
            note(k, sl_n(NULL, 0), "%lld %s", (long long)n, orphans[i].what);
        all += (uint64_t)n;
    }
    k->c->faults += all;
    if (all == 0 || !k->c->must_fix)
        return 0;
    if (remove_orphans(k->u, e))
        return -1;
    k->c->fixed += all;
    return 0;
}

/* Who is at a COPY or APPEND shares the index's lock. *out: 0 too when somebody is at it all the time. */
static int
count_interrupted(struct store_user *u, int64_t *out, struct err *e)
{
    int rc;

    *out = 0;
    for (int i = 0; i < PENDING_TRIES; i++) {
        if (flock(u->lock_fd, LOCK_EX | LOCK_NB) == 0) {
            rc = index_number(u, "SELECT count(*) FROM pending", out, e);
            flock(u->lock_fd, LOCK_UN);
            return rc;
        }
        if (errno != EWOULDBLOCK && errno != EINTR)
            return err_sys(e, "cannot lock the index of %s", u->name);
        usleep(PENDING_WAIT_US);
    }
    return 0;
}

/* Records of a COPY or APPEND that is not under way: user.lock and the flock tell. */
static int
check_pending(struct user_check *k, struct err *e)
{
    int64_t before, after;

    if (index_number(k->u, "SELECT count(*) FROM pending", &before, e) || before == 0)
        return before == 0 ? 0 : -1;
    if (!k->c->must_fix) {
        if (count_interrupted(k->u, &before, e))
            return -1;
        if (before == 0)
            return 0;
        note(k, sl_n(NULL, 0), "%lld messages of a command that was interrupted",
             (long long)before);
        k->c->faults += (uint64_t)before;
        return 0;
    }
    if (record_recover(k->u, e) || index_number(k->u, "SELECT count(*) FROM pending", &after, e))
        return -1;
    if (after < before) {
        note(k, sl_n(NULL, 0), "%lld messages of a command that was interrupted",
             (long long)before);
        k->c->faults += (uint64_t)before;
        k->c->fixed += (uint64_t)(before - after);
    }
    return 0;
}

/* ---- mailboxes ---- */

/* Faults are told as they were found, and what is left after the mending again. */
static int
fix_box(struct user_check *k, struct check_box *b, struct err *e)
{
    uint64_t before = check_box_count(b), left;

    if (check_box_fix(b, e) || check_box(b, e))
        return -1;
    left = check_box_count(b);
    if (b->is_moving || left >= before) {
        note(k, b->name, "could not be put right%s", b->is_moving ? ": it changes too fast" : "");
        return 0;
    }
    k->c->fixed += before - left;
    if (left > 0)
        check_box_tell(b, &k->c->teller);
    return 0;
}

static int
check_one(struct user_check *k, struct slice name, int64_t id, struct err *e)
{
    struct buf dir = { 0 };
    struct check_box b = { .u = k->u, .name = name, .id = id, .reads_files = k->c->reads_files };
    int rc = mbox_dir(k->u, name, &dir, e), is_there;

    if (rc)
        return -1;
    b.dir = buf_z(&dir);
    is_there = folder_is_there(k->u, b.dir, e);
    if (is_there == 1) {
        rc = check_box(&b, e);
        if (rc && e->kind == ERR_NOTFOUND) /* deleted meanwhile */
            rc = 0;
        else if (rc == 0 && b.is_moving)
            rc = err_set(e, ERR_TEMP, "mailbox %.*s changes too fast to be compared", SL_ARG(name));
        if (rc == 0) {
            uint64_t n = check_box_count(&b);

            k->c->mailboxes++;
            k->c->messages += b.n;
            k->c->pending += b.pending;
            k->c->faults += n;
            k->done += b.n;
            check_box_tell(&b, &k->c->teller);
            if (n > 0 && k->c->must_fix)
                rc = fix_box(k, &b, e);
        }
        check_box_free(&b);
    } else if (is_there == 0) {
        k->c->pending++; /* its rows go when somebody next asks for it */
    }
    buf_free(&dir);
    if (k->c->teller.progress != NULL)
        k->c->teller.progress(k->c->teller.arg, k->done, k->all);
    return rc ? rc : is_there < 0 ? -1 : 0;
}

static int
check_boxes(struct user_check *k, struct err *e)
{
    struct names boxes = { 0 };
    int64_t *ids = NULL, all;
    size_t cap = 0;
    struct db_stmt *s;
    int rc;

    if (index_number(k->u, "SELECT coalesce(sum(messages), 0) FROM mailboxes", &all, e) ||
        db_prepare(k->u->db, "SELECT name, id FROM mailboxes ORDER BY name", &s, e))
        return -1;
    k->all = (uint64_t)all;
    while ((rc = db_step(s, e)) == 1) {
        ids = mem_grow(ids, &cap, boxes.n + 1, sizeof(ids[0]));
        ids[boxes.n] = db_int(s, 1);
        names_add(&boxes, db_text(s, 0));
    }
    for (size_t i = 0; rc == 0 && i < boxes.n; i++)
        rc = check_one(k, sl_z(boxes.v[i]), ids[i], e);
    free(ids);
    names_free(&boxes);
    return rc;
}

static int
check_all(struct user_check *k, struct err *e)
{
    return check_pending(k, e) || check_orphans(k, e) || check_boxes(k, e) ? -1 : 0;
}

/* SQLite's own check. Before anybody opens the index as such: who finds it damaged then puts it aside at once. */
static int
check_database(struct user_check *k, struct err *e)
{
    char *path = path_join(k->u->index_dir, INDEX_FILE, NULL);
    struct db *d = NULL;
    struct err why = { 0 };
    int rc = db_open(path, DB_NO_AUTOCHECKPOINT, 0, &d, &why);

    if (rc == 0)
        rc = db_check(d, &why);
    if (rc && why.kind == ERR_PERM) {
        note(k, sl_n(NULL, 0), "%s", why.msg);
        k->c->faults++;
        k->c->is_damaged = true;
        rc = 0;
    } else if (rc && why.kind == ERR_NOTFOUND) {
        rc = 0;
    } else if (rc) {
        *e = why;
    }
    db_close(&d);
    free(path);
    return rc;
}

int
store_check(struct store *s, struct slice name, const struct store_userdb *db,
            struct store_check *c, struct err *e)
{
    struct user_check k = { .c = c };
    struct store_rebuilt anew;
    int rc;

    if (user_open_bare(s, name, db, &k.u, e))
        return -1;
    rc = check_database(&k, e);
    if (rc == 0 && !c->is_damaged) {
        rc = user_lock(k.u, e);
        if (rc == 0) {
            rc = check_all(&k, e);
            user_unlock(k.u);
        }
    }
    store_user_close(&k.u);
    if (rc == 0 && c->is_damaged && c->must_fix) {
        rc = store_rebuild(s, name, db, &c->teller, &anew, e);
        if (rc == 0)
            c->fixed++;
    }
    return rc;
}
