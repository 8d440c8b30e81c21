/* store/import_again.c - back from a Dovecot. After `postern store export-dovecot` a Dovecot may open the mail and assign
 * UIDs; when Postern opens the user again, every uidlist that is not the one it wrote is read, and what Dovecot assigned is
 * taken over. Only one server may assign UIDs at a time: where both did, a UID would name two messages, so the mailbox
 * gets a new UIDVALIDITY and clients begin anew. */
#include "store/maintain.h"
#include "store/store_int.h"
#include "store/uidlist.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* ---- what was exported ---- */

int
exported_load(struct store_user *u, int64_t mailbox, struct exported *out, struct err *e)
{
    struct db_stmt *s;
    struct slice text, word;
    uint64_t v[5] = { 0 };
    int rc;

    memset(out, 0, sizeof(*out));
    if (db_prepare(u->db, "SELECT exported FROM mailboxes WHERE id = ?", &s, e))
        return -1;
    db_bind_int(s, 1, mailbox);
    rc = db_step(s, e);
    if (rc < 1)
        return rc;
    text = db_text(s, 0);
    for (size_t i = 0; i < 5 && sl_take_word(&text, " ", &word); i++)
        if (!sl_to_u64(word, &v[i]))
            v[i] = 0;
    db_reset(s);
    *out = (struct exported){ .uidvalidity = (uint32_t)v[0],
                              .uidnext = (uint32_t)v[1],
                              .octets = (int64_t)v[2],
                              .mtime_ns = (int64_t)v[3],
                              .inode = (int64_t)v[4] };
    return 0;
}

int
exported_save(struct store_user *u, int64_t mailbox, const struct exported *x, struct err *e)
{
    char text[128];
    struct db_stmt *s;

    snprintf(text, sizeof(text), "%u %u %lld %lld %llu", x->uidvalidity, x->uidnext,
             (long long)x->octets, (long long)x->mtime_ns, (unsigned long long)x->inode);
    if (db_prepare(u->db, "UPDATE mailboxes SET exported = ? WHERE id = ?", &s, e))
        return -1;
    db_bind_text(s, 1, sl_z(text));
    db_bind_int(s, 2, mailbox);
    return db_run(s, e);
}

void
exported_of_file(struct exported *x, const struct stat *st)
{
    x->octets = st->st_size;
    x->mtime_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
    x->inode = (int64_t)st->st_ino;
}

bool
exported_is_file(const struct exported *x, const struct stat *st)
{
    struct exported now = { 0 };

    exported_of_file(&now, st);
    return now.octets == x->octets && now.mtime_ns == x->mtime_ns && now.inode == x->inode;
}

/* ---- one mailbox ---- */

struct again {
    struct store_user *u;
    struct uidvalidity *v;
    uint32_t given; /* the highest UIDVALIDITY before */
    bool must;
    const struct store_teller *t;
    struct store_imported sum;
    struct names changed; /* whose views are told */
};

struct folder {
    struct slice name;
    const char *dir;
    int64_t id; /* of its row, 0: none */
    struct exported was;
    struct uidlist l;
};

__attribute__((format(printf, 3, 4))) static void
note(const struct again *a, struct slice mailbox, const char *fmt, ...)
{
    char text[300];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    log_info("store.import", LOG_F(LF_Z("user", a->u->name), LF_S("mailbox", mailbox)),
             "user %s: mailbox %.*s: %s", a->u->name, SL_ARG(mailbox), text);
    if (a->t != NULL && a->t->note != NULL)
        a->t->note(a->t->arg, mailbox, text);
}

static int
row_of_name(struct store_user *u, struct slice name, int64_t *id, struct err *e)
{
    struct db_stmt *s;
    int rc;

    *id = 0;
    if (db_prepare(u->db, "SELECT id FROM mailboxes WHERE name = ?", &s, e))
        return -1;
    db_bind_text(s, 1, name);
    rc = db_step(s, e);
    if (rc == 1) {
        *id = db_int(s, 0);
        db_reset(s);
    }
    return rc < 0 ? -1 : 0;
}

/* A mailbox that Dovecot renamed: its row is there under a name whose folder is gone. */
static int
find_renamed(struct again *a, struct folder *f, struct err *e)
{
    struct buf dir = { 0 };
    struct db_stmt *s;
    int64_t id = 0;
    char *name = NULL;
    int rc;

    if (f->l.guid[0] == '\0')
        return 0;
    if (db_prepare(
            a->u->db,
            "SELECT id, name FROM mailboxes WHERE ?1 IN (guid, object_id) AND uidvalidity = ?2", &s,
            e))
        return -1;
    db_bind_text(s, 1, sl_z(f->l.guid));
    db_bind_int(s, 2, f->l.uidvalidity);
    rc = db_step(s, e);
    if (rc == 1) {
        id = db_int(s, 0);
        name = sl_dupz(db_text(s, 1));
        db_reset(s);
        rc = mbox_dir(a->u, sl_z(name), &dir, e);
        if (rc == 0)
            rc = folder_is_there(a->u, buf_z(&dir), e);
        if (rc == 0)
            rc = db_prepare(a->u->db, "UPDATE mailboxes SET name = ? WHERE id = ?", &s, e);
        else if (rc == 1) {
            rc = 0;
            id = 0;
        }
        if (rc == 0 && id != 0) {
            db_bind_text(s, 1, f->name);
            db_bind_int(s, 2, id);
            rc = db_run(s, e);
        }
        if (rc == 0 && id != 0) {
            f->id = id;
            rc = exported_load(a->u, id, &f->was, e);
        }
    }
    free(name);
    buf_free(&dir);
    return rc < 0 ? -1 : 0;
}

/* Base names of the index's rows and their UIDs. */
static int
load_rows(struct store_user *u, int64_t mailbox, struct map *out, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(u->db, "SELECT uid, file FROM messages WHERE mailbox = ?", &s, e))
        return -1;
    db_bind_int(s, 1, mailbox);
    while ((rc = db_step(s, e)) == 1) {
        struct slice file = db_text(s, 1);

        map_set(out, sl_head(file, sl_find_char(file, ':')), (void *)(uintptr_t)db_int(s, 0));
    }
    return rc;
}

/* Has the index given UIDs that the list does not have, or has otherwise, while Dovecot gave some too? */
static bool
both_assigned(const struct folder *f, const struct mbox *mb, const struct map *rows)
{
    struct slice base;
    void *value;

    if (mb->uidnext <= f->was.uidnext || f->l.uidnext <= f->was.uidnext)
        return false;
    if (mb->uidnext > f->l.uidnext)
        return true;
    for (size_t it = 0; map_next(rows, &it, &base, &value);)
        if ((uintptr_t)value >= f->was.uidnext && map_get(f->l.uids, base) != value)
            return true;
    for (size_t it = 0; map_next(f->l.uids, &it, &base, &value);)
        if ((uintptr_t)value >= f->was.uidnext && (uintptr_t)value < mb->uidnext &&
            map_get(rows, base) != value)
            return true;
    return false;
}

/* Dovecot saw a file vanish and come back, and gave it another UID: so it is gone and new for clients here too. */
static int
follow_renumbered(struct again *a, struct folder *f, struct mbox *mb, const struct map *rows,
                  struct err *e)
{
    struct slice base;
    void *value;

    for (size_t it = 0; map_next(f->l.uids, &it, &base, &value);) {
        uintptr_t was = (uintptr_t)map_get(rows, base), now = (uintptr_t)value;

        if (now >= mb->uidnext)
            a->sum.messages++;
        if (was != 0 && was != now && now >= mb->uidnext && msg_expunge(a->u, mb, (uint32_t)was, e))
            return -1;
    }
    return 0;
}

/* Hints of UIDs below uidnext would give a UID for the second time. */
static struct map *
hints_from(const struct folder *f, uint32_t uidnext)
{
    struct map *hints = map_new();
    struct slice base;
    void *value;

    for (size_t it = 0; map_next(f->l.uids, &it, &base, &value);)
        if ((uintptr_t)value >= uidnext)
            map_set(hints, base, value);
    return hints;
}

static int
take_over(struct again *a, struct folder *f, struct mbox *mb, const struct map *rows, struct err *e)
{
    struct map *hints = hints_from(f, mb->uidnext);
    uint64_t now = (uint64_t)clock_unix_s();
    int rc = follow_renumbered(a, f, mb, rows, e);

    if (f->l.uidnext > mb->uidnext)
        mb->uidnext = f->l.uidnext;
    if (mb->uidnext > mb->uid_reserved) {
        mb->uid_reserved = mb->uidnext + INDEX_UID_BLOCK;
        a->u->must_sync = true;
    }
    if (now > mb->modseq && mb->change == 0) { /* above what Dovecot may have told */
        mb->modseq = now;
        mb->change = 0;
    }
    if (mb->modseq > mb->modseq_reserved) {
        mb->modseq_reserved = mb->modseq + INDEX_MODSEQ_BLOCK;
        a->u->must_sync = true;
    }
    if (rc == 0)
        rc = keywords_import(a->u, f->dir, f->id, 0, e);
    if (rc == 0)
        rc = mbox_scan_in_tx(a->u, f->dir, mb, false, true, hints, e);
    if (rc == 0)
        rc = import_extras(a->u, mb, &f->l, e);
    if (rc == 0)
        rc = mbox_save(a->u, mb, e);
    map_free(&hints, NULL);
    return rc;
}

/* The row anew, of Dovecot's list. */
static int
start_from_list(struct again *a, struct folder *f, struct err *e)
{
    if (f->id != 0 && mbox_forget(a->u, f->id, e))
        return -1;
    a->sum.messages += f->l.n_lines;
    if (import_list(a->u, f->name, f->dir, &f->l, a->v, e) || row_of_name(a->u, f->name, &f->id, e))
        return -1;
    return 0;
}

/* The row anew under a UIDVALIDITY that nobody was ever told. */
static int
start_anew(struct again *a, struct folder *f, struct err *e)
{
    int64_t now_s = clock_unix_s();
    uint32_t next = a->v->highest + 1;
    struct mbox mb;

    if (now_s > (int64_t)next && now_s <= UINT32_MAX)
        next = (uint32_t)now_s;
    a->v->highest = next;
    a->sum.reset++;
    if (f->id != 0 && mbox_forget(a->u, f->id, e))
        return -1;
    if (mbox_insert(a->u, f->name, next, 1, (uint64_t)now_s, &f->id, e) ||
        keywords_import(a->u, f->dir, f->id, 0, e) || mbox_load(a->u, f->id, &mb, e) != 1 ||
        mbox_scan_in_tx(a->u, f->dir, &mb, false, true, NULL, e) || import_recent(a->u, &mb, e) ||
        mbox_save(a->u, &mb, e))
        return -1;
    return 0;
}

static int
merge(struct again *a, struct folder *f, struct err *e)
{
    struct map *rows = NULL;
    struct mbox mb;
    int rc = mbox_load(a->u, f->id, &mb, e);

    if (rc != 1)
        return rc < 0 ? -1 : err_set(e, ERR_TEMP, "mailbox %.*s is gone", SL_ARG(f->name));
    if (mb.uidvalidity != f->l.uidvalidity) {
        if (f->l.uidvalidity == f->was.uidvalidity && !a->must) /* it was made anew here since */
            return 0;
        note(a, f->name, "Dovecot has given it another UIDVALIDITY, which counts");
        return start_from_list(a, f, e);
    }
    rows = map_new();
    rc = load_rows(a->u, f->id, rows, e);
    if (rc == 0 && (f->was.uidvalidity == 0 || both_assigned(f, &mb, rows))) {
        if (a->must) {
            note(a, f->name, "taken over from Dovecot's list, whatever the index says");
            rc = start_from_list(a, f, e);
        } else {
            note(a, f->name,
                 "Dovecot and Postern have both assigned UIDs since the export: a new UIDVALIDITY");
            rc = start_anew(a, f, e);
        }
    } else if (rc == 0) {
        rc = take_over(a, f, &mb, rows, e);
        if (rc == 0)
            note(a, f->name, "what Dovecot has assigned since the export is taken over");
    }
    map_free(&rows, NULL);
    return rc;
}

/* Remember that this list is known, and up to which UID both agree: what the index alone has given beyond it, another
 * list may give to other messages. */
static int
remember(struct again *a, struct folder *f, struct err *e)
{
    struct exported now = { 0 };
    struct mbox mb;

    if (mbox_load(a->u, f->id, &mb, e) != 1)
        return -1;
    now.uidvalidity = f->l.uidvalidity;
    now.uidnext = f->l.uidnext < mb.uidnext ? f->l.uidnext : mb.uidnext;
    exported_of_file(&now, &f->l.st);
    return exported_save(a->u, f->id, &now, e);
}

static int
one_folder(struct again *a, struct slice name, struct err *e)
{
    struct folder f = { .name = name };
    struct buf dir = { 0 };
    char *control = NULL, *path = NULL;
    struct err why = { 0 };
    struct stat st;
    int rc = -1;

    if (mbox_dir(a->u, name, &dir, e))
        return -1;
    f.dir = buf_z(&dir);
    control = mbox_control_dir(a->u, f.dir);
    path = path_join(control, UIDLIST_FILE, NULL);
    if (row_of_name(a->u, name, &f.id, e) || (f.id && exported_load(a->u, f.id, &f.was, e)))
        goto out;
    rc = 0;
    if (stat(path, &st) || (f.id && !a->must && exported_is_file(&f.was, &st)))
        goto out;
    if (uidlist_read(control, &f.l, &why)) {
        rc = why.kind == ERR_TEMP ? (*e = why, -1) : 0;
        if (why.kind == ERR_PERM)
            note(a, name, "%s: what Dovecot has assigned is not known", why.msg);
        goto out;
    }
    if (f.id == 0 && find_renamed(a, &f, e)) {
        rc = -1;
        goto out;
    }
    a->sum.mailboxes++;
    names_add(&a->changed, name);
    if (f.id != 0)
        rc = merge(a, &f, e);
    else if (f.l.uidvalidity > a->given || a->must)
        rc = start_from_list(a, &f, e);
    else /* the row is lost, and with it what was assigned after the export */
        rc = start_anew(a, &f, e);
    if (rc == 0)
        rc = remember(a, &f, e);
out:
    uidlist_free(&f.l);
    free(path);
    free(control);
    buf_free(&dir);
    return rc;
}

static int
all_folders(struct again *a, struct err *e)
{
    struct names folders;
    int rc;

    if (folders_read(&a->u->loc, &folders, e))
        return -1;
    rc = one_folder(a, SL("INBOX"), e);
    for (size_t i = 0; rc == 0 && i < folders.n; i++)
        rc = one_folder(a, sl_z(folders.v[i]), e);
    names_free(&folders);
    return rc;
}

/* Is there any list that is not the one that was exported? Without a transaction: mostly there is none. */
static int
is_any_changed(struct store_user *u, struct err *e)
{
    struct names folders;
    int rc = 0;

    if (folders_read(&u->loc, &folders, e))
        return -1;
    names_add(&folders, SL("INBOX"));
    for (size_t i = 0; rc == 0 && i < folders.n; i++) {
        struct buf dir = { 0 };
        struct exported was = { 0 };
        struct stat st;
        int64_t id = 0;

        rc = mbox_dir(u, sl_z(folders.v[i]), &dir, e);
        if (rc == 0)
            rc = row_of_name(u, sl_z(folders.v[i]), &id, e);
        if (rc == 0 && id != 0)
            rc = exported_load(u, id, &was, e);
        if (rc == 0) {
            char *control = mbox_control_dir(u, buf_z(&dir)),
                 *path = path_join(control, UIDLIST_FILE, NULL);

            rc = stat(path, &st) == 0 && !exported_is_file(&was, &st);
            free(path);
            free(control);
        }
        buf_free(&dir);
    }
    names_free(&folders);
    return rc;
}

int
import_again(struct store_user *u, struct uidvalidity *v, bool must, const struct store_teller *t,
             struct store_imported *out, struct err *e)
{
    struct again a = { .u = u, .v = v, .must = must, .t = t };
    int rc = must ? 1 : is_any_changed(u, e);

    if (rc < 1)
        return rc;
    if (index_begin(u, e))
        return -1;
    rc = uidvalidity_read(u->control_dir, v, e);
    a.given = v->highest;
    if (rc == 0)
        rc = all_folders(&a, e);
    if (rc == 0) /* before any row may bear a value */
        rc = uidvalidity_write(u->control_dir, v, e);
    if (rc) {
        index_rollback(u);
    } else {
        rc = index_commit(u, e);
        if (rc == 0)
            rc = index_sync(u, e);
    }
    for (size_t i = 0; rc == 0 && i < a.changed.n; i++)
        user_tell(u, sl_z(a.changed.v[i]), NULL);
    names_free(&a.changed);
    if (out != NULL)
        *out = a.sum;
    return rc;
}

/* The first time: all there is. */
static int
count_all(struct store_user *u, struct store_imported *out, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(u->db, "SELECT count(*), coalesce(sum(messages), 0) FROM mailboxes", &s, e))
        return -1;
    rc = db_step(s, e);
    if (rc == 1) {
        out->mailboxes = (uint64_t)db_int(s, 0);
        out->messages = (uint64_t)db_int(s, 1);
        db_reset(s);
    }
    return rc < 0 ? -1 : 0;
}

int
store_import_dovecot(struct store *s, struct slice name, const struct store_userdb *db, bool must,
                     const struct store_teller *t, struct store_imported *out, struct err *e)
{
    struct store_user *u;
    struct uidvalidity v;
    int rc = -1;

    memset(out, 0, sizeof(*out));
    if (user_open_bare(s, name, db, &u, e))
        return -1;
    if (user_lock(u, e) == 0) {
        rc = uidvalidity_read(u->control_dir, &v, e);
        if (rc == 0 && !v.is_imported) {
            rc = dovecot_import(u, e);
            if (rc == 0)
                rc = count_all(u, out, e);
        } else if (rc == 0 && (v.is_exported || must)) {
            v.is_imported = v.is_exported = true;
            rc = uidvalidity_mark(u, v.highest, true, e);
            if (rc == 0)
                rc = import_again(u, &v, must, t, out, e);
        } else if (rc == 0 && t != NULL && t->note != NULL) {
            t->note(t->arg, sl_n(NULL, 0),
                    "taken over already, and not exported since: nothing to do");
        }
        user_unlock(u);
    }
    store_user_close(&u);
    return rc;
}
