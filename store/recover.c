/* store/recover.c - records of commands that were interrupted (record.c), found when a mailbox is opened or changed. They
 * are undone: files that were placed go, or back to where they were moved from. Folders are read once for all of them. */
#include "store/store_int.h"

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

enum { UNDO_TRIES = 5 };

static struct slice
base_of(struct slice file)
{
    return sl_head(file, sl_find_char(file, ':'));
}

bool
record_next_name(struct slice *list, struct slice *name)
{
    size_t at = sl_find_char(*list, '/');

    if (list->n == 0)
        return false;
    *name = sl_head(*list, at == SL_NPOS ? list->n : at);
    *list = sl_from(*list, at == SL_NPOS ? list->n : at + 1);
    return true;
}

int
record_names(struct store_user *u, int64_t mailbox, struct map **out, struct err *e)
{
    struct db_stmt *s;
    int rc;

    *out = NULL;
    if (db_prepare(
            u->db,
            "SELECT file FROM pending WHERE mailbox = ?1 UNION ALL SELECT src_file FROM "
            "pending, mailboxes WHERE mailboxes.id = ?1 AND src = mailboxes.name AND file = ''",
            &s, e))
        return -1;
    db_bind_int(s, 1, mailbox);
    while ((rc = db_step(s, e)) == 1) {
        struct slice list = db_text(s, 0), name;

        while (record_next_name(&list, &name)) {
            if (*out == NULL)
                *out = map_new();
            map_set(*out, base_of(name), u);
        }
    }
    if (rc)
        map_free(out, NULL);
    return rc;
}

/* ---- undoing ---- */

struct undo { /* a record */
    int64_t op;
    struct buf to, from, tmp, file, src_file;
};

static void
undo_free(struct undo *d)
{
    buf_free(&d->to);
    buf_free(&d->from);
    buf_free(&d->tmp);
    buf_free(&d->file);
    buf_free(&d->src_file);
}

/* Base names of a list -> the names at the same places of another (or the list itself), as they stand in its text. */
static struct map *
by_base(struct slice list, struct slice other)
{
    struct map *m = map_new();
    struct slice name, value;

    while (record_next_name(&list, &name)) {
        if (!record_next_name(&other, &value))
            value = name;
        map_set(m, base_of(name), (void *)(uintptr_t)value.p);
    }
    return m;
}

/* Letters of an info part of a name: flags, or keywords. */
static void
add_letters(struct buf *out, struct slice file, bool is_keywords)
{
    size_t at = sl_find(file, SL(":2,"));

    for (size_t i = at == SL_NPOS ? file.n : at + 3; i < file.n; i++)
        if ((file.p[i] >= 'a' && file.p[i] <= 'z') == is_keywords)
            buf_addc(out, file.p[i]);
}

/* A moved file goes home with the flags it has by now, and with its keywords in the letters that they have there. */
static int
go_home(int fd, const char *name, int home, const char *src)
{
    struct slice file = sl_head(sl_z(src), strcspn(src, "/"));
    struct buf b = { 0 };
    char to[2 * MAILDIR_NAME_MAX];

    buf_adds(&b, base_of(file));
    buf_addz(&b, ":2,");
    add_letters(&b, sl_z(name), false);
    add_letters(&b, file, true);
    snprintf(to, sizeof(to), "%s", buf_z(&b));
    buf_free(&b);
    if (renameat2(fd, name, home, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno == EEXIST || errno == EXDEV) /* it is a copy: the source has not gone */
        return unlinkat(fd, name, 0);
    return -1;
}

/* 1: some got other names meanwhile, and are still there. */
static int
undo_part(DIR *d, const struct map *which, const struct parts *home, struct err *e)
{
    struct dirent *ent;
    int rc = 0;

    while ((errno = 0, ent = readdir(d)) != NULL) {
        const char *src = map_get(which, base_of(sl_z(ent->d_name)));

        if (src == NULL ||
            (home != NULL ? go_home(dirfd(d), ent->d_name, home->fd[MAILDIR_CUR], src)
                          : unlinkat(dirfd(d), ent->d_name, 0)) == 0)
            continue;
        if (errno != ENOENT)
            return err_sys(e, "cannot take back %s", ent->d_name);
        rc = 1;
    }
    return errno != 0 ? err_sys(e, "cannot read a folder") : rc;
}

/* Every file of dir's new/ and cur/ whose base name is in the map: home (parts; NULL: away). */
static int
undo_folder(const char *dir, const struct map *which, const struct parts *home, struct err *e)
{
    struct parts p;
    int rc = 0;

    if (parts_open(&p, dir, NULL))
        return 0; /* the folder is gone, and what was in it */
    for (int i = 0; rc == 0 && i < 2; i++) {
        int fd = dup(p.fd[i]);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);

        if (d == NULL) {
            rc = err_sys(e, "cannot read folder %s", dir);
            if (fd >= 0)
                close(fd);
            continue;
        }
        rc = undo_part(d, which, home, e);
        for (int again = 0; rc == 1 && again < UNDO_TRIES; again++) {
            rewinddir(d);
            rc = undo_part(d, which, home, e);
        }
        rc = rc < 0 ? -1 : 0;
        if (rc == 0) /* before the record goes */
            rc = fs_sync_fd(p.fd[i], e);
        closedir(d);
    }
    parts_close(&p);
    return rc;
}

static void
drop_tmp(const char *dir, struct slice list)
{
    struct slice name;

    while (record_next_name(&list, &name)) {
        char *z = sl_dupz(name), *path = path_join(dir, "tmp", z);

        unlink(path);
        free(path);
        free(z);
    }
}

static int
undo_one(struct store_user *u, struct undo *d, struct err *e)
{
    struct slice from = buf_slice(&d->from), file = buf_slice(&d->file),
                 src_file = buf_slice(&d->src_file);
    struct buf to_dir = { 0 }, from_dir = { 0 };
    struct map *which = NULL;
    struct parts home;
    int rc = -1;

    if (mbox_dir(u, buf_slice(&d->to), &to_dir, e) ||
        (from.n > 0 && mbox_dir(u, from, &from_dir, e)))
        goto out;
    drop_tmp(buf_z(&to_dir), buf_slice(&d->tmp));
    if (from.n == 0) {
        which = by_base(file, file);
        rc = undo_folder(buf_z(&to_dir), which, NULL, e);
    } else if (file.n == 0) { /* it has happened, but for its sources */
        which = by_base(src_file, src_file);
        rc = undo_folder(buf_z(&from_dir), which, NULL, e);
    } else {
        which = by_base(file, src_file);
        if (maildir_make(buf_z(&from_dir), folder_has_mark(u, buf_z(&from_dir)), e) ||
            parts_open(&home, buf_z(&from_dir), e))
            goto out;
        rc = undo_folder(buf_z(&to_dir), which, &home, e);
        if (rc == 0)
            rc = fs_sync_fd(home.fd[MAILDIR_CUR], e);
        parts_close(&home);
    }
out:
    map_free(&which, NULL);
    buf_free(&to_dir);
    buf_free(&from_dir);
    return rc;
}

static void
add_list(struct buf *b, struct slice list)
{
    if (b->n > 0 && list.n > 0)
        buf_addc(b, '/');
    buf_adds(b, list);
    buf_z(b); /* go_home() takes the last name to where the list ends */
}

/* All rows of a record as one. */
static int
load_all(struct store_user *u, struct undo **out, size_t *n, struct err *e)
{
    struct db_stmt *s;
    size_t cap = 0;
    int rc;

    if (db_prepare(u->db, "SELECT op, name, src, tmp, file, src_file FROM pending ORDER BY op, id",
                   &s, e))
        return -1;
    while ((rc = db_step(s, e)) == 1) {
        struct undo *d = *n > 0 ? &(*out)[*n - 1] : NULL;

        if (d == NULL || d->op != db_int(s, 0)) {
            *out = mem_grow(*out, &cap, *n + 1, sizeof((*out)[0]));
            d = &(*out)[(*n)++];
            memset(d, 0, sizeof(*d));
            d->op = db_int(s, 0);
            buf_adds(&d->to, db_text(s, 1));
            buf_adds(&d->from, db_text(s, 2));
        }
        add_list(&d->tmp, db_text(s, 3));
        add_list(&d->file, db_text(s, 4));
        add_list(&d->src_file, db_text(s, 5));
    }
    return rc;
}

static int
undo_all(struct store_user *u, struct err *e)
{
    struct undo *v = NULL;
    size_t n = 0;
    int rc = load_all(u, &v, &n, e);

    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = undo_one(u, &v[i], e);
    if (rc == 0) {
        log_info("store.recover", LOG_F(LF_Z("user", u->name)),
                 "user %s: %zu interrupted commands undone", u->name, n);
        rc = db_exec(u->db, "DELETE FROM pending; UPDATE mailboxes SET cur_mtime = 0", e);
    }
    for (size_t i = 0; i < n; i++)
        undo_free(&v[i]);
    free(v);
    return rc;
}

static int
is_any_there(struct store_user *u, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(u->db, "SELECT 1 FROM pending LIMIT 1", &s, e))
        return -1;
    rc = db_step(s, e);
    db_reset(s);
    return rc;
}

int
record_undo(struct store_user *u, struct err *e)
{
    int rc = is_any_there(u, e);

    return rc <= 0 ? rc : undo_all(u, e);
}

int
record_recover(struct store_user *u, struct err *e)
{
    int rc;

    if (u->keeps_lock)
        return 0; /* ours is under way */
    rc = is_any_there(u, e);
    if (rc <= 0)
        return rc;
    if (flock(u->lock_fd, LOCK_EX | LOCK_NB))
        return errno == EWOULDBLOCK ? 0 : err_sys(e, "cannot lock the index of %s", u->name);
    /* The lock stays exclusive through this transaction. */
    rc = db_begin(u->db, e);
    if (rc == 0) {
        rc = undo_all(u, e);
        if (rc)
            db_rollback(u->db);
        else
            rc = db_commit(u->db, e);
    }
    flock(u->lock_fd, LOCK_UN);
    return rc;
}
