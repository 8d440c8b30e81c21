/* store/import.c - the first opening of a Maildir that a Dovecot wrote: UIDs, UIDVALIDITY, keywords, GUIDs, POP3 UIDLs and
 * sizes are taken over, so that no client downloads anything again. Dovecot's files stay as they are. */
#include "store/store_int.h"
#include "store/uidlist.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- dovecot-uidvalidity ---- */

static bool
from_hex(struct slice s, uint32_t *out)
{
    char text[9] = "", *end;

    if (s.n == 0 || s.n > 8)
        return false;
    memcpy(text, s.p, s.n);
    *out = (uint32_t)strtoul(text, &end, 16);
    return *end == '\0' && sl_is_alnum_char(text[0]);
}

/* The highest of what the file dovecot-uidvalidity says and of the files dovecot-uidvalidity.XXXXXXXX. */
static uint32_t
old_uidvalidity(const char *dir)
{
    char *path = path_join(dir, "dovecot-uidvalidity", NULL);
    struct buf text = { .max = 64 };
    DIR *d = opendir(dir);
    struct dirent *ent;
    uint32_t highest = 0, v;

    if (fs_read_file(path, &text, NULL) == 0 && from_hex(sl_trim(buf_slice(&text)), &v) &&
        v < UINT32_MAX)
        highest = v;
    while (d != NULL && (ent = readdir(d)) != NULL) {
        struct slice name = sl_z(ent->d_name);

        if (sl_take_prefix(&name, SL("dovecot-uidvalidity.")) && from_hex(name, &v) &&
            v > highest && v < UINT32_MAX)
            highest = v;
    }
    if (d != NULL)
        closedir(d);
    buf_free(&text);
    free(path);
    return highest;
}

/* ---- a folder ---- */

int
import_recent(struct store_user *u, struct mbox *mb, struct err *e)
{
    struct db_stmt *s;
    uint32_t uid = 1;
    int rc;

    if (db_prepare(u->db,
                   "SELECT coalesce(max(uid), 0) + 1 FROM messages WHERE mailbox = ? AND dir = 1",
                   &s, e))
        return -1;
    db_bind_int(s, 1, mb->id);
    rc = db_step(s, e);
    if (rc == 1) {
        uid = (uint32_t)db_int(s, 0);
        db_reset(s);
    }
    return rc < 0 ? -1 : mbox_set_recent(u, mb, uid, e);
}

/* RFC822.SIZE of a file whose name does not tell: as clients were told. */
static int
put_size(struct store_user *u, struct mbox *mb, const struct uidlist_extra *x, struct err *e)
{
    struct db_stmt *s;
    int64_t size;
    int rc;

    if (db_prepare(u->db,
                   "UPDATE messages SET crlf = ?1 WHERE mailbox = ?2 AND uid = ?3 AND crlf < 0"
                   " AND size <= ?1 AND ?1 <= 2 * size AND ?4 IN (-1, size) RETURNING size",
                   &s, e))
        return -1;
    db_bind_int(s, 1, x->crlf);
    db_bind_int(s, 2, mb->id);
    db_bind_int(s, 3, x->uid);
    db_bind_int(s, 4, x->size);
    rc = db_step(s, e);
    if (rc < 1)
        return rc;
    size = db_int(s, 0);
    mb->crlf_octets += x->crlf - size;
    return db_run(s, e);
}

static void
bind_or_null(struct db_stmt *s, int at, const char *text)
{
    if (text == NULL)
        db_bind_null(s, at);
    else
        db_bind_text(s, at, sl_z(text));
}

static int
put_ids(struct store_user *u, int64_t mailbox, const struct uidlist_extra *x, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(u->db,
                   "INSERT OR REPLACE INTO foreign_ids (mailbox, uid, guid, uidl, uidl_order)"
                   " SELECT mailbox, uid, ?3, ?4, ?5 FROM messages WHERE mailbox = ?1 AND uid = ?2",
                   &s, e))
        return -1;
    db_bind_int(s, 1, mailbox);
    db_bind_int(s, 2, x->uid);
    bind_or_null(s, 3, x->guid);
    bind_or_null(s, 4, x->uidl);
    if (x->order == UINT32_MAX)
        db_bind_null(s, 5);
    else
        db_bind_int(s, 5, x->order);
    return db_run(s, e);
}

int
import_extras(struct store_user *u, struct mbox *mb, const struct uidlist *l, struct err *e)
{
    struct db_stmt *s;

    for (size_t i = 0; i < l->n; i++) {
        const struct uidlist_extra *x = &l->v[i];

        if (x->crlf >= 0 && put_size(u, mb, x, e))
            return -1;
        if ((x->guid != NULL || x->uidl != NULL || x->order != UINT32_MAX) &&
            put_ids(u, mb->id, x, e))
            return -1;
    }
    if (l->guid[0] == '\0')
        return 0;
    if (db_prepare(u->db, "UPDATE mailboxes SET guid = ? WHERE id = ?", &s, e))
        return -1;
    db_bind_text(s, 1, sl_z(l->guid));
    db_bind_int(s, 2, mb->id);
    return db_run(s, e);
}

/* This list is known: it is no news after an export that did not come to it. */
static int
remember(struct store_user *u, int64_t id, const struct uidlist *l, struct err *e)
{
    struct exported x = { .uidvalidity = l->uidvalidity, .uidnext = l->uidnext };

    exported_of_file(&x, &l->st);
    return exported_save(u, id, &x, e);
}

/* MODSEQs start above any the old server can have given: it counted changes, we start at the time. */
int
import_list(struct store_user *u, struct slice normal, const char *dir, struct uidlist *l,
            struct uidvalidity *v, struct err *e)
{
    struct mbox mb;
    int64_t id;

    if (l->uidvalidity > v->highest)
        v->highest = l->uidvalidity;
    if (maildir_make(dir, folder_has_mark(u, dir), e) ||
        mbox_insert(u, normal, l->uidvalidity, l->uidnext, (uint64_t)clock_unix_s(), &id, e) ||
        keywords_import(u, dir, id, 0, e) || mbox_load(u, id, &mb, e) != 1 ||
        mbox_scan_in_tx(u, dir, &mb, false, true, l->uids, e) || import_extras(u, &mb, l, e) ||
        import_recent(u, &mb, e) || mbox_save(u, &mb, e) || remember(u, id, l, e))
        return -1;
    log_info("store.import",
             LOG_F(LF_Z("user", u->name), LF_S("mailbox", normal), LF_N("damaged", l->n_bad)),
             "user %s: mailbox %.*s: UIDs and keywords of Dovecot's are taken over", u->name,
             SL_ARG(normal));
    if (l->n_bad > 0)
        log_warn("store.import", LOG_F(LF_Z("user", u->name), LF_S("mailbox", normal)),
                 "user %s: mailbox %.*s: %zu lines of " UIDLIST_FILE
                 " are damaged: their messages get new UIDs",
                 u->name, SL_ARG(normal), l->n_bad);
    return 0;
}

static int
has_row(struct store_user *u, struct slice normal, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(u->db, "SELECT 1 FROM mailboxes WHERE name = ?", &s, e))
        return -1;
    db_bind_text(s, 1, normal);
    rc = db_step(s, e);
    db_reset(s);
    return rc;
}

static int
import_folder(struct store_user *u, struct slice normal, struct uidvalidity *v, struct err *e)
{
    struct buf dir = { 0 };
    char *control = NULL;
    struct uidlist l = { 0 };
    struct err why = { 0 };
    int rc = -1;

    if (mbox_dir(u, normal, &dir, e))
        goto out;
    control = mbox_control_dir(u, buf_z(&dir));
    if (uidlist_read(control, &l, &why)) {
        rc = why.kind == ERR_TEMP ? (*e = why, -1) : 0;
        if (why.kind == ERR_PERM)
            log_warn("store.import", LOG_F(LF_Z("user", u->name)),
                     "user %s: %s: UIDs are given anew", u->name, why.msg);
        goto out;
    }
    rc = has_row(u, normal, e); /* there: taken over by an import that was interrupted */
    if (rc == 0)
        rc = import_list(u, normal, buf_z(&dir), &l, v, e);
    else if (rc == 1)
        rc = 0;
    if (l.uidvalidity > v->highest)
        v->highest = l.uidvalidity;
out:
    uidlist_free(&l);
    free(control);
    buf_free(&dir);
    return rc;
}

static int
import_first(struct store_user *u, struct uidvalidity *v, struct err *e)
{
    struct names folders;
    uint32_t old = old_uidvalidity(u->control_dir);
    int rc;

    if (old > v->highest)
        v->highest = old;
    if (folders_read(&u->loc, &folders, e))
        return -1;
    rc = import_folder(u, SL("INBOX"), v, e);
    for (size_t i = 0; rc == 0 && i < folders.n; i++)
        rc = import_folder(u, sl_z(folders.v[i]), v, e);
    names_free(&folders);
    return rc;
}

/* The old server's values are on disk before anybody may be given one. In the transaction. */
static int
raise_highest(struct store_user *u, const struct uidvalidity *v, struct err *e)
{
    struct uidvalidity now;

    if (uidvalidity_read(u->control_dir, &now, e))
        return -1;
    if (now.highest >= v->highest)
        return 0;
    now.highest = v->highest;
    return uidvalidity_write(u->control_dir, &now, e);
}

static int
import_once(struct store_user *u, struct uidvalidity *v, struct err *e)
{
    int rc;

    if (index_begin(u, e))
        return -1;
    rc = uidvalidity_read(u->control_dir, v, e); /* another process may have done it meanwhile */
    if (rc == 0 && !v->is_imported)
        rc = import_first(u, v, e) || raise_highest(u, v, e) ? -1 : 0;
    if (rc) {
        index_rollback(u);
        return -1;
    }
    /* The rows are on disk before the mark: a cut between them repeats the import, which finds the rows. */
    if (index_commit(u, e) || index_sync(u, e))
        return -1;
    if (v->is_imported)
        return 0;
    v->is_imported = true;
    return uidvalidity_mark(u, v->highest, false, e);
}

int
dovecot_import(struct store_user *u, struct err *e)
{
    struct uidvalidity v;

    if (uidvalidity_read(u->control_dir, &v, e))
        return -1;
    if (!v.is_imported)
        return import_once(u, &v, e);
    return v.is_exported ? import_again(u, &v, false, NULL, NULL, e) : 0;
}
