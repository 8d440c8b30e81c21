/* store/record.c - several messages into a mailbox, all or none.
 *
 * The data is durable when we are called. One message needs no record: one rename or link is atomic. Several: a transaction
 * records the intended names; then all are renamed or linked into cur/, and the folders synced; then a second
 * transaction gives the rows and clears the record. Both are on disk when they end. So a record that is found later is of a
 * command whose client was not told that it had happened: it is undone, as is one that fails. UIDs are given by the
 * last transaction alone, so that they grow in the order in which views see the messages; scans leave recorded names alone.
 *
 * A row of `pending` holds many names: lists with '/' between them, which no file name has. */
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
#include <sys/stat.h>
#include <unistd.h>

enum {
    RECORD_ROW_NAMES = 500, /* in a row of pending */
    COPY_BLOCK_OCTETS = 256 * 1024
};

struct work { /* a record being carried out */
    struct record *r;
    struct parts to, from;
    int tmp_fd;       /* of the destination */
    size_t n_placed;  /* items whose files are in the destination */
    bool has_sources; /* a move that could not rename: sources are still to be removed */
    char old_file[MAILDIR_NAME_MAX]; /* replace: in from.fd[old_dir] */
    int old_dir;
    struct own_change to_own, from_own;
    int64_t to_mtime_ns, from_mtime_ns; /* what the index knew when we began */
};

/* Does it bring files of its own from tmp/? */
static bool
is_from_tmp(const struct record *r)
{
    return r->how == RECORD_APPEND || r->how == RECORD_REPLACE;
}

/* ---- files ---- */

static int
open_tmp(const char *dir, int *fd, struct err *e)
{
    char *path = path_join(dir, "tmp", NULL);
    int rc = 0;

    *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0)
        rc = err_sys(e, "cannot open folder %s", path);
    free(path);
    return rc;
}

static int
open_all(struct work *w, struct record *r, struct err *e)
{
    *w = (struct work){ .r = r, .to.fd = { -1, -1 }, .from.fd = { -1, -1 }, .tmp_fd = -1 };
    if (parts_open(&w->to, r->to_dir, e) || open_tmp(r->to_dir, &w->tmp_fd, e))
        return -1;
    return r->how == RECORD_APPEND ? 0 : parts_open(&w->from, r->from_dir, e);
}

static void
close_all(struct work *w)
{
    parts_close(&w->to);
    parts_close(&w->from);
    if (w->tmp_fd >= 0)
        close(w->tmp_fd);
}

static int
write_copy(int in, int out, const char *name, struct err *e)
{
    char *block = mem_alloc(COPY_BLOCK_OCTETS);
    struct timespec times[2];
    struct stat st;
    ssize_t got;
    int rc = 0;

    while (rc == 0 && (got = read(in, block, COPY_BLOCK_OCTETS)) != 0) {
        if (got < 0 && errno == EINTR)
            continue;
        rc = got < 0 ? err_sys(e, "cannot read %s", name)
                     : fs_write_all(out, sl_n(block, (size_t)got), e);
    }
    free(block);
    if (rc == 0 && fstat(in, &st))
        rc = err_sys(e, "cannot look at %s", name);
    times[0] = times[1] = st.st_mtim;
    if (rc == 0 && futimens(out, times))
        rc = err_sys(e, "cannot set the date of %s", name);
    return rc ? -1 : fs_sync_fd(out, e);
}

/* Where neither link nor rename is possible: octets and date into tmp/, synced, and renamed. */
static int
copy_octets(const struct work *w, const struct record_item *it, struct err *e)
{
    int in = openat(w->from.fd[it->src_dir], it->src_file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), out,
        rc;

    if (in < 0)
        return err_sys(e, "cannot open %s", it->src_file);
    out = openat(w->tmp_fd, it->m.file, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (out < 0) {
        rc = err_sys(e, "cannot create %s", it->m.file);
    } else {
        rc = write_copy(in, out, it->m.file, e);
        close(out);
        if (rc == 0 && renameat(w->tmp_fd, it->m.file, w->to.fd[MAILDIR_CUR], it->m.file))
            rc = err_sys(e, "cannot rename %s", it->m.file);
        if (rc)
            unlinkat(w->tmp_fd, it->m.file, 0);
    }
    close(in);
    return rc;
}

/* The file of an item into cur/. 1 done, 0 the source is not there, -1 e. */
static int
place(struct work *w, const struct record_item *it, struct err *e)
{
    int cur = w->to.fd[MAILDIR_CUR], rc;

    if (is_from_tmp(w->r))
        return renameat(w->tmp_fd, it->src_file, cur, it->m.file)
                   ? err_sys(e, "cannot rename %s", it->src_file)
                   : 1;
    if (w->r->how == RECORD_MOVE)
        rc = renameat(w->from.fd[it->src_dir], it->src_file, cur, it->m.file);
    else
        rc = linkat(w->from.fd[it->src_dir], it->src_file, cur, it->m.file, 0);
    if (rc == 0)
        return 1;
    if (errno == ENOENT)
        return faccessat(w->from.fd[it->src_dir], it->src_file, F_OK, AT_SYMLINK_NOFOLLOW)
                   ? 0
                   : err_sys(e, "cannot place %s", it->m.file);
    if (errno != EXDEV && errno != EMLINK && errno != EPERM)
        return err_sys(e, "cannot place %s", it->m.file);
    if (copy_octets(w, it, e))
        return -1;
    w->has_sources = w->r->how == RECORD_MOVE;
    return 1;
}

static int
sync_fds(const struct work *w, struct err *e)
{
    if (fs_sync_fd(w->to.fd[MAILDIR_CUR], e))
        return -1;
    if (w->r->how != RECORD_MOVE)
        return 0;
    return fs_sync_fd(w->from.fd[MAILDIR_CUR], e) || fs_sync_fd(w->from.fd[MAILDIR_NEW], e) ? -1
                                                                                            : 0;
}

/* Every file to its place, durably. */
static int
place_all(struct work *w, struct err *e)
{
    for (; w->n_placed < w->r->n; w->n_placed++) {
        int rc = place(w, &w->r->items[w->n_placed], e);

        if (rc < 0)
            return -1;
        if (rc == 0) {
            w->r->n_lost++;
            return err_set(e, ERR_NOTFOUND, "Some of the requested messages no longer exist.");
        }
    }
    return sync_fds(w, e);
}

/* What was placed goes back, or away: to the source where it was moved from there. */
static int
take_back(struct work *w)
{
    int rc = 0;

    for (size_t i = 0; i < w->n_placed; i++) {
        const struct record_item *it = &w->r->items[i];
        int cur = w->to.fd[MAILDIR_CUR];

        if (w->r->how == RECORD_MOVE && renameat2(cur, it->m.file, w->from.fd[it->src_dir],
                                                  it->src_file, RENAME_NOREPLACE) == 0)
            continue;
        if (w->r->how == RECORD_REPLACE && renameat(cur, it->m.file, w->tmp_fd, it->src_file) == 0)
            continue;
        if (w->r->how == RECORD_MOVE && errno != EEXIST && errno != EXDEV)
            rc = -1;
        else if (unlinkat(cur, it->m.file, 0)) /* ENOENT: another program gave it another name */
            rc = -1;
    }
    w->n_placed = 0;
    return sync_fds(w, NULL)
               ? -1
               : rc; /* else names could come back by a power cut, with no record left */
}

static void
drop_tmp(const struct work *w)
{
    for (size_t i = 0; is_from_tmp(w->r) && i < w->r->n; i++)
        unlinkat(w->tmp_fd, w->r->items[i].src_file, 0);
}

/* ---- rows ---- */

static int
load_to(struct record *r, struct mbox *mb, struct err *e)
{
    int rc = mbox_load_named(r->u, r->to_id, r->to, mb, e);

    return rc == 1  ? 0
           : rc < 0 ? -1
                    : err_set(e, ERR_NOTFOUND, "Mailbox doesn't exist: %.*s", SL_ARG(r->to));
}

static int
copy_cache(struct record *r, struct err *e)
{
    for (size_t i = 0, next; !is_from_tmp(r) && i < r->n; i = next) {
        const struct record_item *it = &r->items[i];
        struct msg_run run = { it->src_uid, it->m.uid, 0 };

        for (next = i; next < r->n && r->items[next].src_uid - it->src_uid == next - i &&
                       r->items[next].m.uid - it->m.uid == next - i;
             next++)
            run.n++;
        if (cache_copy(r->u, r->from_id, r->to_id, &run, e))
            return -1;
    }
    return 0;
}

static int
insert_items(struct record *r, struct mbox *mb, struct err *e)
{
    uint64_t modseq = mbox_change(r->u, mb);

    for (size_t i = 0; i < r->n; i++) {
        struct msg_brief *m = &r->items[i].m;

        m->dir = MAILDIR_CUR;
        m->uid = mbox_next_uid(r->u, mb);
        m->modseq = modseq;
        if (msg_insert(r->u, mb, m, e))
            return -1;
    }
    return copy_cache(r, e);
}

/* The message that goes, as the index has it in this transaction. */
static int
find_replaced(struct work *w, struct err *e)
{
    struct record *r = w->r;
    struct msg_row m;
    int rc = msg_load(r->u, r->from_id, r->items[0].src_uid, &m, e);

    if (rc < 0)
        return -1;
    if (rc == 0)
        return err_set(e, ERR_NOTFOUND, "The message that was to be replaced is gone.");
    if (faccessat(w->from.fd[m.dir], m.file, F_OK, AT_SYMLINK_NOFOLLOW)) {
        r->n_lost++;
        return err_set(e, ERR_NOTFOUND, "The message that was to be replaced is gone.");
    }
    snprintf(w->old_file, sizeof(w->old_file), "%s", m.file);
    w->old_dir = m.dir;
    return 0;
}

/* Our own renames shall not make anybody look through the folders. */
static int
note_folders(struct work *w, struct mbox *to, struct err *e)
{
    struct mbox from;

    if (load_to(w->r, to, e))
        return -1;
    w->to_own = mbox_own_begin(to, w->r->to_dir);
    w->to_mtime_ns = to->cur_mtime_ns;
    if (w->r->how != RECORD_MOVE && w->r->how != RECORD_REPLACE)
        return 0;
    if (mbox_load_named(w->r->u, w->r->from_id, w->r->from, &from, e) != 1)
        return e->kind == ERR_NONE ? err_set(e, ERR_NOTFOUND, "Mailbox was deleted") : -1;
    w->from_own = mbox_own_begin(&from, w->r->from_dir);
    w->from_mtime_ns = from.cur_mtime_ns;
    return w->r->how == RECORD_REPLACE ? find_replaced(w, e) : 0;
}

static void
changed_folder(struct mbox *mb, const char *dir, struct own_change own, int64_t mtime_ns)
{
    own.was_known = own.was_known && mb->cur_mtime_ns == mtime_ns; /* else somebody scanned */
    mbox_own_end(mb, dir, own);
}

static int
expunge_sources(struct work *w, struct err *e)
{
    struct record *r = w->r;
    uint32_t *uids = mem_alloc(r->n * sizeof(uids[0]));
    struct msg_batch b = { 0 };
    struct mbox mb;
    int rc = mbox_load(r->u, r->from_id, &mb, e);

    for (size_t i = 0; i < r->n; i++)
        uids[i] = r->items[i].src_uid;
    if (rc == 1) {
        rc = msg_batch_load(r->u, r->from_id, uids, r->n, &b, e);
        if (rc == 0)
            rc = msg_expunge_batch(r->u, &mb, b.v, b.n, e);
        if (r->from_id != r->to_id)
            changed_folder(&mb, r->from_dir, w->from_own, w->from_mtime_ns);
        if (rc == 0)
            rc = mbox_save(r->u, &mb, e);
    }
    msg_batch_free(&b);
    free(uids);
    return rc;
}

/* ---- the record ---- */

static void
add_name(struct buf *list, const char *name)
{
    buf_addf(list, "%s%s", list->n > 0 ? "/" : "", name);
}

static int
write_row(const struct record *r, int64_t op, size_t from, size_t n, struct err *e)
{
    struct buf tmp = { 0 }, file = { 0 }, src = { 0 };
    struct db_stmt *s;
    int rc;

    for (size_t i = from; i < from + n; i++) {
        const struct record_item *it = &r->items[i];

        add_name(is_from_tmp(r) ? &tmp : &src, it->src_file);
        add_name(&file, it->m.file);
    }
    rc = db_prepare(r->u->db, "INSERT INTO pending VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", &s, e);
    if (rc == 0) {
        db_bind_int(s, 1, op);
        db_bind_int(s, 2, r->to_id);
        db_bind_text(s, 3, r->to);
        db_bind_text(s, 4, buf_slice(&tmp));
        db_bind_text(s, 5, buf_slice(&file));
        db_bind_text(s, 6, r->how == RECORD_MOVE ? r->from : sl_n(NULL, 0));
        db_bind_text(s, 7, buf_slice(&src));
        rc = db_run(s, e);
    }
    buf_free(&tmp);
    buf_free(&file);
    buf_free(&src);
    return rc;
}

static int
write_record(struct work *w, int64_t op, struct err *e)
{
    struct record *r = w->r;
    struct mbox mb;
    int rc;

    if (index_begin_durable(r->u, e))
        return -1;
    rc = note_folders(w, &mb, e) || quota_record_room(r, e) ? -1 : 0;
    for (size_t i = 0; rc == 0 && i < r->n; i += RECORD_ROW_NAMES)
        rc = write_row(r, op, i, r->n - i < RECORD_ROW_NAMES ? r->n - i : RECORD_ROW_NAMES, e);
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

/* The record says then what is left to do: sources to remove, no files to take back. */
static int
turn_record(struct store_user *u, int64_t op, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(u->db, "UPDATE pending SET file = '' WHERE op = ?", &s, e))
        return -1;
    db_bind_int(s, 1, op);
    return db_run(s, e);
}

/* The same of a replacement, whose record had no source until now. */
static int
turn_to_replaced(struct work *w, int64_t op, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(w->r->u->db,
                   "UPDATE pending SET tmp = '', file = '', src = ?2, src_file = ?3 WHERE op = ?1",
                   &s, e))
        return -1;
    db_bind_int(s, 1, op);
    db_bind_text(s, 2, w->r->from);
    db_bind_text(s, 3, sl_z(w->old_file));
    return db_run(s, e);
}

static int
clear_in_tx(struct store_user *u, int64_t op, struct err *e)
{
    if (index_begin(u, e))
        return -1;
    if (clear_record(u, op, e)) {
        index_rollback(u);
        return -1;
    }
    return index_commit(u, e);
}

/* The rows, when the files are in their places. */
static int
enter(struct work *w, struct mbox *mb, uint32_t *uidvalidity, struct err *e)
{
    struct record *r = w->r;

    changed_folder(mb, r->to_dir, w->to_own, w->to_mtime_ns);
    *uidvalidity = mb->uidvalidity;
    if (insert_items(r, mb, e) || mbox_save(r->u, mb, e))
        return -1;
    if (r->how == RECORD_REPLACE && find_replaced(w, e))
        return -1;
    return r->how == RECORD_MOVE || r->how == RECORD_REPLACE ? expunge_sources(w, e) : 0;
}

static int
finish(struct work *w, int64_t op, uint32_t *uidvalidity, struct err *e)
{
    struct record *r = w->r;
    struct mbox mb;
    int rc;

    if (index_begin_durable(r->u, e))
        return -1;
    rc = load_to(r, &mb, e);
    if (rc == 0)
        rc = enter(w, &mb, uidvalidity, e);
    if (rc == 0)
        rc = r->how == RECORD_REPLACE ? turn_to_replaced(w, op, e)
             : w->has_sources         ? turn_record(r->u, op, e)
                                      : clear_record(r->u, op, e);
    if (rc)
        index_rollback(r->u);
    else
        rc = index_commit(r->u, e);
    return rc;
}

/* It has happened; what fails here is made good by recovery. */
static void
drop_sources(struct work *w, int64_t op)
{
    struct err why = { 0 };
    int rc = 0;

    for (size_t i = 0; i < w->r->n; i++)
        if (unlinkat(w->from.fd[w->r->items[i].src_dir], w->r->items[i].src_file, 0) &&
            errno != ENOENT)
            rc = err_sys(&why, "cannot remove %s", w->r->items[i].src_file);
    if (rc == 0)
        rc = sync_fds(w, &why);
    if (rc == 0)
        rc = clear_in_tx(w->r->u, op, &why);
    if (rc)
        log_warn("store.move", LOG_F(LF_Z("user", w->r->u->name)),
                 "user %s: sources of a move are still there: %s", w->r->u->name, why.msg);
}

/* The replaced message's file goes, in a transaction, so that nobody need look through its folder for that. */
static int
remove_replaced(struct work *w, int64_t op, struct err *e)
{
    struct record *r = w->r;
    struct own_change own = { 0 };
    struct mbox mb;
    int rc = mbox_load(r->u, r->from_id, &mb, e);

    if (rc < 0)
        return -1;
    if (rc == 1)
        own = mbox_own_begin(&mb, r->from_dir);
    if (unlinkat(w->from.fd[w->old_dir], w->old_file, 0))
        return err_sys(e, "cannot remove %s", w->old_file);
    if (fs_sync_fd(w->from.fd[w->old_dir], e))
        return -1;
    if (rc == 1) {
        mbox_own_end(&mb, r->from_dir, own);
        if (mbox_save(r->u, &mb, e))
            return -1;
    }
    return clear_record(r->u, op, e);
}

/* It has happened; what fails here is made good by recovery. */
static void
drop_replaced(struct work *w, int64_t op)
{
    struct store_user *u = w->r->u;
    struct err why = { 0 };
    int rc = index_begin(u, &why);

    if (rc == 0) {
        rc = remove_replaced(w, op, &why);
        if (rc)
            index_rollback(u);
        else
            rc = index_commit(u, &why);
    }
    w->has_sources = rc != 0;
    if (rc)
        log_warn("store.replace", LOG_F(LF_Z("user", u->name)),
                 "user %s: a message that was replaced is removed later: %s", u->name, why.msg);
}

static int
commit_several(struct work *w, uint32_t *uidvalidity, struct err *e)
{
    struct record *r = w->r;
    int64_t op = (int64_t)(rand_u64() >> 1);
    struct err why = { 0 };

    if (write_record(w, op, e))
        return -1;
    if (place_all(w, e) || finish(w, op, uidvalidity, e)) {
        if (take_back(w) || clear_in_tx(r->u, op, &why))
            log_warn("store.record", LOG_F(LF_Z("user", r->u->name)),
                     "user %s: %zu messages that were to be brought in are taken back later: %s",
                     r->u->name, r->n, why.kind == ERR_NONE ? e->msg : why.msg);
        return -1;
    }
    if (r->how == RECORD_REPLACE)
        drop_replaced(w, op);
    else if (w->has_sources)
        drop_sources(w, op);
    return 0;
}

/* ---- one message ---- */

/* In one transaction, which keeps other processes' scans out: the file in its place and synced, then the row. */
static int
commit_one(struct work *w, uint32_t *uidvalidity, struct err *e)
{
    struct record *r = w->r;
    struct mbox mb;
    int rc;

    if (index_begin(r->u, e))
        return -1;
    rc = note_folders(w, &mb, e) || quota_record_room(r, e) ? -1 : 0;
    if (rc == 0)
        rc = place_all(w, e);
    if (rc == 0)
        rc = enter(w, &mb, uidvalidity, e);
    if (rc)
        index_rollback(r->u);
    else
        rc = index_commit(r->u, e);
    if (rc)
        take_back(w);
    else if (w->has_sources)
        unlinkat(w->from.fd[r->items[0].src_dir], r->items[0].src_file, 0);
    return rc;
}

int
record_commit(struct record *r, uint32_t *uidvalidity, struct err *e)
{
    struct work w;
    int rc;

    r->n_lost = 0;
    if (r->n == 0)
        return 0;
    rc = open_all(&w, r, e);
    if (rc == 0 && r->n == 1 && r->how != RECORD_REPLACE) {
        rc = commit_one(&w, uidvalidity, e);
    } else if (rc == 0) {
        /* Held from the record to its end: a process that can take the lock alone knows that nobody is at work. */
        r->u->keeps_lock = true;
        rc = commit_several(&w, uidvalidity, e);
        r->u->keeps_lock = false;
        flock(r->u->lock_fd, LOCK_UN);
        if (rc == 0 && r->how == RECORD_REPLACE && w.has_sources)
            record_recover(r->u, NULL);
    }
    if (rc && r->n_lost == 0) /* a replacement is tried again */
        drop_tmp(&w);
    close_all(&w);
    return rc;
}
