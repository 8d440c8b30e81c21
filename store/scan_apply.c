/* store/scan_apply.c - what a scan found, into the index: rows whose files got other names or are gone, files that are
 * new, new/ to cur/. See scan.c for what may have happened since it was read. */
#include "store/scan_int.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- transactions ---- */

/* Base names of rows that others made since the rows were read. */
static int
load_since(struct scan *c, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (c->mb->modseq == c->known)
        return 0;
    if (db_prepare(c->u->db,
                   "SELECT file FROM messages INDEXED BY messages_modseq WHERE mailbox = ? AND "
                   "modseq > ?",
                   &s, e))
        return -1;
    db_bind_int(s, 1, c->mb->id);
    db_bind_int(s, 2, (int64_t)c->known);
    while ((rc = db_step(s, e)) == 1) {
        struct slice file = db_text(s, 0);

        if (c->since == NULL)
            c->since = map_new();
        map_set(c->since, sl_head(file, sl_find_char(file, ':')), c);
    }
    return rc;
}

static int
tx_load(struct scan *c, struct err *e)
{
    uint32_t uidvalidity = c->mb->uidvalidity;
    int rc = mbox_load_named(c->u, c->mb->id, c->normal, c->mb, e);

    if (rc == 1 && c->mb->uidvalidity != uidvalidity)
        rc = 0; /* the index was made anew while we had no lock: this is another mailbox */
    if (rc == 0)
        err_set(e, ERR_NOTFOUND, "Mailbox doesn't exist: %.*s", SL_ARG(c->normal));
    return rc == 1 ? 0 : -1;
}

int
scan_tx_begin(struct scan *c, struct err *e)
{
    map_free(&c->pending, NULL);
    if (!c->in_tx && index_begin(c->u, e))
        return -1;
    if ((c->in_tx || tx_load(c, e) == 0) && load_since(c, e) == 0 &&
        record_names(c->u, c->mb->id, &c->pending, e) == 0 &&
        (c->parts.fd[0] >= 0 || parts_open(&c->parts, c->dir, e) == 0)) {
        for (int i = 0; i < 2; i++)
            c->was_same[i] = dir_mtime_ns(c->dir, scan_part(i)) == c->mtime_ns[i];
        c->own = mbox_own_begin(c->mb, c->dir);
        c->is_moved = false;
        if (!c->in_tx || !c->is_noted)
            quota_scan_tx(c->u, c->mb->id, c->mb->uidnext);
        c->is_noted = true;
        return 0;
    }
    if (!c->in_tx)
        index_rollback(c->u);
    return -1;
}

int
scan_tx_end(struct scan *c, int rc, struct err *e)
{
    if (c->is_moved) { /* folders that were as we know them but for us */
        c->did_move = true;
        for (int i = 0; i < 2; i++)
            if (c->was_same[i])
                c->mtime_ns[i] = dir_mtime_ns(c->dir, scan_part(i));
        if (!c->is_full)
            mbox_own_end(c->mb, c->dir, c->own);
    }
    c->known = c->mb->modseq;
    if (c->in_tx)
        return rc;
    if (rc == 0)
        rc = mbox_save(c->u, c->mb, e);
    if (rc)
        index_rollback(c->u);
    else
        rc = index_commit(c->u, e);
    return rc ? -1 : user_turn(c->u, e);
}

/* ---- rows ---- */

/* The file has another name: other flags, another place. */
static int
update_row(struct scan *c, const struct scan_row *r, struct msg_brief *m, struct err *e)
{
    const uint64_t mask = (UINT64_C(1) << MAILDIR_KEYWORD_LETTERS) - 1;
    struct maildir_name name;
    struct store_flags was = m->flags, flags;

    maildir_parse(r->seen, &name);
    flags.sys = name.sys;
    flags.kw = (was.kw & ~mask) | name.kw;
    if (!name.has_info && r->seen_dir == MAILDIR_NEW)
        flags = was;
    c->letters |= name.kw;
    mbox_count_flags(c->mb, was, flags);
    if (flags.sys != was.sys || flags.kw != was.kw)
        m->modseq = mbox_change(c->u, c->mb);
    m->dir = r->seen_dir;
    m->file = r->seen;
    m->flags = flags;
    return msg_write(c->u, c->mb->id, m, e);
}

static bool
is_file(const struct scan *c, int dir, const char *file)
{
    struct stat st;

    return fstatat(c->parts.fd[dir], file, &st, AT_SYMLINK_NOFOLLOW) == 0 ? S_ISREG(st.st_mode)
                                                                          : errno != ENOENT;
}

static void
add_cand(struct scan *c, const char *file, int dir, bool is_twin)
{
    struct maildir_name name;

    maildir_parse(file, &name);
    c->cands = mem_grow(c->cands, &c->cap_cands, c->n_cands + 1, sizeof(c->cands[0]));
    c->cands[c->n_cands++] =
        (struct scan_cand){ .file = file,
                            .s = is_twin ? UINT64_MAX : name.s, /* a twin gets a name of now */
                            .us = name.us,
                            .base_n = (uint16_t)name.base.n,
                            .dir = (uint8_t)dir,
                            .is_twin = is_twin };
}

static int
replace_row(struct scan *c, const struct scan_row *r, const struct msg_brief *m, struct err *e)
{
    add_cand(c, r->seen, r->seen_dir, false);
    return msg_expunge_batch(c->u, c->mb, m, 1, e);
}

/* m: the row as it is now. */
static int
apply_row(struct scan *c, const struct scan_row *r, struct msg_brief *m, bool may_expunge,
          struct err *e)
{
    struct stat st;
    /* By its MODSEQ, too: changed twice it may have the name it had. */
    bool is_as_read = m->modseq <= c->read && m->dir == r->dir && strcmp(m->file, r->file) == 0;

    if (r->seen != NULL && m->dir == r->seen_dir && strcmp(m->file, r->seen) == 0)
        return 0;
    if (!is_as_read || (r->seen == NULL && (!may_expunge || is_file(c, r->dir, r->file)))) {
        c->is_whole = false; /* a change of ours came between */
        return 0;
    }
    if (r->seen == NULL)
        return msg_expunge_batch(c->u, c->mb, m, 1, e);
    if (fstatat(c->parts.fd[r->seen_dir], r->seen, &st, AT_SYMLINK_NOFOLLOW)) {
        c->is_whole = false; /* it has another name again */
        return 0;
    }
    /* What has another size is another message: of none may the octets change under its UID. */
    return st.st_size != m->size ? replace_row(c, r, m, e) : update_row(c, r, m, e);
}

/* Some rows that differ; `rows` has their indexes. */
static int
apply_rows(struct scan *c, const size_t *rows, size_t n, bool may_expunge, struct err *e)
{
    uint32_t uids[SCAN_BATCH];
    struct msg_batch b = { 0 };
    size_t at = 0;
    int rc;

    for (size_t i = 0; i < n; i++)
        uids[i] = c->rows[rows[i]].uid;
    if (scan_tx_begin(c, e))
        return -1;
    rc = msg_batch_load(c->u, c->mb->id, uids, n, &b, e);
    for (size_t i = 0; rc == 0 && i < b.n; i++) {
        while (uids[at] != b.v[i].uid)
            at++;
        rc = apply_row(c, &c->rows[rows[at]], &b.v[i], may_expunge, e);
    }
    msg_batch_free(&b);
    return scan_tx_end(c, rc, e);
}

static int
apply_all_rows(struct scan *c, bool may_expunge, struct err *e)
{
    size_t rows[SCAN_BATCH], n = 0;

    for (size_t i = 0; i < c->n_rows; i++) {
        const struct scan_row *r = &c->rows[i];

        if (r->seen == r->file)
            continue;
        rows[n++] = i;
        if (n == SCAN_BATCH) {
            if (apply_rows(c, rows, n, may_expunge, e))
                return -1;
            n = 0;
        }
    }
    return n == 0 ? 0 : apply_rows(c, rows, n, may_expunge, e);
}

int
scan_is_missing(struct scan *c, struct err *e)
{
    struct msg_batch b = { 0 };
    int rc = 0;

    for (size_t i = 0; rc == 0 && c->n_unseen > 0 && i < c->n_rows; i++) {
        const struct scan_row *r = &c->rows[i];

        if (r->seen != NULL)
            continue;
        msg_batch_reset(&b);
        rc = msg_batch_load(c->u, c->mb->id, &r->uid, 1, &b, e);
        if (rc == 0 && b.n == 1 && b.v[0].dir == r->dir && strcmp(b.v[0].file, r->file) == 0)
            rc = 1;
    }
    msg_batch_free(&b);
    return rc;
}

/* ---- two files of one base name ---- */

/* Which of two is the message that the index has? Its name says so; else size and date. */
static bool
is_better(const struct msg_brief *m, const char *a, const struct stat *sa, const char *b,
          const struct stat *sb)
{
    bool a_fits = sa->st_size == m->size && sa->st_mtim.tv_sec == m->date_s,
         b_fits = sb->st_size == m->size && sb->st_mtim.tv_sec == m->date_s;

    return a_fits != b_fits ? a_fits : strcmp(a, b) <= 0;
}

/* One is the message's, the other is a message of its own. Often one is the other's past, renamed while we read. */
static int
settle_twin(struct scan *c, const struct scan_twin *t, struct err *e)
{
    struct scan_row *r = &c->rows[t->row];
    struct msg_batch b = { 0 };
    struct stat sa, sb;

    if (fstatat(c->parts.fd[t->dir], t->file, &sb, AT_SYMLINK_NOFOLLOW) || !S_ISREG(sb.st_mode))
        return 0; /* the second is gone, or none */
    if (msg_batch_load(c->u, c->mb->id, &r->uid, 1, &b, e)) {
        msg_batch_free(&b);
        return -1;
    }
    if (r->seen == NULL || fstatat(c->parts.fd[r->seen_dir], r->seen, &sa, AT_SYMLINK_NOFOLLOW)) {
        r->seen = t->file;
        r->seen_dir = (uint8_t)t->dir;
    } else if (sa.st_ino != sb.st_ino || sa.st_dev != sb.st_dev) {
        if (b.n == 1 && r->seen != r->file && !is_better(&b.v[0], r->seen, &sa, t->file, &sb)) {
            add_cand(c, r->seen, r->seen_dir, true);
            r->seen = t->file;
            r->seen_dir = (uint8_t)t->dir;
        } else {
            add_cand(c, t->file, t->dir, true);
        }
    }
    msg_batch_free(&b);
    return 0;
}

static int
settle_twins(struct scan *c, struct err *e)
{
    int rc = 0;

    if (c->n_twins == 0)
        return 0;
    if (scan_tx_begin(c, e))
        return -1;
    for (size_t i = 0; rc == 0 && i < c->n_twins; i++)
        rc = settle_twin(c, &c->twins[i], e);
    return scan_tx_end(c, rc, e);
}

/* ---- new files ---- */

static int
cmp_cands(const void *x, const void *y)
{
    const struct scan_cand *a = x, *b = y;
    int rc;

    if (a->s != b->s)
        return a->s < b->s ? -1 : 1;
    if (a->us != b->us)
        return a->us < b->us ? -1 : 1;
    rc = sl_cmp(sl_n(a->file, a->base_n), sl_n(b->file, b->base_n));
    if (rc == 0)
        rc = strcmp(a->file, b->file);
    return rc != 0 ? rc : (int)a->dir - (int)b->dir;
}

/* A base name of its own for a file whose name is another message's, too. False: it cannot have one now. */
static bool
give_base(struct scan *c, struct scan_cand *k, const struct stat *st)
{
    char fresh[MAILDIR_NAME_MAX];
    struct maildir_name name;
    const char *file;

    maildir_parse(k->file, &name);
    maildir_base(fresh, "", (uint64_t)st->st_size, name.crlf);
    if (name.crlf == UINT64_MAX)
        *strstr(fresh, ",W=") = '\0';
    file = arena_printf(&c->mem, "%s%s%.*s", fresh, name.has_info ? ":2," : "", SL_ARG(name.info));
    if (strlen(file) >= MAILDIR_NAME_MAX ||
        renameat(c->parts.fd[k->dir], k->file, c->parts.fd[k->dir], file)) {
        log_warn("store.twin", LOG_F(LF_Z("user", c->u->name)),
                 "user %s: %s/%s/%s has the name of another message and cannot get one of its own",
                 c->u->name, c->dir, scan_part(k->dir), k->file);
        return false;
    }
    k->file = file;
    k->base_n = (uint16_t)scan_base(file).n;
    c->is_moved = true;
    return true;
}

/* Is the file one that shall become a message? */
static bool
is_wanted(struct scan *c, struct scan_cand *k, struct stat *st)
{
    struct slice base = sl_n(k->file, k->base_n);
    struct maildir_name name;

    if (!k->is_twin && ((c->since != NULL && map_get(c->since, base) != NULL) ||
                        (c->pending != NULL && map_get(c->pending, base) != NULL)))
        return false;
    if (fstatat(c->parts.fd[k->dir], k->file, st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st->st_mode))
        return false; /* no link: reading would not follow it either */
    maildir_parse(k->file, &name);
    if (name.size != UINT64_MAX && (uint64_t)st->st_size < name.size) {
        log_debug("store.wreck", LOG_F(LF_Z("user", c->u->name)),
                  "user %s: %s/%s/%s is shorter than its name says: no message", c->u->name, c->dir,
                  scan_part(k->dir), k->file);
        return false; /* of a power cut */
    }
    if (!k->is_twin && (c->last == NULL || !sl_eq(base, sl_n(c->last, c->last_n))))
        return true;
    return give_base(c, k, st);
}

/* msg_new_object_id(), some dozens at a time: each asks the kernel. */
static int64_t
new_object_id(struct scan *c)
{
    if (c->n_ids == 0) {
        rand_octets(c->ids, sizeof(c->ids));
        c->n_ids = SCAN_IDS;
    }
    return (int64_t)(c->ids[--c->n_ids] >> 1);
}

static int
insert_cand(struct scan *c, struct scan_cand *k, struct err *e)
{
    struct msg_brief m = { .dir = k->dir, .tz_minutes = TZ_LOCAL };
    struct maildir_name name;
    struct stat st;
    int rc;

    if (!is_wanted(c, k, &st))
        return 0;
    maildir_parse(k->file, &name);
    m.file = k->file;
    m.flags = (struct store_flags){ .sys = name.sys, .kw = name.kw };
    if (c->take_new && k->dir == MAILDIR_NEW) {
        rc = msg_rename(&m, &c->parts, &c->mem, m.flags, e);
        if (rc < 0)
            return -1;
        c->is_moved = true; /* if not, it stays where it is: there is one of its name */
    }
    if (c->hints != NULL)
        m.uid = (uint32_t)(uintptr_t)map_get(c->hints, name.base);
    if (m.uid == 0)
        m.uid = mbox_next_uid(c->u, c->mb);
    if (k->dir == MAILDIR_CUR && m.uid > c->last_cur_uid)
        c->last_cur_uid = m.uid;
    c->letters |= name.kw;
    m.modseq = mbox_change(c->u, c->mb);
    m.size = st.st_size;
    m.crlf = name.size == (uint64_t)st.st_size && name.crlf <= INT64_MAX ? (int64_t)name.crlf : -1;
    m.date_s = st.st_mtim.tv_sec;
    m.savedate_s = st.st_ctim.tv_sec;
    m.email = new_object_id(c);
    c->last = k->file;
    c->last_n = k->base_n;
    return msg_insert(c->u, c->mb, &m, e);
}

static int
insert_cands(struct scan *c, struct err *e)
{
    if (c->n_cands > 1)
        qsort(c->cands, c->n_cands, sizeof(c->cands[0]), cmp_cands);
    c->last = NULL;
    for (size_t at = 0; at < c->n_cands;) {
        size_t end = c->n_cands - at > SCAN_BATCH ? at + SCAN_BATCH : c->n_cands;
        int rc = 0;

        if (scan_tx_begin(c, e))
            return -1;
        mbox_expect_uids(c->u, c->mb, c->n_cands - at);
        for (; rc == 0 && at < end; at++)
            rc = insert_cand(c, &c->cands[at], e);
        if (rc == 0 && c->is_first && c->last_cur_uid >= c->mb->recent_from) /* what lies in cur/
                                                was seen by some program before us */
            rc = mbox_set_recent(c->u, c->mb, c->last_cur_uid + 1, e);
        if (scan_tx_end(c, rc, e))
            return -1;
    }
    return 0;
}

int
scan_apply(struct scan *c, bool may_expunge, struct err *e)
{
    int rc = 0;

    c->is_first = c->mb->uidnext == 1;
    if (settle_twins(c, e) || apply_all_rows(c, may_expunge, e) || insert_cands(c, e))
        return -1;
    if (c->letters != 0 && (rc = scan_tx_begin(c, e)) == 0)
        rc = scan_tx_end(c, keywords_import(c->u, c->dir, c->mb->id, c->letters, e), e);
    return rc;
}

/* ---- new/ to cur/ ---- */

static int
next_new(struct scan *c, uint32_t from, uint32_t uids[SCAN_BATCH], size_t *n, struct err *e)
{
    struct db_stmt *s;
    int rc;

    *n = 0;
    if (db_prepare(c->u->db,
                   "SELECT uid FROM messages INDEXED BY messages_new WHERE mailbox = ? AND dir = 0 "
                   "AND uid >= ? ORDER BY uid LIMIT ?",
                   &s, e))
        return -1;
    db_bind_int(s, 1, c->mb->id);
    db_bind_int(s, 2, from);
    db_bind_int(s, 3, SCAN_BATCH);
    while ((rc = db_step(s, e)) == 1)
        uids[(*n)++] = (uint32_t)db_int(s, 0);
    return rc;
}

static int
take_batch(struct scan *c, const uint32_t *uids, size_t n, struct err *e)
{
    struct msg_batch b = { 0 };
    int rc = msg_batch_load(c->u, c->mb->id, uids, n, &b, e);

    for (size_t i = 0; rc == 0 && i < b.n; i++) {
        struct msg_brief *m = &b.v[i];

        if (m->dir != MAILDIR_NEW)
            continue;
        rc = msg_rename(m, &c->parts, &b.mem, m->flags, e);
        if (rc == 0) { /* not where it was: look at everything next time */
            c->is_whole = c->own.was_known = false;
            c->mb->cur_mtime_ns = 0;
        } else if (rc == 1) {
            c->is_moved = true;
            rc = msg_write(c->u, c->mb->id, m, e);
        }
    }
    msg_batch_free(&b);
    return rc;
}

int
scan_take_new(struct scan *c, struct err *e)
{
    uint32_t uids[SCAN_BATCH], from = 1;
    size_t n;

    do {
        int rc = next_new(c, from, uids, &n, e);

        if (rc || n == 0)
            return rc;
        from = uids[n - 1] + 1;
        if (scan_tx_begin(c, e))
            return -1;
        if (scan_tx_end(c, take_batch(c, uids, n, e), e))
            return -1;
    } while (n == SCAN_BATCH);
    return 0;
}
