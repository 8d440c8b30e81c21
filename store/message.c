/* store/message.c - rows of messages, and the rename that gives a file other flags. */
#include "store/store_int.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int
msg_load(struct store_user *u, int64_t mailbox, uint32_t uid, struct msg_row *out, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(u->db,
                   "SELECT dir, file, flags, kw, modseq, size, crlf, date, tz, savedate, email, "
                   "thread FROM messages"
                   " WHERE mailbox = ? AND uid = ?",
                   &s, e))
        return -1;
    db_bind_int(s, 1, mailbox);
    db_bind_int(s, 2, uid);
    rc = db_step(s, e);
    if (rc != 1)
        return rc;
    memset(out, 0, sizeof(*out));
    out->mailbox = mailbox;
    out->uid = uid;
    out->dir = (int)db_int(s, 0);
    snprintf(out->file, sizeof(out->file), "%.*s", SL_ARG(db_text(s, 1)));
    out->flags.sys = (uint32_t)db_int(s, 2);
    out->flags.kw = (uint64_t)db_int(s, 3);
    out->modseq = (uint64_t)db_int(s, 4);
    out->size = db_int(s, 5);
    out->crlf = db_int(s, 6);
    out->date_s = db_int(s, 7);
    out->tz_minutes = (int)db_int(s, 8);
    out->savedate_s = db_int(s, 9);
    out->email = db_int(s, 10);
    out->thread = db_int(s, 11);
    db_reset(s);
    return 1;
}

/* What a message adds to the sums of its mailbox; times -1: takes away. */
static void
count(struct mbox *mb, int times, struct store_flags flags, int64_t size, int64_t crlf)
{
    mb->messages += times;
    mb->unseen += flags.sys & STORE_SEEN ? 0 : times;
    mb->deleted += flags.sys & STORE_DELETED ? times : 0;
    mb->octets += times * size;
    mb->crlf_octets += times * (crlf > size ? crlf : size);
}

void
mbox_count_flags(struct mbox *mb, struct store_flags was, struct store_flags now)
{
    count(mb, -1, was, 0, 0);
    count(mb, 1, now, 0, 0);
}

int
msg_insert(struct store_user *u, struct mbox *mb, const struct msg_row *m, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(u->db, "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                   &s, e))
        return -1;
    db_bind_int(s, 1, m->mailbox);
    db_bind_int(s, 2, m->uid);
    db_bind_int(s, 3, m->dir);
    db_bind_text(s, 4, sl_z(m->file));
    db_bind_int(s, 5, m->flags.sys);
    db_bind_int(s, 6, (int64_t)m->flags.kw);
    db_bind_int(s, 7, (int64_t)m->modseq);
    db_bind_int(s, 8, m->size);
    db_bind_int(s, 9, m->crlf);
    db_bind_int(s, 10, m->date_s);
    db_bind_int(s, 11, m->tz_minutes);
    db_bind_int(s, 12, m->savedate_s);
    db_bind_int(s, 13, m->email);
    db_bind_int(s, 14, m->thread);
    if (db_run(s, e))
        return -1;
    count(mb, 1, m->flags, m->size, m->crlf);
    mb->recent += m->uid >= mb->recent_from;
    return 0;
}

int
msg_update(struct store_user *u, const struct msg_row *m, struct err *e)
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
    db_bind_int(s, 6, m->mailbox);
    db_bind_int(s, 7, m->uid);
    return db_run(s, e);
}

static int
delete_row(struct store_user *u, const char *sql, int64_t mailbox, uint32_t uid, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(u->db, sql, &s, e))
        return -1;
    db_bind_int(s, 1, mailbox);
    db_bind_int(s, 2, uid);
    return db_run(s, e);
}

int
msg_expunge(struct store_user *u, struct mbox *mb, uint32_t uid, struct err *e)
{
    static const char *const tables[] = {
        "DELETE FROM messages WHERE mailbox = ? AND uid = ?",
        "DELETE FROM cache WHERE mailbox = ? AND uid = ?",
        "DELETE FROM cache_headers WHERE mailbox = ? AND uid = ?",
        "DELETE FROM cache_sort WHERE mailbox = ? AND uid = ?",
        "DELETE FROM foreign_ids WHERE mailbox = ? AND uid = ?",
    };
    struct msg_row m;
    int rc = msg_load(u, mb->id, uid, &m, e);

    if (rc < 1) /* 0: another process was quicker, and logged it */
        return rc;
    for (size_t i = 0; i < COUNT_OF(tables); i++)
        if (delete_row(u, tables[i], mb->id, uid, e))
            return -1;
    count(mb, -1, m.flags, m.size, m.crlf);
    mb->recent -= uid >= mb->recent_from;
    return expunges_add(u, mb, uid, e);
}

int64_t
msg_new_object_id(void)
{
    return (int64_t)(rand_u64() >> 1);
}

int
msg_rename(struct msg_row *m, const char *dir, struct store_flags flags, struct err *e)
{
    char other[8], file[MAILDIR_NAME_MAX], *from, *to;
    struct maildir_name name;
    int rc = 1;

    maildir_parse(m->file, &name);
    if (!maildir_compose(file, name.base, flags.sys,
                         (uint32_t)(flags.kw & ((1u << MAILDIR_KEYWORD_LETTERS) - 1)),
                         maildir_other_letters(name.info, other))) {
        m->flags = flags; /* a foreign name with no room for letters: the index alone knows */
        return 1;
    }
    if (m->dir == MAILDIR_CUR && strcmp(file, m->file) == 0) {
        m->flags = flags; /* keywords beyond the letters */
        return 1;
    }
    from = path_join(dir, m->dir == MAILDIR_NEW ? "new" : "cur", m->file);
    to = path_join(dir, "cur", file);
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE)) {
        /* EEXIST: a second file of the same base name; the scan gives one of them another. */
        if (errno == ENOENT || errno == EEXIST)
            rc = 0;
        else if (errno == EINVAL && rename(from, to) == 0) /* a file system without NOREPLACE */
            rc = 1;
        else
            rc = errno == ENOENT ? 0 : err_sys(e, "cannot rename %s", from);
    }
    if (rc == 1) {
        memcpy(m->file, file, sizeof(file));
        m->dir = MAILDIR_CUR;
        m->flags = flags;
    }
    free(from);
    free(to);
    return rc;
}
