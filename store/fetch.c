/* store/fetch.c - what FETCH tells of a message: from the index, else computed from the file and kept. What was computed
 * waits in the view and goes into the index some hundreds at a time. Files are read and parsed without the user's lock. */
#include "store/cache.h"

#include "base/log.h"
#include "base/mem.h"
#include "mime/mime.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FETCH_AHEAD = 64, FETCH_AHEAD_MAX_OCTETS = 256 * 1024 };

/* ---- computed, not yet in the index ---- */

static struct forms *
fresh_of(const struct store_view *v, uint32_t uid)
{
    if (uid > v->fresh_last) /* the mailbox is being gone through */
        return NULL;
    for (size_t i = v->n_fresh; i > 0; i--)
        if (v->fresh[i - 1].uid == uid)
            return &v->fresh[i - 1];
    return NULL;
}

void
view_drop_fresh(struct store_view *v)
{
    for (size_t i = 0; i < v->n_fresh; i++)
        forms_free(&v->fresh[i]);
    free(v->fresh);
    v->fresh = NULL;
    v->n_fresh = v->fresh_octets = v->fresh_last = 0;
}

static void
save_fresh(struct store_view *v)
{
    struct err e = { 0 };

    if (v->n_fresh > 0 && cache_save(v->u, v->mailbox, v->fresh, v->n_fresh, &e))
        log_warn("store.cache", LOG_F(LF_Z("user", v->u->name)),
                 "user %s: cannot keep what was computed: %s", v->u->name, e.msg);
}

void
view_save_fresh(struct store_view *v)
{
    save_fresh(v);
    view_drop_fresh(v);
}

/* Room for one more. */
static int
make_room(struct store_view *v, struct err *e)
{
    if (v->n_fresh == VIEW_FRESH_MAX || v->fresh_octets >= VIEW_FRESH_OCTETS) {
        if (user_lock(v->u, e))
            return -1;
        view_save_fresh(v);
        user_unlock(v->u);
    }
    if (v->fresh == NULL)
        v->fresh = mem_zalloc(VIEW_FRESH_MAX * sizeof(v->fresh[0]));
    return 0;
}

/* ---- into what the caller gets ---- */

static bool
has_all(const struct form_texts *t, unsigned want)
{
    for (int i = 0; i < FORMS; i++)
        if ((want & form_bits[i]) && !t->has[i])
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
    if (m->thread != 0)
        snprintf(out->thread_id, sizeof(out->thread_id), "T%016llx", (unsigned long long)m->thread);
}

static void
fill_texts(struct store_msg *out, const struct form_texts *t)
{
    struct slice *to[FORMS] = { &out->envelope, &out->bodystructure, &out->body, &out->headers,
                                &out->preview };
    const char *p = buf_slice(&out->mem).p;

    for (int i = 0; i < FORMS; i++) {
        if (t->at[i] == SL_NPOS)
            *to[i] = sl_n(NULL, 0);
        else
            *to[i] = sl_n(p == NULL ? "" : p + t->at[i], t->n[i]);
    }
}

static void
take_forms(const struct forms *f, unsigned want, struct buf *mem, struct form_texts *t)
{
    for (int i = 0; i < FORMS; i++) {
        struct slice s = buf_slice(&f->form[i]);

        if (i == FORM_HEADERS && !form_is_kept(f, FORM_HEADERS))
            s = sl_n(NULL, 0);
        else if (s.n == 0)
            s = SL("");
        if (want & form_bits[i])
            form_add(mem, t, (enum form)i, s);
    }
}

/* ---- rows read ahead: what does not change in a message's life ---- */

struct ahead {
    unsigned want;  /* forms that were read */
    bool has_files; /* the names of all, else of those that are missing */
    size_t n;
    struct {
        struct msg_row row; /* uid, crlf, dates, ids; the file's name may be another now */
        struct form_texts texts;
        bool is_missing; /* nothing was computed of it */
    } v[FETCH_AHEAD];
    struct buf mem;
};

void
view_drop_ahead(struct store_view *v)
{
    v->n_opened = 0;
    if (v->ahead == NULL)
        return;
    buf_free(&v->ahead->mem);
    free(v->ahead);
    v->ahead = NULL;
}

/* The columns after the row's nine: by what is wanted of which table. */
#define AHEAD_ROW     "SELECT m.uid, m.crlf, m.date, m.tz, m.savedate, m.email, m.thread, m.dir, m.file"
#define AHEAD_REST    " WHERE m.mailbox = ? AND m.uid >= ? ORDER BY m.uid LIMIT 64"
#define AHEAD_CACHE   " LEFT JOIN cache c ON c.mailbox = m.mailbox AND c.uid = m.uid"
#define AHEAD_HEADERS " LEFT JOIN cache_headers h ON h.mailbox = m.mailbox AND h.uid = m.uid"

enum { AHEAD_UID = 9, AHEAD_LAST_UID = 15 }; /* NULL: no such row */

static int
prepare_ahead(struct store_view *v, unsigned want, struct db_stmt **s, struct err *e)
{
    static const char *const sql[2][2] = {
        { AHEAD_ROW " FROM messages m" AHEAD_REST,
          AHEAD_ROW ", NULL, NULL, NULL, NULL, h.headers, h.preview, h.uid"
                    " FROM messages m" AHEAD_HEADERS AHEAD_REST },
        { AHEAD_ROW ", c.uid, c.envelope, c.bodystructure, c.body"
                    " FROM messages m" AHEAD_CACHE AHEAD_REST,
          AHEAD_ROW ", c.uid, c.envelope, c.bodystructure, c.body, h.headers, h.preview, h.uid"
                    " FROM messages m" AHEAD_CACHE AHEAD_HEADERS AHEAD_REST }
    };
    bool is_cache = (want & (STORE_GET_ENVELOPE | STORE_GET_BODYSTRUCTURE | STORE_GET_BODY)) != 0;
    bool is_headers = (want & (STORE_GET_HEADERS | STORE_GET_PREVIEW)) != 0;

    return db_prepare(v->u->db, sql[is_cache][is_headers], s, e);
}

static int
read_ahead(struct store_view *v, uint32_t uid, unsigned want, struct err *e)
{
    struct db_stmt *s;
    struct ahead *a;
    int rc;

    if (prepare_ahead(v, want, &s, e))
        return -1;
    if (v->ahead == NULL)
        v->ahead = MEM_NEW(struct ahead);
    a = v->ahead;
    a->want = want & FORM_BITS;
    a->has_files = v->n_opened > 0;
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
        m->dir = (int)db_int(s, 7);
        if (want & FORM_BITS)
            a->v[a->n].is_missing = db_is_null(s, AHEAD_UID) && db_is_null(s, AHEAD_LAST_UID);
        if (a->v[a->n].is_missing || a->has_files)
            snprintf(m->file, sizeof(m->file), "%.*s", SL_ARG(db_text(s, 8)));
        for (int i = 0; i < FORMS; i++)
            if ((want & form_bits[i]) &&
                !db_is_null(s, i < FORM_HEADERS ? AHEAD_UID : AHEAD_LAST_UID))
                form_take(&a->mem, &a->v[a->n].texts, (enum form)i, s, AHEAD_UID + 1 + i);
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
           (want & FORM_BITS & ~a->want) == 0;
}

static bool
row_has_all(const struct msg_row *m, unsigned want)
{
    return (!(want & STORE_GET_SIZE) || m->crlf >= 0) &&
           (!(want & STORE_GET_IDS) || m->thread != 0);
}

/* Its place among them; SL_NPOS. */
static size_t
find_ahead(const struct ahead *a, uint32_t uid)
{
    size_t lo = 0, hi = a == NULL ? 0 : a->n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        *(a->v[mid].row.uid < uid ? &lo : &hi) = a->v[mid].row.uid < uid ? mid + 1 : mid;
    }
    return a == NULL || lo == a->n || a->v[lo].row.uid != uid ? SL_NPOS : lo;
}

static bool
from_ahead(const struct store_view *v, uint32_t uid, unsigned want, struct store_msg *out)
{
    const struct ahead *a = v->ahead;
    struct form_texts t = { 0 };
    size_t lo = find_ahead(a, uid);

    if (lo == SL_NPOS || !has_all(&a->v[lo].texts, want) || !row_has_all(&a->v[lo].row, want))
        return false;
    for (int i = 0; i < FORMS; i++) {
        const struct form_texts *from = &a->v[lo].texts;

        if (want & form_bits[i])
            form_add(&out->mem, &t, (enum form)i,
                     from->at[i] == SL_NPOS ? sl_n(NULL, 0)
                                            : sl_n(buf_slice(&a->mem).p + from->at[i], from->n[i]));
    }
    fill_msg(out, &a->v[lo].row);
    fill_texts(out, &t);
    return true;
}

/* ---- one message ---- */

static int
load_row(struct store_view *v, uint32_t seq, struct msg_row *m, struct err *e)
{
    int rc;

    if (seq == 0 || seq > v->n || v->is_gone || v->is_asleep)
        return file_gone(e);
    rc = msg_load(v->u, v->mailbox, view_uid_at(v, seq - 1), m, e);
    return rc < 0 ? -1 : rc == 0 ? file_gone(e) : 0;
}

/* What was computed before and is not in the index yet. An id is told from the index alone. */
static bool
from_fresh(struct store_view *v, struct msg_row *m, unsigned want, struct store_msg *out)
{
    const struct forms *f = fresh_of(v, m->uid);
    struct form_texts t = { 0 };

    if (f == NULL)
        return false;
    if (m->crlf < 0)
        m->crlf = f->crlf;
    if (!row_has_all(m, want))
        return false;
    take_forms(f, want, &out->mem, &t);
    fill_msg(out, m);
    fill_texts(out, &t);
    return true;
}

struct lookup {
    struct msg_row m;
    int fd;       /* open, when it must be computed */
    bool is_kept; /* the index has its rows, but some form is too long to keep */
};

/* Nothing was computed of it when rows were read ahead: its file is open, unless it has another name by now or something
 * was computed by us. Somebody else may have computed it meanwhile, to the same end. No lock. */
static bool
open_ahead(struct store_view *v, uint32_t uid, unsigned want, struct lookup *l)
{
    size_t at = find_ahead(v->ahead, uid);
    struct place p = place_of(v);
    struct err why = { 0 };

    if (at == SL_NPOS || !v->ahead->v[at].is_missing || (want & FORM_BITS & ~v->ahead->want) != 0 ||
        fresh_of(v, uid) != NULL)
        return false;
    l->m = v->ahead->v[at].row;
    return file_open(&p, &l->m, &l->fd, &why) == 1;
}

/* The rows from that message on, when it follows the one before: is its own among them? */
static bool
read_names(struct store_view *v, uint32_t uid)
{
    struct err why = { 0 };
    int rc;

    if (ahead_covers(v->ahead, uid, 0))
        return v->ahead->has_files;
    if (user_lock(v->u, &why))
        return false;
    rc = read_ahead(v, uid, 0, &why);
    user_unlock(v->u);
    return rc == 0;
}

bool
view_open_next(struct store_view *v, uint32_t seq, int *fd)
{
    struct place p = place_of(v);
    struct err why = { 0 };
    bool is_next;
    uint32_t uid;
    size_t at;

    if (seq == 0 || seq > v->n || v->is_gone || v->is_asleep || view_gone_at(v, seq - 1))
        return false;
    uid = view_uid_at(v, seq - 1);
    v->n_opened = seq == v->last_opened + 1 ? v->n_opened + 1 : 1;
    v->last_opened = seq;
    is_next = v->n_opened > 1 && (v->kept == NULL || v->kept_uid != uid);
    if (!is_next || !read_names(v, uid))
        return false;
    at = find_ahead(v->ahead, uid);
    return at != SL_NPOS && file_open(&p, &v->ahead->v[at].row, fd, &why) == 1;
}

/* With user.lock: 0 told; 1 must be computed; -1 e. */
static int
from_index(struct store_view *v, uint32_t seq, unsigned want, struct store_msg *out,
           struct lookup *l, struct err *e)
{
    struct msg_row *m = &l->m;
    struct place p = place_of(v);
    struct form_texts t = { 0 };
    int rc = 1;

    if (seq == v->last_fetched + 1 && seq <= v->n && !v->is_asleep &&
        !ahead_covers(v->ahead, view_uid_at(v, seq - 1), want)) {
        /* the mailbox is being gone through */
        if (read_ahead(v, view_uid_at(v, seq - 1), want, e))
            return -1;
        if (from_ahead(v, view_uid_at(v, seq - 1), want, out))
            return 0;
        if (open_ahead(v, view_uid_at(v, seq - 1), want, l))
            return 1;
    }
    if (load_row(v, seq, m, e))
        return -1;
    if ((want & STORE_GET_IDS) && m->thread == 0 && fresh_of(v, m->uid) != NULL) {
        save_fresh(v);
        if (load_row(v, seq, m, e))
            return -1;
    }
    if (from_fresh(v, m, want, out))
        return 0;
    if (want & FORM_BITS)
        rc = cache_load(v->u, v->mailbox, m->uid, want, &out->mem, &t, e);
    if (rc < 0)
        return -1;
    if (rc == 1 && has_all(&t, want) && row_has_all(m, want)) {
        fill_msg(out, m);
        fill_texts(out, &t);
        return 0;
    }
    buf_reset(&out->mem);
    if (rc == 1)
        rc = cache_has(v->u, v->mailbox, m->uid, e);
    l->is_kept = rc == 1 && row_has_all(m, STORE_GET_SIZE | STORE_GET_IDS);
    return rc < 0 || file_find(&p, m, &l->fd, e) ? -1 : 1;
}

/* Everything that a message is ever asked for, since its file is open and read now. */
static int
compute(struct store_view *v, struct lookup *l, unsigned want, struct store_msg *out, struct err *e)
{
    struct msg_row *m = &l->m;
    struct place p = place_of(v);
    struct form_texts t = { 0 };
    struct store_file *file;
    struct forms *f;
    int rc = 0;

    if (make_room(v, e) || file_read(&p, l->fd, false, &file, e))
        return -1;
    f = &v->fresh[v->n_fresh++];
    forms_compute(store_file_octets(file), f);
    v->fresh_octets += forms_octets(f);
    store_file_close(&file);
    f->uid = m->uid;
    v->fresh_last = f->uid > v->fresh_last ? f->uid : v->fresh_last;
    f->is_kept = l->is_kept;
    if (m->crlf < 0)
        m->crlf = f->crlf;
    take_forms(f, want, &out->mem, &t);
    if ((want & STORE_GET_IDS) && m->thread == 0) {
        if (user_lock(v->u, e))
            return -1;
        view_save_fresh(v);
        rc = msg_load(v->u, v->mailbox, m->uid, m, e);
        user_unlock(v->u);
        if (rc < 1)
            return rc < 0 ? -1 : file_gone(e);
    }
    fill_msg(out, m);
    fill_texts(out, &t);
    return 0;
}

static bool
one_batch(void *arg)
{
    (void)arg;
    return true;
}

/* Ids are told from the index alone: who goes through a mailbox for them would have a transaction for each message. So
 * the next dozens are computed at once. What fails here is told of the message itself. */
static void
fill_ids(struct store_view *v, uint32_t uid)
{
    size_t at = find_ahead(v->ahead, uid);
    struct store_uids next = { 0 };
    struct err why = { 0 };
    uint32_t done = 0;

    if (at == SL_NPOS || v->ahead->v[at].row.thread != 0)
        return;
    store_uids_add(&next, uid, v->ahead->v[v->ahead->n - 1].row.uid);
    cache_fill(v, &next, &done, one_batch, NULL, &why); /* drops what was read ahead */
    store_uids_free(&next);
}

int
store_fetch(struct store_view *v, uint32_t seq, unsigned want, struct store_msg *out, struct err *e)
{
    bool is_there = seq > 0 && seq <= v->n && !v->is_asleep && !view_gone_at(v, seq - 1);
    uint32_t uid = is_there ? view_uid_at(v, seq - 1) : 0;
    struct lookup l = { .fd = -1 };
    int rc = 1;

    memset(out, 0, sizeof(*out));
    if (is_there && from_ahead(v, uid, want, out)) {
        v->last_fetched = seq;
        return 0;
    }
    if (is_there && (want & STORE_GET_IDS) && seq == v->last_fetched + 1)
        fill_ids(v, uid);
    if (!is_there || !open_ahead(v, uid, want, &l)) {
        if (user_lock(v->u, e))
            return -1;
        rc = from_index(v, seq, want, out, &l, e);
        user_unlock(v->u);
    }
    v->last_fetched = seq;
    if (rc == 1) {
        rc = compute(v, &l, want, out, e);
        close(l.fd);
    }
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
