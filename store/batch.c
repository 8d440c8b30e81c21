/* store/batch.c - what is done to many messages at once: rows read by ranges, files reached from an open folder by their
 * names alone, rows that go or are copied by runs of UIDs. */
#include "store/store_int.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BATCH_GAP_MAX = 16 }; /* rows read for nothing cost less than another search for a place */

/* ---- rows ---- */

static void
take_row(struct msg_batch *out, struct db_stmt *s)
{
    struct msg_brief *m;

    out->v = mem_grow(out->v, &out->cap, out->n + 1, sizeof(out->v[0]));
    m = &out->v[out->n++];
    *m = (struct msg_brief){
        .uid = (uint32_t)db_int(s, 0),
        .dir = (int)db_int(s, 1),
        .file = arena_dupz(&out->mem, db_text(s, 2)),
        .flags = { .sys = (uint32_t)db_int(s, 3), .kw = (uint64_t)db_int(s, 4) },
        .modseq = (uint64_t)db_int(s, 5),
        .size = db_int(s, 6),
        .crlf = db_int(s, 7),
        .date_s = db_int(s, 8),
        .tz_minutes = (int)db_int(s, 9),
        .savedate_s = db_int(s, 10),
        .email = db_int(s, 11),
        .thread = db_int(s, 12),
    };
}

/* One search for UIDs that lie close together; *n of them are done. */
static int
load_near(struct store_user *u, int64_t mailbox, const uint32_t *uids, size_t *n,
          struct msg_batch *out, struct err *e)
{
    size_t near = 1, at = 0;
    struct db_stmt *s;
    int rc;

    while (near < *n && uids[near] - uids[near - 1] <= BATCH_GAP_MAX)
        near++;
    *n = near;
    if (db_prepare(u->db,
                   "SELECT uid, dir, file, flags, kw, modseq, size, crlf, date, tz, savedate, "
                   "email, thread FROM messages WHERE mailbox = ? AND uid BETWEEN ? AND ?",
                   &s, e))
        return -1;
    db_bind_int(s, 1, mailbox);
    db_bind_int(s, 2, uids[0]);
    db_bind_int(s, 3, uids[near - 1]);
    while ((rc = db_step(s, e)) == 1) {
        uint32_t uid = (uint32_t)db_int(s, 0);

        while (at < near && uids[at] < uid)
            at++;
        if (at < near && uids[at] == uid)
            take_row(out, s);
    }
    return rc;
}

int
msg_batch_load(struct store_user *u, int64_t mailbox, const uint32_t *uids, size_t n,
               struct msg_batch *out, struct err *e)
{
    while (n > 0) {
        size_t took = n;

        if (load_near(u, mailbox, uids, &took, out, e))
            return -1;
        uids += took;
        n -= took;
    }
    return 0;
}

void
msg_batch_reset(struct msg_batch *b)
{
    arena_reset(&b->mem);
    b->n = 0;
}

void
msg_batch_free(struct msg_batch *b)
{
    arena_free(&b->mem);
    free(b->v);
    memset(b, 0, sizeof(*b));
}

int
msg_write(struct store_user *u, int64_t mailbox, const struct msg_brief *m, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(u->db,
                   "UPDATE messages SET dir = ?, file = ?, flags = ?, kw = ?, modseq = ? WHERE "
                   "mailbox = ? AND uid = ?",
                   &s, e))
        return -1;
    db_bind_int(s, 1, m->dir);
    db_bind_text(s, 2, sl_z(m->file));
    db_bind_int(s, 3, m->flags.sys);
    db_bind_int(s, 4, (int64_t)m->flags.kw);
    db_bind_int(s, 5, (int64_t)m->modseq);
    db_bind_int(s, 6, mailbox);
    db_bind_int(s, 7, m->uid);
    return db_run(s, e);
}

/* ---- runs ---- */

static int
delete_run(struct store_user *u, const char *sql, int64_t mailbox, uint32_t first, uint32_t last,
           struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(u->db, sql, &s, e))
        return -1;
    db_bind_int(s, 1, mailbox);
    db_bind_int(s, 2, first);
    db_bind_int(s, 3, last);
    return db_run(s, e);
}

static int
expunge_run(struct store_user *u, struct mbox *mb, uint32_t first, uint32_t last, struct err *e)
{
    static const char *const tables[] = {
        "DELETE FROM messages WHERE mailbox = ? AND uid BETWEEN ? AND ?",
        "DELETE FROM cache WHERE mailbox = ? AND uid BETWEEN ? AND ?",
        "DELETE FROM cache_headers WHERE mailbox = ? AND uid BETWEEN ? AND ?",
        "DELETE FROM cache_sort WHERE mailbox = ? AND uid BETWEEN ? AND ?",
        "DELETE FROM foreign_ids WHERE mailbox = ? AND uid BETWEEN ? AND ?",
    };

    for (size_t i = 0; i < COUNT_OF(tables); i++)
        if (delete_run(u, tables[i], mb->id, first, last, e))
            return -1;
    return expunges_add(u, mb, first, last, e);
}

int
msg_expunge_batch(struct store_user *u, struct mbox *mb, const struct msg_brief *v, size_t n,
                  struct err *e)
{
    for (size_t i = 0, next; i < n; i = next) {
        for (next = i; next < n && v[next].uid - v[i].uid == next - i; next++)
            mbox_count(mb, -1, &v[next]);
        if (expunge_run(u, mb, v[i].uid, v[next - 1].uid, e))
            return -1;
    }
    return 0;
}

int
msg_expunge(struct store_user *u, struct mbox *mb, uint32_t uid, struct err *e)
{
    struct msg_batch b = { 0 };
    int rc = msg_batch_load(u, mb->id, &uid, 1, &b, e);

    if (rc == 0) /* without a row another process was quicker, and logged it */
        rc = msg_expunge_batch(u, mb, b.v, b.n, e);
    msg_batch_free(&b);
    return rc;
}

/* ---- files ---- */

static int
open_part(const char *dir, const char *part, int *fd, struct err *e)
{
    char *path = path_join(dir, part, NULL);
    int rc = 0;

    *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0)
        rc = err_sys(e, "cannot open folder %s", path);
    free(path);
    return rc;
}

int
parts_open(struct parts *p, const char *dir, struct err *e)
{
    p->fd[MAILDIR_NEW] = p->fd[MAILDIR_CUR] = -1;
    if (open_part(dir, "new", &p->fd[MAILDIR_NEW], e) == 0 &&
        open_part(dir, "cur", &p->fd[MAILDIR_CUR], e) == 0)
        return 0;
    parts_close(p);
    return -1;
}

void
parts_close(struct parts *p)
{
    for (int i = 0; i < 2; i++) {
        if (p->fd[i] >= 0)
            close(p->fd[i]);
        p->fd[i] = -1;
    }
}

/* The name a file gets with other flags; without room for letters what it was. */
static void
msg_name(const struct msg_brief *m, struct store_flags flags, char out[MAILDIR_NAME_MAX])
{
    struct maildir_name name;
    char other[8];

    maildir_parse(m->file, &name);
    if (maildir_compose(out, name.base, flags.sys,
                        (uint32_t)(flags.kw & ((1u << MAILDIR_KEYWORD_LETTERS) - 1)),
                        maildir_other_letters(name.info, other)))
        return;
    snprintf(out, MAILDIR_NAME_MAX, "%s", m->file);
}

/* Never over another file: a second one of the same base name is a message, too. */
static int
rename_no_replace(const struct parts *p, int dir, const char *from, const char *to)
{
    if (renameat2(p->fd[dir], from, p->fd[MAILDIR_CUR], to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL) /* a file system without NOREPLACE */
        return -1;
    if (faccessat(p->fd[MAILDIR_CUR], to, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        errno = EEXIST;
        return -1;
    }
    return renameat(p->fd[dir], from, p->fd[MAILDIR_CUR], to);
}

int
msg_rename(struct msg_brief *m, const struct parts *p, struct arena *mem, struct store_flags flags,
           struct err *e)
{
    char file[MAILDIR_NAME_MAX];

    msg_name(m, flags, file);
    if (m->dir != MAILDIR_CUR || strcmp(file, m->file) != 0) {
        if (rename_no_replace(p, m->dir, m->file, file))
            /* EEXIST: the scan gives one of the two another name. */
            return errno == ENOENT || errno == EEXIST ? 0 : err_sys(e, "cannot rename %s", m->file);
        m->file = arena_dupz(mem, sl_z(file));
        m->dir = MAILDIR_CUR;
    }
    m->flags = flags; /* keywords beyond the letters are in no name */
    return 1;
}
