/* store/export.c - leaving for a Dovecot: its files of every mailbox, so that it opens the same mail under the same UIDs.
 *
 * A mailbox is one transaction, in which nobody assigns UIDs. Dovecot's own indexes (dovecot.index*) are removed: it makes
 * them again from the Maildir, while one that it left behind may hold rows of messages under UIDs that have left since, or
 * none for UIDs that it believes to have expunged, which it would then assign anew. Mail is never touched. */
#include "store/maintain.h"
#include "store/store_int.h"
#include "store/uidlist.h"

#include "base/fs.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE_OCTETS = 64 * 1024, PROGRESS_EVERY = 1000 };

struct job {
    struct store_user *u;
    const char *to; /* the control root that is written */
    bool is_copy;   /* it is not the user's own */
    const struct store_teller *t;
    struct store_exported *sum;
    uint64_t all; /* messages, for progress */
};

__attribute__((format(printf, 3, 4))) static void
note(const struct job *j, struct slice mailbox, const char *fmt, ...)
{
    char text[300];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (j->t != NULL && j->t->note != NULL)
        j->t->note(j->t->arg, mailbox, text);
}

/* ---- one file ---- */

/* A new file beside the old one; what stands there keeps its mode, which may be a group's. */
struct draft {
    char *path, *tmp;
    int fd;
    struct buf text;
};

static int
draft_open(struct draft *d, const char *dir, const char *name, struct err *e)
{
    struct buf tmp = { 0 };
    struct stat st;
    mode_t mode = 0600;

    memset(d, 0, sizeof(*d));
    d->path = path_join(dir, name, NULL);
    if (lstat(d->path, &st) == 0 && S_ISREG(st.st_mode))
        mode = st.st_mode & 0666;
    buf_addf(&tmp, "%s.postern", d->path); /* one that was left by an export that was killed goes */
    buf_z(&tmp);
    d->tmp = tmp.p;
    d->fd = open(d->tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    if (d->fd < 0)
        return err_sys(e, "cannot write %s", d->tmp);
    return fchmod(d->fd, mode) ? err_sys(e, "cannot write %s", d->tmp) : 0;
}

static int
draft_flush(struct draft *d, size_t from_octets, struct err *e)
{
    int rc = 0;

    if (d->text.n >= from_octets && d->text.n > 0) {
        rc = fs_write_all(d->fd, buf_slice(&d->text), e);
        buf_reset(&d->text);
    }
    return rc;
}

/* rc: how it went so far. */
static int
draft_close(struct draft *d, int rc, struct stat *st, struct err *e)
{
    if (rc == 0)
        rc = draft_flush(d, 0, e);
    if (rc == 0)
        rc = fs_sync_fd(d->fd, e);
    if (rc == 0 && rename(d->tmp, d->path))
        rc = err_sys(e, "cannot write %s", d->path);
    if (rc == 0 && st != NULL && fstat(d->fd, st))
        rc = err_sys(e, "cannot look at %s", d->path);
    if (d->fd >= 0)
        close(d->fd);
    if (rc && d->tmp != NULL)
        unlink(d->tmp);
    free(d->path);
    free(d->tmp);
    buf_free(&d->text);
    return rc;
}

/* ---- a mailbox ---- */

static int
guid_of(struct store_user *u, const struct mbox *mb, char out[33], struct err *e)
{
    struct db_stmt *s;
    int rc;

    snprintf(out, 33, "%.32s",
             mb->object_id); /* 128 bits as hexadecimal digits, as Dovecot's are */
    if (db_prepare(u->db, "SELECT guid FROM mailboxes WHERE id = ? AND guid <> ''", &s, e))
        return -1;
    db_bind_int(s, 1, mb->id);
    rc = db_step(s, e);
    if (rc == 1) {
        snprintf(out, 33, "%.*s", SL_ARG(sl_head(db_text(s, 0), 32)));
        db_reset(s);
    }
    return rc < 0 ? -1 : 0;
}

/* What the file's name does not say. */
static void
add_message(struct draft *d, struct db_stmt *s)
{
    struct buf guid = { 0 }, uidl = { 0 };
    struct slice file = db_text(s, 1);
    struct uidlist_extra x = {
        .uid = (uint32_t)db_int(s, 0),
        .order = db_is_null(s, 6) ? UINT32_MAX : (uint32_t)db_int(s, 6),
        .size = sl_find(file, SL(",S=")) == SL_NPOS ? db_int(s, 2) : -1,
        .crlf = sl_find(file, SL(",W=")) == SL_NPOS ? db_int(s, 3) : -1,
    };

    if (!db_is_null(s, 4)) {
        buf_adds(&guid, db_text(s, 4));
        x.guid = buf_z(&guid);
    }
    if (!db_is_null(s, 5)) {
        buf_adds(&uidl, db_text(s, 5));
        x.uidl = buf_z(&uidl);
    }
    uidlist_add_line(&d->text, file, &x);
    buf_free(&guid);
    buf_free(&uidl);
}

static int
write_messages(struct job *j, const struct mbox *mb, struct draft *d, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(j->u->db,
                   "SELECT m.uid, m.file, m.size, m.crlf, f.guid, f.uidl, f.uidl_order"
                   " FROM messages m LEFT JOIN foreign_ids f ON f.mailbox = m.mailbox AND"
                   " f.uid = m.uid WHERE m.mailbox = ? ORDER BY m.uid",
                   &s, e))
        return -1;
    db_bind_int(s, 1, mb->id);
    while ((rc = db_step(s, e)) == 1) {
        add_message(d, s);
        if (draft_flush(d, PIECE_OCTETS, e)) {
            db_reset(s);
            return -1;
        }
        j->sum->messages++;
        if (j->sum->messages % PROGRESS_EVERY == 0 && j->t != NULL && j->t->progress != NULL)
            j->t->progress(j->t->arg, j->sum->messages, j->all);
    }
    return rc;
}

static int
write_uidlist(struct job *j, const struct mbox *mb, const char *dir, struct stat *st, struct err *e)
{
    struct draft d;
    char guid[33];
    int rc;

    if (guid_of(j->u, mb, guid, e))
        return -1;
    rc = draft_open(&d, dir, UIDLIST_FILE, e);
    if (rc == 0) {
        buf_addf(&d.text, "3 V%u N%u G%s\n", mb->uidvalidity, mb->uidnext, guid);
        rc = write_messages(j, mb, &d, e);
    }
    return draft_close(&d, rc, st, e);
}

static int
write_text(const char *dir, const char *name, struct slice text, struct err *e)
{
    struct draft d;
    int rc = draft_open(&d, dir, name, e);

    if (rc == 0)
        buf_adds(&d.text, text);
    return draft_close(&d, rc, NULL, e);
}

/* The letters' meaning; keywords beyond them are in the index alone, and Dovecot's would be in its own. */
static int
write_keywords(struct job *j, struct slice name, const struct mbox *mb, const char *dir,
               struct err *e)
{
    const uint64_t letters = (UINT64_C(1) << MAILDIR_KEYWORD_LETTERS) - 1;
    struct keywords k;
    struct buf text = { 0 };
    struct db_stmt *s;
    int rc;

    if (keywords_load(j->u, mb->id, &k, e))
        return -1;
    for (size_t i = 0; i < k.n && i < MAILDIR_KEYWORD_LETTERS; i++)
        buf_addf(&text, "%zu %s\n", i, k.name[i]);
    rc = k.n > 0 ? write_text(dir, "dovecot-keywords", buf_slice(&text), e) : 0;
    buf_free(&text);
    if (rc == 0 && k.n > MAILDIR_KEYWORD_LETTERS) {
        rc = db_prepare(
            j->u->db, "SELECT count(*) FROM messages WHERE mailbox = ?1 AND kw & ~?2 <> 0", &s, e);
        if (rc == 0) {
            db_bind_int(s, 1, mb->id);
            db_bind_int(s, 2, (int64_t)letters);
            rc = db_step(s, e);
        }
        if (rc == 1) {
            int64_t n = db_int(s, 0);

            db_reset(s);
            j->sum->lost_keywords += k.n - MAILDIR_KEYWORD_LETTERS;
            note(j, name,
                 "%zu keywords beyond the 26 that a Maildir can hold stay behind (on %lld "
                 "messages), the first of them %s",
                 k.n - MAILDIR_KEYWORD_LETTERS, (long long)n, k.name[MAILDIR_KEYWORD_LETTERS]);
            rc = 0;
        }
    }
    keywords_free(&k);
    return rc;
}

/* What Dovecot makes again by itself: dovecot.index, .log, .log.2, .cache, .thread; dovecot.list.index and its log. */
static void
remove_indexes(struct job *j, const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *ent;

    while (d != NULL && (ent = readdir(d)) != NULL) {
        struct slice name = sl_z(ent->d_name);

        if (sl_eqz(name, "dovecot.index") || sl_has_prefix(name, SL("dovecot.index.")) ||
            sl_eqz(name, "dovecot.list.index") || sl_has_prefix(name, SL("dovecot.list.index.")))
            j->sum->indexes += unlinkat(dirfd(d), ent->d_name, 0) == 0;
    }
    if (d != NULL)
        closedir(d);
}

/* Where a folder's files of one sort lie when the root of that sort is `root`. */
static char *
control_place(const struct store_user *u, const char *root, const char *dir)
{
    struct store_user as = *u;

    as.control_dir = root;
    return mbox_control_dir(&as, dir);
}

static int
write_all(struct job *j, struct slice name, const char *dir, struct mbox *mb, struct err *e)
{
    char *to = control_place(j->u, j->to, dir), *index = control_place(j->u, j->u->index_dir, dir);
    struct exported now = { .uidvalidity = mb->uidvalidity, .uidnext = mb->uidnext };
    struct stat st;
    int rc = fs_mkdirs(to, 0700, e);

    if (rc == 0)
        rc = write_keywords(j, name, mb, to, e);
    if (rc == 0)
        rc = write_uidlist(j, mb, to, &st, e);
    if (rc == 0)
        rc = fs_sync_dir(to, e);
    if (rc == 0 && !j->is_copy) {
        remove_indexes(j, index);
        exported_of_file(&now, &st);
        rc = exported_save(j->u, mb->id, &now, e);
    }
    free(index);
    free(to);
    return rc;
}

static int
export_folder(struct job *j, struct slice name, struct err *e)
{
    struct store_user *u = j->u;
    struct buf dir = { 0 };
    struct mbox mb;
    int64_t id;
    int rc = mbox_dir(u, name, &dir, e);

    if (rc == 0)
        rc = mbox_find(u, name, &id, e);
    if (rc || index_begin(u, e))
        goto out;
    rc = mbox_load(u, id, &mb, e) == 1 ? 0
                                       : err_set(e, ERR_TEMP, "mailbox %.*s is gone", SL_ARG(name));
    if (rc == 0)
        rc = mbox_scan_in_tx(u, buf_z(&dir), &mb, false, true, NULL, e);
    if (rc == 0)
        rc = mbox_save(u, &mb, e);
    if (rc == 0)
        rc = write_all(j, name, buf_z(&dir), &mb, e);
    if (rc) {
        index_rollback(u);
    } else {
        j->sum->mailboxes++;
        rc = index_commit(u, e);
    }
out:
    buf_free(&dir);
    return rc;
}

/* ---- the root ---- */

static int
write_uidvalidity(struct job *j, uint32_t highest, struct err *e)
{
    struct buf name = { 0 }, path = { 0 };
    char text[9];
    DIR *d = opendir(j->to);
    struct dirent *ent;
    int fd, rc;

    snprintf(text, sizeof(text), "%08x", highest);
    buf_addf(&name, "dovecot-uidvalidity.%s", text);
    buf_addf(&path, "%s/%s", j->to, buf_z(&name));
    while (d != NULL && (ent = readdir(d)) != NULL)
        if (sl_has_prefix(sl_z(ent->d_name), SL("dovecot-uidvalidity.")) &&
            strcmp(ent->d_name, buf_z(&name)) != 0)
            unlinkat(dirfd(d), ent->d_name, 0);
    if (d != NULL)
        closedir(d);
    fd = open(buf_z(&path), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0444);
    rc = fd < 0 && errno != EACCES ? err_sys(e, "cannot write %s", buf_z(&path)) : 0;
    if (fd >= 0)
        close(fd);
    if (rc == 0)
        rc = write_text(j->to, "dovecot-uidvalidity", sl_z(text), e);
    buf_free(&name);
    buf_free(&path);
    return rc;
}

/* In its own place it is Dovecot's file already. */
static int
copy_subscriptions(struct job *j, struct err *e)
{
    struct names all;
    struct location as = j->u->loc;
    int rc;

    if (!j->is_copy)
        return 0;
    if (subscriptions_read(&j->u->loc, &all, e))
        return -1;
    as.control = (char *)(uintptr_t)j->to;
    rc = all.n > 0 ? subscriptions_change(&as, &all, true, e) : 0;
    names_free(&all);
    return rc;
}

static int
count_messages(struct job *j, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(j->u->db, "SELECT coalesce(sum(messages), 0) FROM mailboxes", &s, e))
        return -1;
    rc = db_step(s, e);
    if (rc == 1) {
        j->all = (uint64_t)db_int(s, 0);
        db_reset(s);
    }
    return rc < 0 ? -1 : 0;
}

static int
export_all(struct job *j, struct err *e)
{
    struct uidvalidity v;
    struct names folders;
    int rc;

    if (record_recover(j->u, e) || count_messages(j, e) ||
        uidvalidity_read(j->u->control_dir, &v, e))
        return -1;
    if (!j->is_copy) { /* first: from here on a Dovecot may come */
        if (uidvalidity_mark(j->u, v.highest, true, e))
            return -1;
        remove_indexes(j, j->u->index_dir);
    }
    if (folders_read(&j->u->loc, &folders, e))
        return -1;
    rc = export_folder(j, SL("INBOX"), e);
    for (size_t i = 0; rc == 0 && i < folders.n; i++) {
        rc = export_folder(j, sl_z(folders.v[i]), e);
        if (rc && e->kind == ERR_NOTFOUND) /* deleted meanwhile */
            rc = 0;
    }
    names_free(&folders);
    /* Making rows may have given UIDVALIDITYs. */
    if (rc == 0)
        rc = uidvalidity_read(j->u->control_dir, &v, e);
    if (rc == 0)
        rc = write_uidvalidity(j, v.highest, e);
    if (rc == 0)
        rc = copy_subscriptions(j, e);
    if (rc == 0)
        rc = fs_sync_dir(j->to, e);
    return rc == 0 ? index_sync(j->u, e) : rc;
}

int
store_export_dovecot(struct store_user *u, const char *to, const struct store_teller *t,
                     struct store_exported *out, struct err *e)
{
    struct job j = {
        .u = u, .to = to == NULL ? u->control_dir : to, .is_copy = to != NULL, .t = t, .sum = out
    };
    int rc;

    memset(out, 0, sizeof(*out));
    if (to != NULL && fs_mkdirs(to, 0700, e))
        return -1;
    rc = user_lock(u, e);
    if (rc == 0) {
        rc = export_all(&j, e);
        user_unlock(u);
    }
    if (rc == 0)
        log_info("store.export", LOG_F(LF_Z("user", u->name), LF_N("messages", out->messages)),
                 "user %s: %llu messages in %llu mailboxes exported for Dovecot", u->name,
                 (unsigned long long)out->messages, (unsigned long long)out->mailboxes);
    return rc;
}
