/* queue/salvage.c - what a damaged queue database still has, into a new one. See qdb.h. Its pages are read one by one
 * (pages.h): recipients first, then the messages in the order of their counters, each with the recipients that are left. */
#include "queue/qdb_int.h"

#include "base/clock.h"
#include "base/enc.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/pages.h"
#include "session/queue_id.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COUNTER_GAP = 1 << 20 };

/* Columns of the tables, as qdb.c's schema has them. */
enum { M_N, M_ID, M_ARRIVED, M_SIZE, M_ENV, M_ENV_CRC, M_IS_FILE, M_BODY_CRC, M_BODY, M_COLUMNS };
enum { R_MESSAGE, R_I, R_DUE, R_ATTEMPTS, R_FLAGS, R_STATUS, R_WHY, R_HOP };

struct found_message {
    uint64_t n;
    struct pages_place at;
};
struct found_rcpt {
    uint64_t n;
    int64_t due;
    uint32_t i, attempts, flags;
    char status[12];
    struct pages_place at; /* for `why` and `hop` */
};
struct found {
    struct found_message *messages;
    struct found_rcpt *rcpts;
    size_t n_messages, cap_messages, n_rcpts, cap_rcpts;
};

static bool
is_message(const struct pages_row *row)
{
    uint64_t n;

    return row->is_table && row->n > M_SIZE && row->v[M_ID].kind == PAGES_BYTES &&
           row->v[M_ARRIVED].kind == PAGES_INT && row->v[M_SIZE].kind == PAGES_INT &&
           queue_id_parse(row->v[M_ID].s, NULL, &n, NULL) && n == row->rowid;
}

static bool
is_rcpt(const struct pages_row *row)
{
    const struct pages_value *v = row->v;

    return !row->is_table && row->n > R_FLAGS && v[R_MESSAGE].kind == PAGES_INT &&
           v[R_I].kind == PAGES_INT && v[R_DUE].kind != PAGES_BYTES &&
           v[R_ATTEMPTS].kind == PAGES_INT && v[R_FLAGS].kind == PAGES_INT && v[R_I].i >= 0 &&
           v[R_I].i < QUEUE_RCPTS_MAX;
}

static void
note_row(void *arg, const struct pages_row *row)
{
    struct found *f = arg;

    if (is_message(row)) {
        f->messages =
            mem_grow(f->messages, &f->cap_messages, f->n_messages + 1, sizeof *f->messages);
        f->messages[f->n_messages++] = (struct found_message){ row->rowid, row->place };
    } else if (is_rcpt(row)) {
        const struct pages_value *v = row->v;
        struct found_rcpt *r;
        struct slice status = row->n > R_STATUS ? v[R_STATUS].s : SL("");

        f->rcpts = mem_grow(f->rcpts, &f->cap_rcpts, f->n_rcpts + 1, sizeof *f->rcpts);
        r = &f->rcpts[f->n_rcpts++];
        *r = (struct found_rcpt){ .n = (uint64_t)v[R_MESSAGE].i,
                                  .due = v[R_DUE].kind == PAGES_INT ? v[R_DUE].i : INT64_MIN,
                                  .i = (uint32_t)v[R_I].i,
                                  .attempts = (uint32_t)v[R_ATTEMPTS].i,
                                  .flags = (uint32_t)v[R_FLAGS].i,
                                  .at = row->place };
        status = sl_head(status, sizeof r->status - 1);
        if (status.n > 0)
            memcpy(r->status, status.p, status.n);
    }
}

static int
message_order(const void *a, const void *b)
{
    const struct found_message *x = a, *y = b;

    return x->n < y->n ? -1 : x->n > y->n;
}

static int
rcpt_order(const void *a, const void *b)
{
    const struct found_rcpt *x = a, *y = b;

    if (x->n != y->n)
        return x->n < y->n ? -1 : 1;
    return x->i < y->i ? -1 : x->i > y->i;
}

static void
take_message(const struct pages_row *row, char id[QUEUE_ID_TEXT_OCTETS], struct qdb_message *m)
{
    const struct pages_value *v = row->v;
    struct slice text = sl_head(v[M_ID].s, QUEUE_ID_TEXT_OCTETS - 1);

    memcpy(id, text.p, text.n);
    id[text.n] = '\0';
    *m = (struct qdb_message){ .n = row->rowid,
                               .id = id,
                               .size = (uint64_t)v[M_SIZE].i,
                               .env = v[M_ENV].s,
                               .crc = (uint32_t)v[M_BODY_CRC].i,
                               .is_file = v[M_IS_FILE].i != 0 };
    m->is_env_ok = enc_crc32(0, m->env.p, m->env.n) == (uint32_t)v[M_ENV_CRC].i;
    if (!m->is_file && v[M_BODY].kind == PAGES_BYTES)
        m->body = v[M_BODY].s;
}

static bool
is_whole(const char *files_dir, const struct qdb_message *m)
{
    struct stat st;
    char path[PATH_MAX + QUEUE_ID_TEXT_OCTETS];

    if (!m->is_env_ok)
        return false;
    if (!m->is_file)
        return m->body.n == m->size && enc_crc32(0, m->body.p, m->body.n) == m->crc;
    snprintf(path, sizeof path, "%s/%s", files_dir, m->id);
    return stat(path, &st) == 0 && (uint64_t)st.st_size == m->size;
}

/* The recipients that stand in the rows; their reasons and next hops are borrowed from `text`. */
static size_t
take_rcpts(struct pages *p, const struct found *f, size_t at, uint64_t n, struct qdb_rcpt **out,
           size_t *cap, struct buf *text)
{
    size_t count = 0;
    const char *p_text;

    buf_reset(text);
    for (; at < f->n_rcpts && f->rcpts[at].n == n; at++) {
        const struct found_rcpt *r = &f->rcpts[at];
        struct pages_row row;
        struct slice why = SL(""), hop = SL("");

        if (count > 0 && (*out)[count - 1].i == r->i)
            continue;
        if (pages_read(p, r->at, &row) && is_rcpt(&row)) {
            why = row.n > R_WHY ? row.v[R_WHY].s : SL("");
            hop = row.n > R_HOP ? row.v[R_HOP].s : SL("");
        }
        buf_adds(text, why);
        buf_adds(text, hop);
        *out = mem_grow(*out, cap, count + 1, sizeof **out);
        (*out)[count++] = (struct qdb_rcpt){ .i = r->i,
                                             .due = r->due,
                                             .attempts = r->attempts,
                                             .flags = r->flags,
                                             .status = sl_z(r->status),
                                             .why = sl_n(NULL, why.n),
                                             .hop = sl_n(NULL, hop.n) };
    }
    p_text = buf_slice(text).p;
    for (size_t i = 0; i < count; i++) {
        (*out)[i].why.p = p_text;
        p_text += (*out)[i].why.n;
        (*out)[i].hop.p = p_text;
        p_text += (*out)[i].hop.n;
    }
    return count;
}

static void
tell_messages(struct pages *p, const struct found *f, const char *files_dir, qdb_fn *fn, void *arg,
              uint64_t *bad)
{
    struct qdb_rcpt *rcpts = NULL;
    size_t cap = 0, at = 0;
    struct buf text = { 0 };
    uint64_t last = 0;

    for (size_t k = 0; k < f->n_messages; k++) {
        uint64_t n = f->messages[k].n;
        bool is_next_same = k + 1 < f->n_messages && f->messages[k + 1].n == n;
        struct qdb_message m;
        struct pages_row row;
        char id[QUEUE_ID_TEXT_OCTETS];
        size_t n_rcpts;

        if (n == last) /* told already: its other place is of a page that was moved */
            continue;
        while (at < f->n_rcpts && f->rcpts[at].n < n)
            at++;
        n_rcpts = take_rcpts(p, f, at, n, &rcpts, &cap, &text);
        if (pages_read(p, f->messages[k].at, &row) && is_message(&row) && row.n >= M_COLUMNS) {
            take_message(&row, id, &m);
            m.rcpts = rcpts;
            m.n_rcpts = n_rcpts;
            if (is_whole(files_dir, &m)) {
                fn(arg, &m);
                last = n;
                continue;
            }
        }
        if (!is_next_same)
            ++*bad;
    }
    free(rcpts);
    buf_free(&text);
}

int
qdb_salvage(const char *db_path, qdb_fn *fn, void *arg, uint64_t *bad, struct err *e)
{
    struct found f = { 0 };
    struct buf files = { 0 };
    struct pages *p;

    *bad = 0;
    if (pages_open(db_path, &p, e) != 0)
        return -1;
    buf_adds(&files, sl_head(sl_z(db_path), sl_rfind_char(sl_z(db_path), '/') + 1));
    buf_addz(&files, "files");
    pages_scan(p, note_row, &f);
    if (f.n_messages > 0)
        qsort(f.messages, f.n_messages, sizeof *f.messages, message_order);
    if (f.n_rcpts > 0)
        qsort(f.rcpts, f.n_rcpts, sizeof *f.rcpts, rcpt_order);
    tell_messages(p, &f, buf_z(&files), fn, arg, bad);
    if (pages_unreadable(p) > 0)
        log_error("queue.unreadable", LOG_F(LF_N("pages", pages_unreadable(p))),
                  "%llu pages of %s cannot be read from the disk",
                  (unsigned long long)pages_unreadable(p), db_path);
    buf_free(&files);
    free(f.messages);
    free(f.rcpts);
    pages_close(&p);
    return 0;
}

/* ---- into a new database ---- */

struct salvage {
    struct qdb *q;
    uint64_t taken, failed, highest;
    int rc; /* the new database cannot be written: no use to go on */
    struct err err;
};

/* A recipient as its row had it, except that its message's age begins anew; what was being tried may have been delivered. */
static int
put_state(struct qdb *q, uint64_t n, const struct qdb_rcpt *r, struct err *e)
{
    struct qdb_defer d = { .n = n,
                           .i = r->i,
                           .due = r->due == INT64_MIN ? 0 : r->due,
                           .attempts = r->attempts,
                           .flags = r->flags | QDB_REPEAT,
                           .status = r->status,
                           .why = r->why,
                           .hop = r->hop };

    return qdb_rcpt_defer(q, &d, e);
}

static int
put_rcpts(struct salvage *sv, const struct qdb_message *m, size_t n_env)
{
    size_t k = 0;

    /* No row that can be read: all of the envelope's are tried, none is lost. Else whose row is missing has been served. */
    for (uint32_t i = 0; m->n_rcpts > 0 && i < n_env; i++) {
        while (k < m->n_rcpts && m->rcpts[k].i < i)
            k++;
        if (k < m->n_rcpts && m->rcpts[k].i == i) {
            if (put_state(sv->q, m->n, &m->rcpts[k], &sv->err) != 0)
                return -1;
        } else if (qdb_rcpt_done(sv->q, m->n, i, &sv->err) != 0) {
            return -1;
        }
    }
    return 0;
}

static void
salvage_row(void *arg, const struct qdb_message *m)
{
    struct salvage *sv = arg;
    struct arena a = { 0 };
    struct queue_env env;
    int64_t us;
    struct err e = { 0 };
    struct qdb_put p = {
        .n = m->n, .id = m->id, .env = m->env, .size = m->size, .crc = m->crc, .body = m->body
    };
    char path[PATH_MAX];

    if (sv->rc != 0)
        return;
    if (queue_env_unpack(m->env, &a, &env, &us, &e) != 0) {
        sv->failed++;
    } else {
        if (m->n >= sv->q->next)
            sv->q->next = m->n + 1;
        p.n_rcpts = (uint32_t)env.n_rcpts;
        p.due = env.hold.n > 0 ? QDB_DUE_HELD : 0; /* where no row tells better */
        if (m->is_file)
            p.file = qdb_file_path(sv->q, m->id, path, sizeof path);
        sv->rc = qdb_put(sv->q, &p, &sv->err) != 0 || put_rcpts(sv, m, env.n_rcpts) != 0 ? -1 : 0;
        sv->taken++;
        sv->highest = m->n > sv->highest ? m->n : sv->highest;
    }
    arena_free(&a);
}

int
qdb_salvage_into(struct qdb *q, const char *damaged_path, struct err *e)
{
    struct salvage sv = { .q = q };
    uint64_t bad = 0, first;

    if (qdb_begin(q, e) != 0)
        return -1;
    if (qdb_salvage(damaged_path, salvage_row, &sv, &bad, e) != 0) {
        qdb_rollback(q);
        return -1;
    }
    if (sv.rc != 0) {
        *e = sv.err;
        qdb_rollback(q);
        return -1;
    }
    if (sv.highest >= q->next - 1)
        q->next = sv.highest + COUNTER_GAP;
    if (qdb_grant(q, 1, &first, e) != 0) {
        qdb_rollback(q);
        return -1;
    }
    log_error("queue.salvaged", LOG_F(LF_N("taken", sv.taken), LF_N("lost", bad + sv.failed)),
              "%llu messages salvaged from %s, %llu could not be read",
              (unsigned long long)sv.taken, damaged_path, (unsigned long long)(bad + sv.failed));
    return qdb_commit(q, e);
}
