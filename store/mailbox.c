/* store/mailbox.c - rows of mailboxes: found by name when the folder is there, made for new folders, numbers given out. */
#include "store/store_int.h"

#include "base/mem.h"
#include "base/rand.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { UIDS_EXPECTED_MAX = 1000 * 1000 }; /* what a power cut may make of a block */

enum { MBOX_UIDS_LEFT = 16 * 1024 * 1024 }; /* more than ever come between two looks at it */

int
mbox_dir(const struct store_user *u, struct slice normal, struct buf *out, struct err *e)
{
    buf_addz(out, u->root);
    if (!name_is_inbox(normal)) {
        buf_addc(out, '/');
        if (name_to_folder(&u->loc, normal, out, e))
            return -1;
    }
    buf_z(out);
    return 0;
}

char *
mbox_control_dir(const struct store_user *u, const char *dir)
{
    struct slice below = sl_from(sl_z(dir), strlen(u->root));
    struct buf out = { 0 };

    if (below.n == 0 && strcmp(u->control_dir, u->root) != 0) /* Dovecot's place for INBOX */
        below = u->loc.layout == LAYOUT_FS ? SL("/INBOX") : SL("/.INBOX");
    buf_addf(&out, "%s%.*s", u->control_dir, SL_ARG(below));
    buf_z(&out);
    return out.p;
}

/* used_up: (may be NULL) hardly any UIDs are left, which only an old server's list can have brought about. */
static int
row_by_name(struct store_user *u, struct slice normal, int64_t *id, bool *used_up, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(u->db, "SELECT id, uidnext FROM mailboxes WHERE name = ?", &s, e))
        return -1;
    db_bind_text(s, 1, normal);
    rc = db_step(s, e);
    if (rc == 1) {
        *id = db_int(s, 0);
        if (used_up != NULL)
            *used_up = db_int(s, 1) > UINT32_MAX - MBOX_UIDS_LEFT;
        db_reset(s);
    }
    return rc;
}

/* The folder is gone or new, or its UIDs are used up: make the row agree, in a transaction, since another process may be about it too. */
static int
settle_row(struct store_user *u, struct slice normal, const char *dir, int64_t *id, struct err *e)
{
    int rc, is_there;
    bool used_up;

    if (index_begin(u, e))
        return -1;
    is_there = folder_is_there(u, dir, e);
    rc = is_there < 0 ? -1 : row_by_name(u, normal, id, &used_up, e);
    if (rc == 1 && is_there &&
        used_up) /* another UIDVALIDITY, and UIDs from 1 (RFC 3501 §2.3.1.1) */
        rc = mbox_forget(u, *id, e);
    if (rc == 1 && !is_there) {
        rc = mbox_forget(u, *id, e);
    } else if (rc == 0 && is_there) {
        rc = maildir_make(dir, folder_has_mark(u, dir), e);
        if (rc == 0)
            rc = mbox_insert(u, normal, 0, 1, 1, id, e);
        if (rc == 0)
            rc = keywords_import(u, dir, *id, 0, e);
    } else if (rc == 1) {
        rc = 0;
    }
    if (rc) {
        index_rollback(u);
        return -1;
    }
    if (index_commit(u, e))
        return -1;
    return is_there ? 0 : err_set(e, ERR_NOTFOUND, "Mailbox doesn't exist: %.*s", SL_ARG(normal));
}

int
mbox_find(struct store_user *u, struct slice normal, int64_t *id, struct err *e)
{
    struct buf dir = { 0 };
    int rc = -1, is_there;
    bool used_up = false;

    if (mbox_dir(u, normal, &dir, e))
        goto out;
    is_there = folder_is_there(u, buf_z(&dir), e);
    if (is_there < 0)
        goto out;
    rc = row_by_name(u, normal, id, &used_up, e);
    if (rc < 0)
        goto out;
    if (rc == 1 && is_there && !used_up)
        rc = 0;
    else
        rc = settle_row(u, normal, buf_z(&dir), id, e);
out:
    buf_free(&dir);
    return rc;
}

int
mbox_load(struct store_user *u, int64_t id, struct mbox *out, struct err *e)
{
    struct db_stmt *s;
    int rc;

    memset(out, 0, sizeof(*out));
    if (db_prepare(
            u->db,
            "SELECT uidvalidity, uidnext, uid_reserved, recent_from, modseq, "
            "modseq_reserved, floor, new_mtime,"
            " cur_mtime, suspect_ms, scan_ms, scan_cost_ms, special_use, object_id, messages, "
            "unseen, deleted, octets, crlf_octets, recent, ranges, pruned_modseq FROM mailboxes "
            "WHERE id = ?",
            &s, e))
        return -1;
    db_bind_int(s, 1, id);
    rc = db_step(s, e);
    if (rc != 1)
        return rc;
    out->id = id;
    out->uidvalidity = (uint32_t)db_int(s, 0);
    out->uidnext = (uint32_t)db_int(s, 1);
    out->uid_reserved = (uint32_t)db_int(s, 2);
    out->recent_from = (uint32_t)db_int(s, 3);
    out->modseq = (uint64_t)db_int(s, 4);
    out->modseq_reserved = (uint64_t)db_int(s, 5);
    out->floor = (uint64_t)db_int(s, 6);
    out->new_mtime_ns = db_int(s, 7);
    out->cur_mtime_ns = db_int(s, 8);
    out->suspect_ms = db_int(s, 9);
    out->scan_ms = db_int(s, 10);
    out->scan_cost_ms = db_int(s, 11);
    out->use = (unsigned)db_int(s, 12);
    snprintf(out->object_id, sizeof(out->object_id), "%.*s", SL_ARG(db_text(s, 13)));
    out->messages = db_int(s, 14);
    out->unseen = db_int(s, 15);
    out->deleted = db_int(s, 16);
    out->octets = db_int(s, 17);
    out->crlf_octets = db_int(s, 18);
    out->recent = db_int(s, 19);
    out->ranges = db_int(s, 20);
    out->pruned_modseq = (uint64_t)db_int(s, 21);
    out->was_messages = out->messages;
    out->was_octets = out->octets;
    db_reset(s);
    return 1;
}

int
mbox_load_by_name(struct store_user *u, struct slice normal, struct mbox *out, struct err *e)
{
    bool used_up = false;
    int64_t id = 0;
    int rc = row_by_name(u, normal, &id, &used_up, e);

    return rc == 1 && used_up ? 0 : rc == 1 ? mbox_load(u, id, out, e) : rc;
}

int
mbox_load_named(struct store_user *u, int64_t id, struct slice normal, struct mbox *out,
                struct err *e)
{
    int64_t now = 0;
    int rc = row_by_name(u, normal, &now, NULL, e);

    return rc == 1 && now != id ? 0 : rc == 1 ? mbox_load(u, id, out, e) : rc;
}

int
mbox_save(struct store_user *u, const struct mbox *mb, struct err *e)
{
    struct db_stmt *s;

    if (mb->messages != mb->was_messages || mb->octets != mb->was_octets)
        u->charge.is_changed = true;
    if (db_prepare(
            u->db,
            "UPDATE mailboxes SET uidnext = ?, uid_reserved = ?, recent_from = ?, modseq = ?,"
            " modseq_reserved = ?, new_mtime = ?, cur_mtime = ?, suspect_ms = ?, scan_ms = ?, "
            "scan_cost_ms = ?,"
            " special_use = ?, messages = ?, unseen = ?, deleted = ?, octets = ?, crlf_octets = ?, "
            "recent = ?, ranges = ?, pruned_modseq = ? WHERE id = ?",
            &s, e))
        return -1;
    db_bind_int(s, 1, mb->uidnext);
    db_bind_int(s, 2, mb->uid_reserved);
    db_bind_int(s, 3, mb->recent_from);
    db_bind_int(s, 4, (int64_t)mb->modseq);
    db_bind_int(s, 5, (int64_t)mb->modseq_reserved);
    db_bind_int(s, 6, mb->new_mtime_ns);
    db_bind_int(s, 7, mb->cur_mtime_ns);
    db_bind_int(s, 8, mb->suspect_ms);
    db_bind_int(s, 9, mb->scan_ms);
    db_bind_int(s, 10, mb->scan_cost_ms);
    db_bind_int(s, 11, mb->use);
    db_bind_int(s, 12, mb->messages);
    db_bind_int(s, 13, mb->unseen);
    db_bind_int(s, 14, mb->deleted);
    db_bind_int(s, 15, mb->octets);
    db_bind_int(s, 16, mb->crlf_octets);
    db_bind_int(s, 17, mb->recent);
    db_bind_int(s, 18, mb->ranges);
    db_bind_int(s, 19, (int64_t)mb->pruned_modseq);
    db_bind_int(s, 20, mb->id);
    return db_run(s, e);
}

int
mbox_insert(struct store_user *u, struct slice normal, uint32_t uidvalidity, uint32_t uidnext,
            uint64_t modseq, int64_t *id, struct err *e)
{
    struct db_stmt *s;
    struct buf dir = { 0 };
    char object_id[33];
    unsigned use = 0;

    if (mbox_dir(u, normal, &dir, NULL) == 0)
        use = meta_read_use(u, buf_z(&dir));
    buf_free(&dir);
    if (uidvalidity == 0 && uidvalidity_next(u->control_dir, &uidvalidity, e))
        return -1;
    rand_hex(object_id, sizeof(object_id) - 1);
    if (db_prepare(
            u->db,
            "INSERT INTO mailboxes (name, uidvalidity, uidnext, uid_reserved, recent_from, modseq,"
            " modseq_reserved, pruned_modseq, object_id, special_use) VALUES (?1, ?2, ?3, ?3, ?3, "
            "?4, ?4, ?4, ?5, ?6)",
            &s, e))
        return -1;
    db_bind_text(s, 1, normal);
    db_bind_int(s, 2, uidvalidity);
    db_bind_int(s, 3, uidnext);
    db_bind_int(s, 4, (int64_t)modseq);
    db_bind_text(s, 5, sl_z(object_id));
    db_bind_int(s, 6, use);
    if (db_run(s, e))
        return -1;
    *id = db_last_id(u->db);
    u->must_sync = true;
    return 0;
}

int
mbox_forget(struct store_user *u, int64_t id, struct err *e)
{
    static const char *const tables[] = {
        "DELETE FROM mailboxes WHERE id = ?",       "DELETE FROM messages WHERE mailbox = ?",
        "DELETE FROM cache WHERE mailbox = ?",      "DELETE FROM cache_headers WHERE mailbox = ?",
        "DELETE FROM cache_sort WHERE mailbox = ?", "DELETE FROM foreign_ids WHERE mailbox = ?",
        "DELETE FROM snapshots WHERE mailbox = ?",  "DELETE FROM keywords WHERE mailbox = ?",
        "DELETE FROM expunges WHERE mailbox = ?",   "DELETE FROM pending WHERE mailbox = ?",
    };

    for (size_t i = 0; i < COUNT_OF(tables); i++) {
        struct db_stmt *s;

        if (db_prepare(u->db, tables[i], &s, e))
            return -1;
        db_bind_int(s, 1, id);
        if (db_run(s, e))
            return -1;
    }
    u->charge.is_changed = true;
    u->must_sync = true;
    return 0;
}

/* A number beyond its reserve takes the next block; index_commit() has that on disk before anybody is told. */
uint64_t
mbox_change(struct store_user *u, struct mbox *mb)
{
    if (mb->change != 0)
        return mb->change;
    mb->change = ++mb->modseq;
    if (mb->modseq > mb->modseq_reserved) {
        mb->modseq_reserved = mb->modseq + INDEX_MODSEQ_BLOCK;
        u->must_sync = true;
    }
    return mb->change;
}

void
mbox_expect_uids(struct store_user *u, struct mbox *mb, size_t n)
{
    if (n > INDEX_UID_BLOCK && n < UIDS_EXPECTED_MAX && mb->uidnext + n > mb->uid_reserved) {
        mb->uid_reserved = mb->uidnext + (uint32_t)n + INDEX_UID_BLOCK;
        u->must_sync = true;
    }
}

uint32_t
mbox_next_uid(struct store_user *u, struct mbox *mb)
{
    uint32_t uid = mb->uidnext++;

    if (mb->uidnext > mb->uid_reserved) {
        mb->uid_reserved = mb->uidnext + INDEX_UID_BLOCK;
        u->must_sync = true;
    }
    return uid;
}

int
mbox_set_recent(struct store_user *u, struct mbox *mb, uint32_t from, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(u->db, "SELECT count(*) FROM messages WHERE mailbox = ? AND uid >= ?", &s, e))
        return -1;
    db_bind_int(s, 1, mb->id);
    db_bind_int(s, 2, from);
    rc = db_step(s, e);
    if (rc < 1)
        return rc < 0 ? -1 : err_set(e, ERR_BUG, "no count");
    mb->recent = db_int(s, 0);
    mb->recent_from = from;
    db_reset(s);
    return 0;
}

struct own_change
mbox_own_begin(const struct mbox *mb, const char *dir)
{
    return (struct own_change){ mb->cur_mtime_ns != 0 &&
                                dir_mtime_ns(dir, "cur") == mb->cur_mtime_ns };
}

/* The folder was as the index knows it when we began, so what changed it since was us - unless a foreign program came
 * in between, or comes within the same tick of the file system's clock: hence suspect, and a scan later. */
void
mbox_own_end(struct mbox *mb, const char *dir, struct own_change own)
{
    if (!own.was_known) {
        mb->cur_mtime_ns = 0;
        return;
    }
    mb->cur_mtime_ns = dir_mtime_ns(dir, "cur");
    if (mb->suspect_ms == 0)
        mb->suspect_ms = now_realtime_ns() / 1000000;
}
