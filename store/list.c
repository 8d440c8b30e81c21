/* store/list.c - mailboxes as a whole: LIST, CREATE, DELETE, RENAME, SUBSCRIBE. */
#include "store/store_int.h"

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- LIST ---- */

static struct store_mailbox *
add_box(struct store_mailboxes *l, size_t *cap, const char *name, unsigned attrs)
{
    l->v = mem_grow(l->v, cap, l->n + 1, sizeof(l->v[0]));
    l->v[l->n] = (struct store_mailbox){ mem_dupz(name), attrs };
    return &l->v[l->n++];
}

static int
cmp_boxes(const void *a, const void *b)
{
    const struct store_mailbox *x = a, *y = b;
    bool ix = strcmp(x->name, "INBOX") == 0, iy = strcmp(y->name, "INBOX") == 0;

    return ix != iy ? (ix ? -1 : 1) : strcmp(x->name, y->name);
}

/* Levels above what there is that are no folders themselves. */
static void
add_parents(const struct location *l, struct names *all, const struct names *real)
{
    size_t n = real->n;

    for (size_t i = 0; i < n; i++)
        for (struct slice p = name_parent(l, sl_z(real->v[i])); p.n > 0; p = name_parent(l, p))
            if (!names_has(real, p) && !name_is_inbox(p))
                names_add(all, p);
}

enum { USE_KNOWN = 1 }; /* no STORE_MB_USE_*: that a mailbox has a row */

/* Special uses set by CREATE or SETMETADATA; those of auto_mailboxes hold by name. A folder without a row, as when the index
 * was made anew, is asked itself. */
static int
load_uses(struct store_user *u, const struct names *real, struct map *uses, struct err *e)
{
    struct buf dir = { 0 };
    struct slice name;
    struct db_stmt *s;
    unsigned use;
    int rc;

    if (db_prepare(u->db, "SELECT name, special_use FROM mailboxes", &s, e))
        return -1;
    while ((rc = db_step(s, e)) == 1)
        map_set(uses, db_text(s, 0), (void *)(uintptr_t)(db_int(s, 1) | USE_KNOWN));
    for (size_t i = 0; rc == 0 && i < real->n; i++) {
        buf_reset(&dir);
        if (map_get(uses, sl_z(real->v[i])) == NULL &&
            mbox_dir(u, sl_z(real->v[i]), &dir, NULL) == 0)
            map_set(uses, sl_z(real->v[i]),
                    (void *)(uintptr_t)(meta_read_use(u, buf_z(&dir)) | USE_KNOWN));
    }
    buf_free(&dir);
    for (size_t i = 0; rc == 0 && name_auto(u->s->conf, i, &name, &use); i++)
        if (((uintptr_t)map_get(uses, name) & ~(uintptr_t)USE_KNOWN) == 0)
            map_set(uses, name, (void *)(uintptr_t)(use | USE_KNOWN));
    return rc;
}

static unsigned
use_of(const struct map *uses, struct slice name)
{
    return (unsigned)(uintptr_t)map_get(uses, name) & ~(unsigned)USE_KNOWN;
}

int
store_list(struct store_user *u, struct store_mailboxes *out, struct err *e)
{
    struct names real = { 0 }, subs = { 0 }, all = { 0 };
    struct map *uses = map_new();
    size_t cap = 0;
    int rc = -1;

    memset(out, 0, sizeof(*out));
    if (user_lock(u, e))
        goto out;
    rc = folders_read(&u->loc, &real, e) || subscriptions_read(&u->loc, &subs, e) ||
                 load_uses(u, &real, uses, e)
             ? -1
             : 0;
    user_unlock(u);
    if (rc)
        goto out;
    names_add(&real, SL("INBOX"));
    names_sort(&real);
    for (size_t i = 0; i < real.n; i++)
        names_add(&all, sl_z(real.v[i]));
    add_parents(&u->loc, &all, &real);
    for (size_t i = 0; i < subs.n; i++)
        names_add(&all, sl_z(subs.v[i]));
    names_sort(&all);
    for (size_t i = 0; i < all.n; i++) {
        struct slice name = sl_z(all.v[i]);
        bool is_real = names_has(&real, name);
        struct store_mailbox *b = add_box(out, &cap, all.v[i], is_real ? 0 : STORE_MB_NONEXISTENT);

        if (names_has(&subs, name))
            b->attrs |= STORE_MB_SUBSCRIBED;
        if (is_real)
            b->attrs |= use_of(uses, name);
    }
    if (out->n > 1)
        qsort(out->v, out->n, sizeof(out->v[0]), cmp_boxes);
    /* Children are real folders below; the lists are short enough for a look at each level above. */
    for (size_t i = 0; i < real.n; i++)
        for (struct slice p = name_parent(&u->loc, sl_z(real.v[i])); p.n > 0;
             p = name_parent(&u->loc, p)) {
            char *key_name = sl_dupz(p);
            struct store_mailbox key = { key_name, 0 };
            struct store_mailbox *b = bsearch(&key, out->v, out->n, sizeof(out->v[0]), cmp_boxes);

            if (b != NULL)
                b->attrs |= STORE_MB_HAS_CHILDREN;
            free(key_name);
        }
out:
    names_free(&real);
    names_free(&subs);
    names_free(&all);
    map_free(&uses, NULL);
    return rc;
}

void
store_mailboxes_free(struct store_mailboxes *m)
{
    for (size_t i = 0; i < m->n; i++)
        free(m->v[i].name);
    free(m->v);
    memset(m, 0, sizeof(*m));
}

/* ---- CREATE, DELETE ---- */

/* A separator at the end of CREATE's name says that there will be names below (RFC 3501 §6.3.3). */
static struct slice
without_last_separator(const struct store_user *u, struct slice name)
{
    return name.n > 1 && sl_ends(name, u->loc.separator) ? sl_head(name, name.n - 1) : name;
}

/* Not while another process is in the middle of a DELETE: it may yet have to put back what it has taken. */
void
folders_sweep(struct store_user *u)
{
    DIR *d = flock(u->lock_fd, LOCK_EX | LOCK_NB) ? NULL : opendir(u->root);
    struct dirent *ent;

    while (d != NULL && (ent = readdir(d)) != NULL) {
        struct err why = { 0 };
        char *path;

        if (!sl_has_prefix(sl_z(ent->d_name), SL(NAMES_GONE_PREFIX)))
            continue;
        path = path_join(u->root, ent->d_name, NULL);
        if (fs_remove_tree(path, &why))
            log_warn("store.sweep", LOG_F(LF_Z("user", u->name)), "user %s: %s", u->name, why.msg);
        free(path);
    }
    if (d != NULL)
        closedir(d);
    flock(u->lock_fd, LOCK_UN);
}

/* With LAYOUT=fs what is below stays: the mailbox is its three folders and the files beside them. */
static int
take_parts(const char *dir, const char *aside, struct err *e)
{
    static const char *const parts[] = { "cur", "new", "tmp" };
    int rc = mkdir(aside, 0700) ? err_sys(e, "cannot make folder %s", aside) : 0;

    for (size_t i = 0; rc == 0 && i < COUNT_OF(parts);
         i++) { /* cur first: it says that it is one */
        char *from = path_join(dir, parts[i], NULL), *to = path_join(aside, parts[i], NULL);

        if (rename(from, to) && (i == 0 || errno != ENOENT))
            rc = err_sys(e, "cannot rename %s", from);
        free(from);
        free(to);
    }
    return rc;
}

static void
put_back(const char *dir, const char *aside)
{
    static const char *const parts[] = { "tmp", "new", "cur" };

    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        char *from = path_join(aside, parts[i], NULL), *to = path_join(dir, parts[i], NULL);

        rename(from, to);
        free(from);
        free(to);
    }
    rmdir(aside);
}

/* Files of a folder that is no mailbox any more, and the folder when nothing is below. */
static void
drop_rest(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *ent;

    while (d != NULL && (ent = readdir(d)) != NULL)
        if (ent->d_type != DT_DIR && name_is_reserved(sl_z(ent->d_name)))
            unlinkat(dirfd(d), ent->d_name, 0);
    if (d != NULL)
        closedir(d);
    rmdir(dir);
}

/* Out of sight at once by a rename to a name that is no folder's, then removed. Once that rename is on disk it has happened:
 * what cannot be removed now is a matter of folders_sweep(). */
static int
remove_folder(struct store_user *u, const char *dir, struct err *e)
{
    bool is_fs = u->loc.layout == LAYOUT_FS;
    char name[40] = NAMES_GONE_PREFIX, *aside, *control = mbox_control_dir(u, dir);
    struct err why = { 0 };
    int rc;

    rand_hex(name + strlen(NAMES_GONE_PREFIX), 16);
    aside = path_join(u->root, name, NULL);
    if (is_fs)
        rc = take_parts(dir, aside, e);
    else
        rc = rename(dir, aside) ? err_sys(e, "cannot rename %s", dir) : 0;
    if (rc == 0 && is_fs)
        rc = fs_sync_dir(dir, e);
    if (rc == 0)
        rc = fs_sync_dir(u->root, e);
    if (rc) { /* the client hears NO: its mail stays */
        if (is_fs)
            put_back(dir, aside);
        else
            rename(aside, dir);
    }
    if (rc == 0 && fs_remove_tree(aside, &why))
        log_warn("store.sweep", LOG_F(LF_Z("user", u->name)), "user %s: %s", u->name, why.msg);
    if (rc == 0 && is_fs)
        drop_rest(dir);
    if (rc == 0 && strcmp(control, dir) != 0)
        drop_rest(control);
    free(aside);
    free(control);
    return rc;
}

/* The folder, and what it is for. Alone: another process that makes the same one at the same time finds it whole. */
static int
create_folder(struct store_user *u, const char *dir, unsigned use, struct err *e)
{
    int rc;

    if (index_begin_alone(u, e))
        return -1;
    rc = folder_is_there(u, dir, e);
    if (rc == 1)
        rc = err_set(e, ERR_EXISTS, "Mailbox already exists");
    if (rc == 0)
        meta_forget(u, dir);
    if (rc == 0)
        rc = maildir_make(dir, folder_has_mark(u, dir), e);
    if (rc == 0 && use != 0 && (rc = meta_write_use(u, dir, use, e)) != 0)
        remove_folder(u, dir, NULL); /* RFC 6154 §3: not without its use */
    index_rollback(u);               /* nothing was written there */
    return rc;
}

int
store_create(struct store_user *u, struct slice name, unsigned use, struct err *e)
{
    struct buf normal = { 0 }, dir = { 0 };
    int64_t id;
    int rc = -1;

    if (name_normalise(&u->loc, without_last_separator(u, name), &normal, e) ||
        mbox_dir(u, buf_slice(&normal), &dir, e))
        goto out;
    if (store_use_check(use, e) || user_lock(u, e))
        goto out;
    rc = create_folder(u, buf_z(&dir), use, e);
    if (rc == 0)
        rc = mbox_find(u, buf_slice(&normal), &id, e); /* its row takes the use over */
    if (rc == 0)
        user_tell_event(u, STORE_EVENT_CREATED, buf_slice(&normal), SL(""));
    user_unlock(u);
out:
    buf_free(&normal);
    buf_free(&dir);
    return rc;
}

static int
row_id(struct store_user *u, struct slice normal, int64_t *id, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(u->db, "SELECT id FROM mailboxes WHERE name = ?", &s, e))
        return -1;
    db_bind_text(s, 1, normal);
    rc = db_step(s, e);
    if (rc == 1)
        *id = db_int(s, 0);
    db_reset(s);
    return rc;
}

static int
delete_locked(struct store_user *u, struct slice normal, const char *dir, struct err *e)
{
    int64_t id;
    int rc;

    rc = folder_is_there(u, dir, e);
    if (rc < 1)
        return rc < 0 ? -1
                      : err_set(e, ERR_NOTFOUND, "Mailbox doesn't exist: %.*s", SL_ARG(normal));
    if (index_begin_alone(u, e))
        return -1;
    rc = record_undo(u, e) ? -1 : remove_folder(u, dir, e);
    if (rc == 0 && (rc = row_id(u, normal, &id, e)) == 1)
        rc = mbox_forget(u, id, e);
    if (rc) {
        index_rollback(u);
        return -1;
    }
    if (index_commit(u, e))
        return -1;
    quota_moved(u, dir, NULL);
    return 0;
}

int
store_delete(struct store_user *u, struct slice name, struct err *e)
{
    struct buf normal = { 0 }, dir = { 0 };
    int rc = -1;

    if (name_normalise(&u->loc, name, &normal, e) || mbox_dir(u, buf_slice(&normal), &dir, e))
        goto out;
    if (name_is_inbox(buf_slice(&normal))) {
        err_set(e, ERR_PERM, "INBOX can't be deleted.");
        goto out;
    }
    if (user_lock(u, e))
        goto out;
    rc = delete_locked(u, buf_slice(&normal), buf_z(&dir), e);
    if (rc == 0)
        user_tell_event(u, STORE_EVENT_DELETED, buf_slice(&normal), SL(""));
    user_unlock(u);
out:
    buf_free(&normal);
    buf_free(&dir);
    return rc;
}

/* ---- RENAME ---- */

struct move {
    char *from, *to; /* normal names */
};

/* The folders that a rename moves: the one named, when it is there, and all below. */
static size_t
plan_moves(const struct location *l, const struct names *real, struct slice from, struct slice to,
           struct move *out)
{
    size_t n = 0;

    for (size_t i = 0; i < real->n; i++) {
        struct slice name = sl_z(real->v[i]);
        struct buf b = { 0 };

        if (!sl_eq(name, from) && !name_is_below(l, name, from))
            continue;
        buf_adds(&b, to);
        buf_adds(&b, sl_from(name, from.n));
        out[n++] = (struct move){ sl_dupz(name), mem_dupz(buf_z(&b)) };
        buf_free(&b);
    }
    return n;
}

static int
rename_row(struct store_user *u, const struct move *m, struct err *e)
{
    struct db_stmt *s;
    int64_t id;
    int rc = row_id(u, sl_z(m->to), &id, e); /* a row whose folder a foreign program removed */

    if (rc == 1)
        rc = mbox_forget(u, id, e);
    if (rc || db_prepare(u->db, "UPDATE mailboxes SET name = ? WHERE name = ?", &s, e))
        return -1;
    u->charge.is_changed = true; /* one of the names may be ignored by quota */
    db_bind_text(s, 1, sl_z(m->to));
    db_bind_text(s, 2, sl_z(m->from));
    return db_run(s, e);
}

/* The folder above, on disk. */
static int
sync_above(const char *dir, struct err *e)
{
    struct slice path = sl_z(dir);
    char *above = sl_dupz(sl_head(path, sl_rfind_char(path, '/')));
    int rc = fs_sync_dir(above, e);

    free(above);
    return rc;
}

static int
make_above(const char *dir, struct err *e)
{
    struct slice path = sl_z(dir);
    char *above = sl_dupz(sl_head(path, sl_rfind_char(path, '/')));
    int rc = fs_mkdirs(above, 0700, e);

    free(above);
    return rc;
}

/* What lies at CONTROL= goes along; should it not, keywords beyond letters' names are all that is lost. */
static void
rename_control(struct store_user *u, const char *a, const char *b)
{
    char *from = mbox_control_dir(u, a), *to = mbox_control_dir(u, b);
    struct err why = { 0 };

    if (strcmp(from, a) != 0 && access(from, F_OK) == 0 &&
        (make_above(to, &why) || rename(from, to)))
        log_warn("store.rename", LOG_F(LF_Z("user", u->name)), "user %s: cannot rename %s", u->name,
                 from);
    free(from);
    free(to);
}

static int
rename_folder(struct store_user *u, struct slice from, struct slice to, struct err *e)
{
    bool is_fs = u->loc.layout == LAYOUT_FS;
    struct buf a = { 0 }, b = { 0 };
    int rc = -1;

    if (mbox_dir(u, from, &a, e) || mbox_dir(u, to, &b, e))
        goto out;
    if (is_fs && make_above(buf_z(&b), e))
        goto out;
    if (rename(buf_z(&a), buf_z(&b)) == 0)
        rc = 0;
    else if (errno == ENOTEMPTY || errno == EEXIST)
        err_set(e, ERR_EXISTS, "Target mailbox already exists");
    else
        err_sys(e, "cannot rename %s", buf_z(&a));
    if (rc == 0)
        rename_control(u, buf_z(&a), buf_z(&b));
    if (rc == 0 && is_fs && (sync_above(buf_z(&b), e) || sync_above(buf_z(&a), e))) {
        rename(buf_z(&b), buf_z(&a));
        rename_control(u, buf_z(&b), buf_z(&a));
        rc = -1;
    }
out:
    buf_free(&a);
    buf_free(&b);
    return rc;
}

/* Deliveries that no scan has met yet went along. */
static void
tell_quota(struct store_user *u, const struct move *m)
{
    struct buf a = { 0 }, b = { 0 };

    if (u->s->quota != NULL && mbox_dir(u, sl_z(m->from), &a, NULL) == 0 &&
        mbox_dir(u, sl_z(m->to), &b, NULL) == 0)
        quota_moved(u, buf_z(&a), buf_z(&b));
    buf_free(&a);
    buf_free(&b);
}

/* Rows of all of them; on disk one folder with what is in it (LAYOUT=fs), or each. */
static int
rename_all(struct store_user *u, struct slice from, struct slice to, const struct move *m, size_t n,
           struct err *e)
{
    bool is_fs = u->loc.layout == LAYOUT_FS;
    size_t done = 0;
    int rc = 0;

    if (index_begin_alone(u, e))
        return -1;
    rc = record_undo(u, e);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct buf dir = { 0 };

        rc = mbox_dir(u, sl_z(m[i].to), &dir, e); /* a longer name may not fit */
        if (rc == 0)
            rc = folder_is_there(u, buf_z(&dir), e);
        if (rc == 1)
            rc = err_set(e, ERR_EXISTS, "Target mailbox already exists");
        if (rc == 0)
            rc = rename_row(u, &m[i], e);
        buf_free(&dir);
    }
    if (rc == 0 && is_fs)
        rc = rename_folder(u, from, to, e);
    for (; rc == 0 && !is_fs && done < n; done += rc == 0)
        rc = rename_folder(u, sl_z(m[done].from), sl_z(m[done].to), e);
    u->must_sync = true;
    if (rc == 0)
        rc = fs_sync_dir(u->root, e);
    if (rc)
        index_rollback(u);
    else if ((rc = index_commit(u, e)) != 0 && is_fs)
        rename_folder(u, to, from, NULL);
    while (rc && done > 0) { /* all or none */
        done--;
        rename_folder(u, sl_z(m[done].to), sl_z(m[done].from), NULL);
    }
    for (size_t i = 0; rc == 0 && i < n; i++)
        tell_quota(u, &m[i]);
    return rc;
}

/* INBOX stays and is empty afterwards; its mail goes into the new mailbox (RFC 3501 §6.3.5). */
static int
rename_inbox(struct store_user *u, struct slice to, struct err *e)
{
    struct store_uids all = { 0 };
    struct store_copied done = { 0 };
    struct store_view *v;
    int rc;

    if (store_create(u, to, 0, e) || store_select(u, SL("INBOX"), false, &v, e))
        return -1;
    store_uids_add(&all, 1, UINT32_MAX);
    rc = store_copy(v, &all, to, true, &done, e);
    store_copied_free(&done);
    store_uids_free(&all);
    store_unselect(&v);
    return rc;
}

static int
rename_locked(struct store_user *u, struct slice from, struct slice to, struct err *e)
{
    struct names real;
    struct move *moves;
    size_t n;
    int rc;

    if (folders_read(&u->loc, &real, e))
        return -1;
    moves = mem_zalloc((real.n + 1) * sizeof(moves[0]));
    n = plan_moves(&u->loc, &real, from, to, moves);
    if (n == 0)
        rc = err_set(e, ERR_NOTFOUND, "Mailbox doesn't exist: %.*s", SL_ARG(from));
    else if (name_is_below(&u->loc, to, from))
        rc = err_set(e, ERR_CLIENT, "Can't rename mailbox under its own child");
    else if (names_has(&real, to))
        rc = err_set(e, ERR_EXISTS, "Target mailbox already exists");
    else
        rc = rename_all(u, from, to, moves, n, e);
    for (size_t i = 0; i < n; i++) {
        if (rc == 0) {
            user_tell(u, sl_z(moves[i].from), NULL);
            user_tell_event(u, STORE_EVENT_RENAMED, sl_z(moves[i].to), sl_z(moves[i].from));
        }
        free(moves[i].from);
        free(moves[i].to);
    }
    free(moves);
    names_free(&real);
    return rc;
}

int
store_rename(struct store_user *u, struct slice from, struct slice to, struct err *e)
{
    struct buf a = { 0 }, b = { 0 }, dir = { 0 };
    int rc = -1;

    if (name_normalise(&u->loc, from, &a, e) ||
        name_normalise(&u->loc, without_last_separator(u, to), &b, e) ||
        mbox_dir(u, buf_slice(&b), &dir, e))
        goto out;
    if (name_is_inbox(buf_slice(&b))) {
        err_set(e, ERR_EXISTS, "Target mailbox already exists");
    } else if (name_is_inbox(buf_slice(&a))) {
        rc = rename_inbox(u, buf_slice(&b), e);
    } else if (user_lock(u, e) == 0) {
        rc = rename_locked(u, buf_slice(&a), buf_slice(&b), e);
        user_unlock(u);
    }
out:
    buf_free(&a);
    buf_free(&b);
    buf_free(&dir);
    return rc;
}

/* ---- SUBSCRIBE ---- */

int
store_subscribe(struct store_user *u, struct slice name, bool on, struct err *e)
{
    struct buf normal = { 0 };
    struct names which = { 0 };
    int rc = name_normalise(&u->loc, name, &normal, e);

    if (rc == 0) {
        names_add(&which, buf_slice(&normal));
        rc = subscriptions_change(&u->loc, &which, on, e);
    }
    if (rc == 0)
        user_tell_event(u, on ? STORE_EVENT_SUBSCRIBED : STORE_EVENT_UNSUBSCRIBED,
                        buf_slice(&normal), SL(""));
    names_free(&which);
    buf_free(&normal);
    return rc;
}
