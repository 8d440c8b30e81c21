/* store/fetch.c - what FETCH tells of a message: from the index, else computed from the file and kept.
 * ENVELOPE and the structures are made with CRLF line ends, as clients count. What was computed waits in the view and
 * goes into the index some dozens at a time. */
#include "store/store_int.h"

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "mime/mime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FETCH_BLOCK_OCTETS = 64 * 1024,
    FETCH_HEADER_OCTETS = 8 * 1024, /* read at a time where only the header is wanted */
    FETCH_AHEAD = 64,
    FETCH_AHEAD_MAX_OCTETS = 256 * 1024,
    FETCH_TEXTS = STORE_GET_ENVELOPE | STORE_GET_BODYSTRUCTURE | STORE_GET_BODY,
    FETCH_CACHE_MAX_OCTETS = 64 * 1024 /* a longer ENVELOPE or structure is computed each time */
};

/* ---- the file ---- */

struct store_file {
    struct buf octets;
};

/* LF to CRLF where there is no CR, as octets come; *last is the octet before. */
static void
add_crlf(struct buf *out, struct slice in, char *last)
{
    while (in.n > 0) {
        const char *lf = memchr(in.p, '\n', in.n);
        size_t n = lf == NULL ? in.n : (size_t)(lf - in.p);

        buf_add(out, in.p, n);
        if (lf != NULL) {
            if ((n > 0 ? in.p[n - 1] : *last) != '\r')
                buf_addc(out, '\r');
            buf_addc(out, '\n');
            n++;
        }
        *last = in.p[n - 1];
        in = sl_from(in, n);
    }
}

/* Is the empty line after a header there? Looked for from an octet on. */
static bool
has_header(struct slice crlf, size_t from)
{
    return sl_has_prefix(crlf, SL("\r\n")) ||
           sl_find(sl_from(crlf, from > 2 ? from - 2 : 0), SL("\n\r\n")) != SL_NPOS;
}

static int
read_crlf(int fd, bool only_header, struct buf *out, struct err *e)
{
    size_t block_octets = only_header ? FETCH_HEADER_OCTETS : FETCH_BLOCK_OCTETS;
    char *block = mem_alloc(block_octets), last = '\0';
    struct stat st;
    ssize_t got;

    /* Room for all of it and its CRs at once, by a guess of line lengths. */
    if (!only_header && fstat(fd, &st) == 0 && st.st_size > 0)
        buf_reserve(out, (size_t)st.st_size + (size_t)st.st_size / 32 + 64);
    while ((got = read(fd, block, block_octets)) != 0) {
        size_t was = out->n;

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            break;
        add_crlf(out, sl_n(block, (size_t)got), &last);
        if (only_header && has_header(buf_slice(out), was))
            break;
    }
    free(block);
    return got < 0 ? err_sys(e, "cannot read a message") : 0;
}

/* 1 open, 0 not where the index has it, -1. */
static int
open_row(const struct store_view *v, const struct msg_row *m, int *fd, struct err *e)
{
    char *path = path_join(v->dir, m->dir == MAILDIR_NEW ? "new" : "cur", m->file);
    int rc = 1;

    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOATIME);
    if (*fd < 0 && errno == EPERM)
        *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (*fd < 0)
        rc = errno == ENOENT ? 0 : err_sys(e, "cannot open %s", path);
    free(path);
    return rc;
}

static int
gone(struct err *e)
{
    err_set(e, ERR_NOTFOUND, "Message was expunged");
    return -1;
}

/* Scan because a file was not found, and load the row again. */
static int
look_again(struct store_view *v, uint32_t uid, struct msg_row *m, struct err *e)
{
    struct mbox mb;
    int rc = mbox_load(v->u, v->mailbox, &mb, e);

    if (rc == 1)
        rc = mbox_scan(v->u, sl_z(v->name), &mb, false, true, e)
                 ? -1
                 : msg_load(v->u, v->mailbox, uid, m, e);
    return rc < 0 ? -1 : rc == 0 ? gone(e) : 0;
}

/* The row's file; user.lock held. */
static int
open_message(struct store_view *v, struct msg_row *m, int *fd, struct err *e)
{
    int rc = open_row(v, m, fd, e);

    if (rc == 0) {
        if (look_again(v, m->uid, m, e))
            return -1;
        rc = open_row(v, m, fd, e);
        if (rc == 0)
            return gone(e);
    }
    return rc < 0 ? -1 : 0;
}

static int
load_row(struct store_view *v, uint32_t seq, struct msg_row *m, struct err *e)
{
    int rc;

    if (seq == 0 || seq > v->n || v->is_gone || v->is_asleep)
        return gone(e);
    rc = msg_load(v->u, v->mailbox, view_uid_at(v, seq - 1), m, e);
    return rc < 0 ? -1 : rc == 0 ? gone(e) : 0;
}

static int
open_file(struct store_view *v, uint32_t seq, bool only_header, struct store_file **out,
          struct err *e)
{
    struct msg_row m;
    struct store_file *f;
    int fd = -1, rc;

    *out = NULL;
    if (user_lock(v->u, e))
        return -1;
    rc = load_row(v, seq, &m, e);
    if (rc == 0)
        rc = open_message(v, &m, &fd, e);
    user_unlock(v->u);
    if (rc)
        return -1;
    f = MEM_NEW(struct store_file);
    rc = read_crlf(fd, only_header, &f->octets, e);
    close(fd);
    if (rc)
        store_file_close(&f);
    *out = f;
    return rc;
}

int
store_file_open(struct store_view *v, uint32_t seq, struct store_file **out, struct err *e)
{
    return open_file(v, seq, false, out, e);
}

int
store_header_open(struct store_view *v, uint32_t seq, struct store_file **out, struct err *e)
{
    return open_file(v, seq, true, out, e);
}

struct slice
store_file_octets(const struct store_file *f)
{
    return buf_slice(&f->octets);
}

void
store_file_close(struct store_file **f)
{
    if (*f == NULL)
        return;
    buf_free(&(*f)->octets);
    free(*f);
    *f = NULL;
}

/* ---- the cache ---- */

static struct fresh *
fresh_of(const struct store_view *v, uint32_t uid)
{
    for (size_t i = v->n_fresh; i > 0; i--)
        if (v->fresh[i - 1].uid == uid)
            return &v->fresh[i - 1];
    return NULL;
}

static int
save_one(struct store_view *v, const struct fresh *f, struct err *e)
{
    struct db_stmt *s;
    const struct buf *texts[3] = { &f->envelope, &f->bodystructure, &f->body };

    if (f->crlf >= 0) {
        if (db_prepare(v->u->db,
                       "UPDATE mailboxes SET crlf_octets = crlf_octets + coalesce((SELECT max(?1, "
                       "size) - max(crlf, size)"
                       " FROM messages WHERE mailbox = ?2 AND uid = ?3), 0) WHERE id = ?2",
                       &s, e))
            return -1;
        db_bind_int(s, 1, f->crlf);
        db_bind_int(s, 2, v->mailbox);
        db_bind_int(s, 3, f->uid);
        if (db_run(s, e))
            return -1;
        if (db_prepare(v->u->db, "UPDATE messages SET crlf = ? WHERE mailbox = ? AND uid = ?", &s,
                       e))
            return -1;
        db_bind_int(s, 1, f->crlf);
        db_bind_int(s, 2, v->mailbox);
        db_bind_int(s, 3, f->uid);
        if (db_run(s, e))
            return -1;
    }
    /* Only for a message that is still there: nobody would remove the row again. */
    if (db_prepare(v->u->db,
                   "INSERT OR REPLACE INTO cache SELECT ?1, ?2, ?3, ?4, ?5"
                   " WHERE EXISTS (SELECT 1 FROM messages WHERE mailbox = ?1 AND uid = ?2)",
                   &s, e))
        return -1;
    db_bind_int(s, 1, v->mailbox);
    db_bind_int(s, 2, f->uid);
    for (int i = 0; i < 3; i++) {
        if (texts[i]->n > 0 && texts[i]->n <= FETCH_CACHE_MAX_OCTETS)
            db_bind_text(s, 3 + i, buf_slice(texts[i]));
        else
            db_bind_null(s, 3 + i);
    }
    return db_run(s, e);
}

void
view_save_fresh(struct store_view *v)
{
    struct err e = { 0 };
    int rc = 0;

    if (v->n_fresh == 0)
        return;
    if (index_begin(v->u, &e) == 0) {
        for (size_t i = 0; rc == 0 && i < v->n_fresh; i++)
            rc = save_one(v, &v->fresh[i], &e);
        if (rc)
            index_rollback(v->u);
        else
            index_commit(v->u, &e);
    }
    if (e.kind != ERR_NONE)
        log_warn("store.cache", LOG_F(LF_Z("user", v->u->name)),
                 "user %s: cannot keep what was computed: %s", v->u->name, e.msg);
    for (size_t i = 0; i < v->n_fresh; i++) {
        buf_free(&v->fresh[i].envelope);
        buf_free(&v->fresh[i].bodystructure);
        buf_free(&v->fresh[i].body);
    }
    v->n_fresh = 0;
}

/* Everything that a message is ever asked for, since its file is open and read now. */
static int
compute(struct store_view *v, struct msg_row *m, struct fresh **out, struct err *e)
{
    struct buf octets = { 0 };
    struct arena mem = { 0 };
    const struct mime_part *root;
    struct slice message;
    struct fresh *f;
    int fd, rc;

    if (open_message(v, m, &fd, e))
        return -1;
    rc = read_crlf(fd, false, &octets, e);
    close(fd);
    if (rc) {
        buf_free(&octets);
        return -1;
    }
    if (v->fresh == NULL)
        v->fresh = mem_zalloc(VIEW_FRESH_MAX * sizeof(v->fresh[0]));
    if (v->n_fresh == VIEW_FRESH_MAX)
        view_save_fresh(v);
    f = &v->fresh[v->n_fresh++];
    memset(f, 0, sizeof(*f));
    message = buf_slice(&octets);
    f->uid = m->uid;
    f->crlf = m->crlf < 0 ? (int64_t)message.n : -1;
    if (m->crlf < 0)
        m->crlf = (int64_t)message.n;
    mime_envelope(mime_header_of(message), &f->envelope);
    root = mime_parse(message, &mem);
    mime_bodystructure(root, true, &f->bodystructure);
    mime_bodystructure(root, false, &f->body);
    arena_free(&mem);
    buf_free(&octets);
    *out = f;
    return 0;
}

/* ---- FETCH ---- */

static const unsigned text_bits[3] = { STORE_GET_ENVELOPE, STORE_GET_BODYSTRUCTURE,
                                       STORE_GET_BODY };

struct texts { /* places in a buf, which may move while it grows */
    size_t at[3], n[3];
    bool has[3];
};

static void
keep(struct buf *mem, struct texts *t, int i, struct slice s)
{
    t->at[i] = mem->n;
    t->n[i] = s.n;
    t->has[i] = true;
    buf_adds(mem, s);
}

static bool
has_all(const struct texts *t, unsigned want)
{
    for (int i = 0; i < 3; i++)
        if ((want & text_bits[i]) && !t->has[i])
            return false;
    return true;
}

static void
fill_msg(struct store_msg *out, const struct msg_row *m)
{
    out->uid = m->uid;
    out->size_octets = m->crlf < 0 ? 0 : (uint64_t)m->crlf;
    out->internaldate_unix_s = m->date_s;
    out->tz_minutes =
        m->tz_minutes == TZ_LOCAL ? mime_local_tz_minutes(m->date_s) : (int16_t)m->tz_minutes;
    out->savedate_unix_s = m->savedate_s;
    snprintf(out->email_id, sizeof(out->email_id), "M%016llx", (unsigned long long)m->email);
    snprintf(out->thread_id, sizeof(out->thread_id), "T%016llx", (unsigned long long)m->thread);
}

static void
fill_texts(struct store_msg *out, const struct texts *t)
{
    const char *p = buf_slice(&out->mem).p;

    out->envelope = sl_n(p == NULL ? "" : p + t->at[0], t->n[0]);
    out->bodystructure = sl_n(p == NULL ? "" : p + t->at[1], t->n[1]);
    out->body = sl_n(p == NULL ? "" : p + t->at[2], t->n[2]);
}

/* ---- rows read ahead: what does not change in a message's life ---- */

struct ahead {
    unsigned want; /* texts that were read */
    size_t n;
    struct {
        struct msg_row row; /* uid, crlf, dates, ids */
        struct texts texts;
    } v[FETCH_AHEAD];
    struct buf mem;
};

void
view_drop_ahead(struct store_view *v)
{
    if (v->ahead == NULL)
        return;
    buf_free(&v->ahead->mem);
    free(v->ahead);
    v->ahead = NULL;
}

static int
read_ahead(struct store_view *v, uint32_t uid, unsigned want, struct err *e)
{
    struct db_stmt *s;
    struct ahead *a;
    int rc;

    if (db_prepare(v->u->db,
                   want & FETCH_TEXTS
                       ? "SELECT m.uid, m.crlf, m.date, m.tz, m.savedate, m.email, m.thread, "
                         "c.envelope, c.bodystructure,"
                         " c.body FROM messages m LEFT JOIN cache c ON c.mailbox = m.mailbox AND "
                         "c.uid = m.uid"
                         " WHERE m.mailbox = ? AND m.uid >= ? ORDER BY m.uid LIMIT 64"
                       : "SELECT uid, crlf, date, tz, savedate, email, thread FROM messages"
                         " WHERE mailbox = ? AND uid >= ? ORDER BY uid LIMIT 64",
                   &s, e))
        return -1;
    if (v->ahead == NULL)
        v->ahead = MEM_NEW(struct ahead);
    a = v->ahead;
    a->want = want & FETCH_TEXTS;
    a->n = 0;
    buf_reset(&a->mem);
    db_bind_int(s, 1, v->mailbox);
    db_bind_int(s, 2, uid);
    while ((rc = db_step(s, e)) == 1) {
        struct msg_row *m = &a->v[a->n].row;

        memset(&a->v[a->n], 0, sizeof(a->v[0]));
        m->uid = (uint32_t)db_int(s, 0);
        m->crlf = db_int(s, 1);
        m->date_s = db_int(s, 2);
        m->tz_minutes = (int)db_int(s, 3);
        m->savedate_s = db_int(s, 4);
        m->email = db_int(s, 5);
        m->thread = db_int(s, 6);
        for (int i = 0; i < 3; i++)
            if ((want & text_bits[i]) && !db_is_null(s, 7 + i))
                keep(&a->mem, &a->v[a->n].texts, i, db_text(s, 7 + i));
        if (++a->n == FETCH_AHEAD || a->mem.n > FETCH_AHEAD_MAX_OCTETS) {
            db_reset(s);
            return 0;
        }
    }
    return rc;
}

/* Was it read already, whether or not everything was there? */
static bool
ahead_covers(const struct ahead *a, uint32_t uid, unsigned want)
{
    return a != NULL && a->n > 0 && uid >= a->v[0].row.uid && uid <= a->v[a->n - 1].row.uid &&
           (want & FETCH_TEXTS & ~a->want) == 0;
}

static bool
from_ahead(const struct store_view *v, uint32_t uid, unsigned want, struct store_msg *out)
{
    const struct ahead *a = v->ahead;
    struct texts t = { { 0 }, { 0 }, { false } };
    size_t lo = 0, hi = a == NULL ? 0 : a->n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        *(a->v[mid].row.uid < uid ? &lo : &hi) = a->v[mid].row.uid < uid ? mid + 1 : mid;
    }
    if (a == NULL || lo == a->n || a->v[lo].row.uid != uid || !has_all(&a->v[lo].texts, want) ||
        ((want & STORE_GET_SIZE) && a->v[lo].row.crlf < 0))
        return false;
    for (int i = 0; i < 3; i++)
        if (want & text_bits[i])
            keep(&out->mem, &t, i,
                 sl_n(a->mem.p + a->mem.off + a->v[lo].texts.at[i], a->v[lo].texts.n[i]));
    fill_msg(out, &a->v[lo].row);
    fill_texts(out, &t);
    return true;
}

/* ---- one message ---- */

/* From the cache into out. 1: all that is wanted was there. */
static int
from_cache(struct store_view *v, uint32_t uid, unsigned want, struct store_msg *out,
           struct texts *t, struct err *e)
{
    const struct fresh *f = fresh_of(v, uid);
    struct db_stmt *s;
    int rc;

    if (f != NULL && f->envelope.n > 0) {
        const struct buf *texts[3] = { &f->envelope, &f->bodystructure, &f->body };

        for (int i = 0; i < 3; i++)
            if (want & text_bits[i])
                keep(&out->mem, t, i, buf_slice(texts[i]));
        return 1;
    }
    if (db_prepare(v->u->db,
                   "SELECT envelope, bodystructure, body FROM cache WHERE mailbox = ? AND uid = ?",
                   &s, e))
        return -1;
    db_bind_int(s, 1, v->mailbox);
    db_bind_int(s, 2, uid);
    rc = db_step(s, e);
    for (int i = 0; rc == 1 && i < 3; i++)
        if ((want & text_bits[i]) && !db_is_null(s, i))
            keep(&out->mem, t, i, db_text(s, i));
    db_reset(s);
    return rc < 0 ? -1 : rc == 1 && has_all(t, want);
}

static int
fetch_locked(struct store_view *v, uint32_t seq, unsigned want, struct store_msg *out,
             struct err *e)
{
    struct texts t = { { 0 }, { 0 }, { false } };
    struct fresh *f = NULL;
    struct msg_row m;
    int rc = 1;

    if (seq == v->last_fetched + 1 && seq <= v->n && !v->is_asleep &&
        !ahead_covers(v->ahead, view_uid_at(v, seq - 1), want)) {
        /* the mailbox is being gone through */
        if (read_ahead(v, view_uid_at(v, seq - 1), want, e))
            return -1;
        if (from_ahead(v, view_uid_at(v, seq - 1), want, out))
            return 0;
    }
    if (load_row(v, seq, &m, e))
        return -1;
    if (want & FETCH_TEXTS)
        rc = from_cache(v, m.uid, want, out, &t, e);
    if (rc == 1 && (want & STORE_GET_SIZE) && m.crlf < 0 && (f = fresh_of(v, m.uid)) == NULL)
        rc = 0;
    if (rc == 0) {
        buf_reset(&out->mem);
        if (compute(v, &m, &f, e))
            return -1;
        rc = want & FETCH_TEXTS ? from_cache(v, m.uid, want, out, &t, e) : 1;
    }
    if (rc < 0)
        return -1;
    if (f != NULL && f->crlf >= 0)
        m.crlf = f->crlf;
    fill_msg(out, &m);
    fill_texts(out, &t);
    return 0;
}

int
store_fetch(struct store_view *v, uint32_t seq, unsigned want, struct store_msg *out, struct err *e)
{
    int rc;

    memset(out, 0, sizeof(*out));
    if (seq > 0 && seq <= v->n && !v->is_asleep && !view_gone_at(v, seq - 1) &&
        from_ahead(v, view_uid_at(v, seq - 1), want, out)) {
        v->last_fetched = seq;
        return 0;
    }
    if (user_lock(v->u, e))
        return -1;
    rc = fetch_locked(v, seq, want, out, e);
    user_unlock(v->u);
    v->last_fetched = seq;
    if (rc)
        store_msg_free(out);
    return rc;
}

void
store_msg_free(struct store_msg *m)
{
    buf_free(&m->mem);
    memset(m, 0, sizeof(*m));
}
