/* store/pop3.c - see pop3.h. */
#include "store/pop3.h"

#include "base/mem.h"
#include "store/store_int.h"
#include "store/uidlist.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define LOCK_FILE "postern-pop3.lock"

int
store_pop3_select(struct store_user *u, bool keeps_recent, struct store_view **out, struct err *e)
{
    if (store_select(u, SL("INBOX"), keeps_recent, out, e) != 0)
        return -1;
    (*out)->is_readonly = false; /* looking is over; what is deleted leaves */
    return 0;
}

void
store_pop3_keep_sizes(struct store_view *v)
{
    struct err why = { 0 };

    if (v->n_fresh == 0 || user_lock(v->u, &why))
        return;
    view_save_fresh(v);
    user_unlock(v->u);
}

/* ---- rows ---- */

static struct slice
text_or_none(struct db_stmt *s, int at)
{
    return db_is_null(s, at) ? (struct slice){ NULL, 0 } : db_text(s, at);
}

static int
read_rows(struct store_view *v, uint32_t from_uid, uint32_t to_uid, size_t most,
          void (*fn)(void *, const struct store_pop3_row *), void *arg, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(
            v->u->db,
            "SELECT m.uid, m.crlf, m.size, m.file, f.guid, f.uidl, f.uidl_order FROM messages m"
            " LEFT JOIN foreign_ids f ON f.mailbox = m.mailbox AND f.uid = m.uid"
            " WHERE m.mailbox = ? AND m.uid BETWEEN ? AND ? ORDER BY m.uid LIMIT ?",
            &s, e))
        return -1;
    db_bind_int(s, 1, v->mailbox);
    db_bind_int(s, 2, from_uid);
    db_bind_int(s, 3, to_uid);
    db_bind_int(s, 4, most == 0 ? -1 : (int64_t)most);
    while ((rc = db_step(s, e)) == 1) {
        struct slice file = db_text(s, 3);
        struct store_pop3_row row = {
            .uid = (uint32_t)db_int(s, 0),
            .crlf_octets = db_int(s, 1),
            .file_octets = db_int(s, 2),
            .file = sl_head(file, sl_find_char(file, ':')),
            .guid = text_or_none(s, 4),
            .uidl = text_or_none(s, 5),
            .order = db_is_null(s, 6) ? UINT32_MAX : (uint32_t)db_int(s, 6),
        };

        fn(arg, &row);
    }
    return rc;
}

int
store_pop3_rows(struct store_view *v, uint32_t from_uid, uint32_t to_uid, size_t most,
                void (*fn)(void *arg, const struct store_pop3_row *row), void *arg, struct err *e)
{
    int rc;

    if (user_lock(v->u, e))
        return -1;
    rc = read_rows(v, from_uid, to_uid, most, fn, arg, e);
    user_unlock(v->u);
    return rc;
}

/* ---- UIDLs ---- */

static int
save_uidl(struct store_view *v, const struct store_uidl *x, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(v->u->db,
                   "INSERT INTO foreign_ids (mailbox, uid, uidl)"
                   " SELECT mailbox, uid, ?3 FROM messages WHERE mailbox = ?1 AND uid = ?2"
                   " ON CONFLICT (mailbox, uid) DO UPDATE SET uidl = coalesce(uidl, excluded.uidl)",
                   &s, e))
        return -1;
    db_bind_int(s, 1, v->mailbox);
    db_bind_int(s, 2, x->uid);
    db_bind_text(s, 3, x->uidl);
    return db_run(s, e);
}

int
store_pop3_save_uidls(struct store_view *v, const struct store_uidl *l, size_t n, struct err *e)
{
    int rc = 0;

    if (n == 0)
        return 0;
    if (user_lock(v->u, e))
        return -1;
    if (index_begin(v->u, e)) {
        user_unlock(v->u);
        return -1;
    }
    for (size_t i = 0; rc == 0 && i < n; i++)
        if (l[i].uidl.n > 0 && l[i].uidl.n <= STORE_UIDL_MAX_OCTETS)
            rc = save_uidl(v, &l[i], e);
    if (rc)
        index_rollback(v->u);
    else
        rc = index_commit(v->u, e);
    user_unlock(v->u);
    return rc;
}

/* ---- the lock ---- */

/* flock() goes with whoever held it, however that ended; the file stays. */
int
store_pop3_lock(struct store_user *u, int *fd, struct err *e)
{
    char *path = path_join(u->index_dir, LOCK_FILE, NULL);
    int rc = 1;

    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (*fd < 0) {
        rc = err_sys(e, "cannot open %s", path);
    } else if (flock(*fd, LOCK_EX | LOCK_NB) != 0) {
        rc = errno == EWOULDBLOCK ? 0 : err_sys(e, "cannot lock %s", path);
        close(*fd);
        *fd = -1;
    }
    free(path);
    return rc;
}
