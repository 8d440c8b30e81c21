/* store/message.c - rows of messages, and what they add to the sums of their mailbox. */
#include "store/store_int.h"

#include "base/rand.h"

#include <stdio.h>

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

static void
count_flags(struct mbox *mb, int times, struct store_flags flags)
{
    mb->unseen += flags.sys & STORE_SEEN ? 0 : times;
    mb->deleted += flags.sys & STORE_DELETED ? times : 0;
}

void
mbox_count(struct mbox *mb, int times, const struct msg_brief *m)
{
    mb->messages += times;
    mb->octets += times * m->size;
    mb->crlf_octets += times * (m->crlf > m->size ? m->crlf : m->size);
    mb->recent += m->uid >= mb->recent_from ? times : 0;
    count_flags(mb, times, m->flags);
}

void
mbox_count_flags(struct mbox *mb, struct store_flags was, struct store_flags now)
{
    count_flags(mb, -1, was);
    count_flags(mb, 1, now);
}

int
msg_insert(struct store_user *u, struct mbox *mb, const struct msg_brief *m, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(u->db, "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                   &s, e))
        return -1;
    db_bind_int(s, 1, mb->id);
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
    mbox_count(mb, 1, m);
    return 0;
}

int
msg_update(struct store_user *u, const struct msg_row *m, struct err *e)
{
    struct msg_brief b = {
        .uid = m->uid, .dir = m->dir, .file = m->file, .flags = m->flags, .modseq = m->modseq
    };

    return msg_write(u, m->mailbox, &b, e);
}

int64_t
msg_new_object_id(void)
{
    return (int64_t)(rand_u64() >> 1);
}
