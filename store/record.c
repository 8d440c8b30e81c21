/* store/record.c - several messages into a mailbox, all or none.
 *
 * Data is durable in tmp/ when we are called. One message needs no record: its rename is atomic. Several: a transaction
 * records the intended names and is synced; all are renamed, and cur/ synced; a move then unlinks its sources; a second
 * transaction gives UIDs and clears the record. A record found later is carried out: the files are brought in, the scan
 * gives UIDs - nobody was told any. UIDs are given by the last transaction alone, so that they grow in the order in
 * which views see the messages. */
#include "store/store_int.h"

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

static int
sync_cur(const char *dir, struct err *e)
{
    char *cur = path_join(dir, "cur", NULL);
    int rc = fs_sync_dir(cur, e);

    free(cur);
    return rc;
}

static int
move_file(const char *dir, const char *from_part, const char *from, const char *to, struct err *e)
{
    char *a = path_join(dir, from_part, from), *b = path_join(dir, "cur", to);
    int rc = rename(a, b) ? err_sys(e, "cannot rename %s", a) : 0;

    free(a);
    free(b);
    return rc;
}

static void
drop_file(const char *dir, const char *part, const char *name)
{
    char *path = path_join(dir, part, name);

    unlink(path);
    free(path);
}

/* Does a file of this base name lie in cur/ or new/? */
static bool
has_base(const char *dir, const char *file, struct buf *found)
{
    static const char *const parts[] = { "new", "cur" };
    struct slice base = sl_head(sl_z(file), sl_find_char(sl_z(file), ':'));
    bool has = false;

    for (int i = 0; i < 2 && !has; i++) {
        char *path = path_join(dir, parts[i], NULL);
        DIR *d = opendir(path);
        struct dirent *ent;

        while (d != NULL && !has && (ent = readdir(d)) != NULL) {
            struct slice s = sl_z(ent->d_name);

            has = sl_eq(sl_head(s, sl_find_char(s, ':')), base);
            if (has && found != NULL)
                buf_addf(found, "%s/%s", path, ent->d_name);
        }
        if (d != NULL)
            closedir(d);
        free(path);
    }
    return has;
}

static int
copy_cache(struct store_user *u, const struct record_item *it, struct err *e)
{
    if (it->src_mailbox == 0)
        return 0;
    return cache_copy(u, it->src_mailbox, it->src_uid, it->row.mailbox, it->row.uid, e);
}

static int
load_to(struct record *r, struct mbox *mb, struct err *e)
{
    int rc = mbox_load(r->u, r->to_id, mb, e);

    return rc == 1  ? 0
           : rc < 0 ? -1
                    : err_set(e, ERR_NOTFOUND, "Mailbox doesn't exist: %.*s", SL_ARG(r->to));
}

static int
insert_items(struct record *r, struct mbox *mb, struct err *e)
{
    for (size_t i = 0; i < r->n; i++) {
        struct msg_row *m = &r->items[i].row;

        m->mailbox = mb->id;
        m->dir = MAILDIR_CUR;
        m->uid = mbox_next_uid(r->u, mb);
        m->modseq = mbox_change(r->u, mb);
        if (msg_insert(r->u, mb, m, e) || copy_cache(r->u, &r->items[i], e))
            return -1;
    }
    return 0;
}

/* ---- one message ---- */

static int
commit_one(struct record *r, uint32_t *uidvalidity, struct err *e)
{
    struct record_item *it = &r->items[0];
    struct own_change own;
    struct mbox mb;
    bool is_moved = false;

    if (index_begin(r->u, e))
        goto bad;
    if (load_to(r, &mb, e) || quota_record_room(r, e))
        goto rollback;
    own = mbox_own_begin(&mb, r->to_dir);
    if (move_file(r->to_dir, "tmp", it->tmp, it->row.file, e))
        goto rollback;
    is_moved = true;
    mbox_own_end(&mb, r->to_dir, own);
    if (insert_items(r, &mb, e) || mbox_save(r->u, &mb, e))
        goto rollback;
    if (index_commit(r->u, e))
        goto bad;
    *uidvalidity = mb.uidvalidity;
    return sync_cur(r->to_dir, e);
rollback:
    index_rollback(r->u);
bad:
    drop_file(r->to_dir, is_moved ? "cur" : "tmp", is_moved ? it->row.file : it->tmp);
    return -1;
}

/* ---- several ---- */

/* In the transaction: a move's sources are still there, and nobody else's move has them. */
static int
check_sources(struct record *r, struct err *e)
{
    for (size_t i = 0; r->from.n > 0 && i < r->n; i++) {
        struct record_item *it = &r->items[i];
        struct db_stmt *s;
        struct msg_row m;
        int rc = msg_load(r->u, r->from_id, it->src_uid, &m, e);

        if (rc < 0)
            return -1;
        if (rc == 1 &&
            m.dir == MAILDIR_CUR) { /* its flags may have changed since it was looked at */
            memcpy(it->src_file, m.file, sizeof(it->src_file));
            if (db_prepare(
                    r->u->db,
                    "SELECT 1 FROM pending WHERE src = ?1 AND substr(src_file, 1, length(?2)) = ?2",
                    &s, e))
                return -1;
            db_bind_text(s, 1, r->from);
            db_bind_text(s, 2, sl_head(sl_z(m.file), sl_find_char(sl_z(m.file), ':')));
            rc = db_step(s, e);
            db_reset(s);
            if (rc < 0)
                return -1;
            if (rc == 0)
                continue;
        }
        return err_set(e, ERR_PERM, "Some of the requested messages no longer exist.");
    }
    return 0;
}

static int
write_record(struct record *r, int64_t op, struct own_change *own, int64_t *mtime_ns, struct err *e)
{
    struct mbox mb;
    int rc = -1;

    if (index_begin(r->u, e))
        return -1;
    if (load_to(r, &mb, e) || check_sources(r, e) || quota_record_room(r, e))
        goto out;
    *own = mbox_own_begin(&mb, r->to_dir);
    *mtime_ns = mb.cur_mtime_ns;
    for (size_t i = 0; i < r->n; i++) {
        struct db_stmt *s;

        if (db_prepare(r->u->db, "INSERT INTO pending VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", &s, e))
            goto out;
        db_bind_int(s, 1, op);
        db_bind_int(s, 2, r->to_id);
        db_bind_text(s, 3, r->to);
        db_bind_text(s, 4, sl_z(r->items[i].tmp));
        db_bind_text(s, 5, sl_z(r->items[i].row.file));
        db_bind_text(s, 6, r->from);
        db_bind_text(s, 7, sl_z(r->items[i].src_file));
        if (db_run(s, e))
            goto out;
    }
    r->u->must_sync = true;
    rc = 0;
out:
    if (rc)
        index_rollback(r->u);
    else
        rc = index_commit(r->u, e);
    return rc;
}

static int
clear_record(struct store_user *u, int64_t op, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(u->db, "DELETE FROM pending WHERE op = ?", &s, e))
        return -1;
    db_bind_int(s, 1, op);
    return db_run(s, e);
}

/* Every file to its place, durably; a move's sources gone, durably. */
static int
move_all(struct record *r, size_t *n_moved, struct err *e)
{
    for (*n_moved = 0; *n_moved < r->n; ++*n_moved)
        if (move_file(r->to_dir, "tmp", r->items[*n_moved].tmp, r->items[*n_moved].row.file, e))
            return -1;
    return sync_cur(r->to_dir, e);
}

static int
drop_sources(struct record *r, struct err *e)
{
    for (size_t i = 0; i < r->n; i++) {
        char *path = path_join(r->from_dir, "cur", r->items[i].src_file);

        r->items[i].is_left = unlink(path) && errno == ENOENT;
        free(path);
    }
    return sync_cur(r->from_dir, e);
}

/* A source that had another name when it was to go: its flags were changed meanwhile. */
static bool
drop_renamed(struct record *r, const struct record_item *it)
{
    struct buf path = { 0 };
    bool is_dropped = has_base(r->from_dir, it->src_file, &path) && unlink(buf_z(&path)) == 0;

    buf_free(&path);
    return is_dropped;
}

static int
expunge_sources(struct record *r, struct err *e)
{
    bool must_sync = false;
    struct mbox mb;
    int rc;

    for (size_t i = 0; i < r->n; i++)
        if (r->items[i].is_left && drop_renamed(r, &r->items[i]))
            must_sync = true;
    rc = must_sync && sync_cur(r->from_dir, e) ? -1 : mbox_load(r->u, r->from_id, &mb, e);
    if (rc < 1)
        return rc;
    for (size_t i = 0; i < r->n; i++)
        if (msg_expunge(r->u, &mb, r->items[i].src_uid, e))
            return -1;
    mb.cur_mtime_ns = 0;
    return mbox_save(r->u, &mb, e);
}

static int
finish(struct record *r, int64_t op, struct own_change own, int64_t mtime_ns, uint32_t *uidvalidity,
       struct err *e)
{
    struct mbox mb;
    int rc = -1;

    if (index_begin(r->u, e))
        return -1;
    if (load_to(r, &mb, e))
        goto out;
    own.was_known =
        own.was_known && mb.cur_mtime_ns == mtime_ns; /* else somebody scanned meanwhile */
    mbox_own_end(&mb, r->to_dir, own);
    *uidvalidity = mb.uidvalidity;
    if (insert_items(r, &mb, e) || mbox_save(r->u, &mb, e))
        goto out;
    rc = r->from.n > 0 ? expunge_sources(r, e) : 0;
    if (rc == 0)
        rc = clear_record(r->u, op, e);
out:
    if (rc)
        index_rollback(r->u);
    else
        rc = index_commit(r->u, e);
    return rc;
}

static int
commit_several(struct record *r, uint32_t *uidvalidity, struct err *e)
{
    int64_t op = (int64_t)(rand_u64() >> 1), mtime_ns = 0;
    struct own_change own = { false };
    struct err why = { 0 };
    size_t n_moved = 0;

    if (write_record(r, op, &own, &mtime_ns, e)) {
        for (size_t i = 0; i < r->n; i++)
            drop_file(r->to_dir, "tmp", r->items[i].tmp);
        return -1;
    }
    if (move_all(r, &n_moved, e)) {
        /* Undo; should even that fail, the record is carried out later. */
        for (size_t i = 0; i < r->n; i++)
            drop_file(r->to_dir, i < n_moved ? "cur" : "tmp",
                      i < n_moved ? r->items[i].row.file : r->items[i].tmp);
        if (index_begin(r->u, &why) == 0) {
            if (clear_record(r->u, op, &why))
                index_rollback(r->u);
            else
                index_commit(r->u, &why);
        }
        return -1;
    }
    /* From here on it has happened; what fails is made good by recovery and the next scan. */
    if (r->from.n > 0 && drop_sources(r, e))
        return -1;
    return finish(r, op, own, mtime_ns, uidvalidity, e);
}

int
record_commit(struct record *r, uint32_t *uidvalidity, struct err *e)
{
    int rc;

    if (r->n == 1 && r->from.n == 0)
        return commit_one(r, uidvalidity, e);
    if (r->n == 0)
        return 0;
    /* Held from the record to its end: a process that can take the lock alone knows that nobody is at work. */
    r->u->keeps_lock = true;
    rc = commit_several(r, uidvalidity, e);
    r->u->keeps_lock = false;
    flock(r->u->lock_fd, LOCK_UN);
    return rc;
}
/* ---- recovery ---- */

static int
recover_one(struct store_user *u, struct slice to, const char *tmp, const char *file,
            struct slice from, const char *src_file, struct err *e)
{
    struct buf to_dir = { 0 }, from_dir = { 0 }, src = { 0 };
    char *path = NULL;
    int rc = -1;

    if (mbox_dir(u, to, &to_dir, e))
        goto out;
    path = path_join(buf_z(&to_dir), "tmp", tmp);
    if (access(path, F_OK) == 0) {
        if (move_file(buf_z(&to_dir), "tmp", tmp, file, e) || sync_cur(buf_z(&to_dir), e))
            goto out;
    } else if (from.n > 0 && !has_base(buf_z(&to_dir), file, NULL)) {
        rc = 0; /* it was here and has left again; the source is none of ours to touch */
        goto out;
    }
    if (from.n > 0) {
        if (mbox_dir(u, from, &from_dir, e))
            goto out;
        if (has_base(buf_z(&from_dir), src_file, &src))
            unlink(buf_z(&src));
    }
    rc = 0;
out:
    free(path);
    buf_free(&to_dir);
    buf_free(&from_dir);
    buf_free(&src);
    return rc;
}

static int
recover_all(struct store_user *u, struct err *e)
{
    struct db_stmt *s;
    size_t n = 0;
    int rc;

    if (db_prepare(u->db, "SELECT name, tmp, file, src, src_file FROM pending", &s, e))
        return -1;
    while ((rc = db_step(s, e)) == 1) {
        char *to = sl_dupz(db_text(s, 0)), *tmp = sl_dupz(db_text(s, 1)),
             *file = sl_dupz(db_text(s, 2)), *from = sl_dupz(db_text(s, 3)),
             *src_file = sl_dupz(db_text(s, 4));

        rc = recover_one(u, sl_z(to), tmp, file, sl_z(from), src_file, e);
        free(to);
        free(tmp);
        free(file);
        free(from);
        free(src_file);
        if (rc) {
            db_reset(s);
            return -1;
        }
        n++;
    }
    if (rc)
        return -1;
    log_info("store.recover", LOG_F(LF_Z("user", u->name)),
             "user %s: %zu messages of an interrupted command brought in", u->name, n);
    return db_exec(u->db, "DELETE FROM pending; UPDATE mailboxes SET cur_mtime = 0", e);
}

int
record_recover(struct store_user *u, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(u->db, "SELECT 1 FROM pending LIMIT 1", &s, e))
        return -1;
    rc = db_step(s, e);
    db_reset(s);
    if (rc <= 0)
        return rc;
    if (flock(u->lock_fd, LOCK_EX | LOCK_NB))
        return errno == EWOULDBLOCK ? 0 : err_sys(e, "cannot lock the index of %s", u->name);
    /* The lock stays exclusive through this transaction. */
    rc = db_begin(u->db, e);
    if (rc == 0) {
        rc = recover_all(u, e);
        if (rc)
            db_rollback(u->db);
        else
            rc = db_commit(u->db, e);
    }
    flock(u->lock_fd, LOCK_UN);
    return rc;
}
