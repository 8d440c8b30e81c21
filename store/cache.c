/* store/cache.c - rows of what was computed of messages. */
#include "store/cache.h"

#include "base/mem.h"

enum {
    CACHE_BULK = 128, /* messages at once: there are more to come */
    CACHE_BULK_DB_KIB = 4096
};

const unsigned form_bits[FORMS] = { STORE_GET_ENVELOPE, STORE_GET_BODYSTRUCTURE, STORE_GET_BODY,
                                    STORE_GET_HEADERS, STORE_GET_PREVIEW };

/* ---- reading ---- */

void
form_add(struct buf *mem, struct form_texts *t, enum form i, struct slice s)
{
    t->has[i] = true;
    t->at[i] = s.p == NULL ? SL_NPOS : mem->n;
    t->n[i] = s.n;
    buf_adds(mem, s);
}

void
form_take(struct buf *mem, struct form_texts *t, enum form i, struct db_stmt *s, int column)
{
    if (!db_is_null(s, column))
        form_add(mem, t, i, db_text(s, column).n > 0 ? db_text(s, column) : SL(""));
    else if (i == FORM_HEADERS)
        form_add(mem, t, i, sl_n(NULL, 0));
}

int
cache_load(struct store_user *u, int64_t mailbox, uint32_t uid, unsigned want, struct buf *mem,
           struct form_texts *t, struct err *e)
{
    static const char *const sql[] = {
        "SELECT envelope, bodystructure, body FROM cache WHERE mailbox = ? AND uid = ?",
        "SELECT headers, preview FROM cache_headers WHERE mailbox = ? AND uid = ?"
    };
    static const int first[] = { FORM_ENVELOPE, FORM_HEADERS, FORMS };
    const unsigned asks[] = { want &
                                  (STORE_GET_ENVELOPE | STORE_GET_BODYSTRUCTURE | STORE_GET_BODY),
                              want & (STORE_GET_HEADERS | STORE_GET_PREVIEW) };

    for (int k = 0; k < 2; k++) {
        struct db_stmt *s;
        int rc;

        if (!asks[k])
            continue;
        if (db_prepare(u->db, sql[k], &s, e))
            return -1;
        db_bind_int(s, 1, mailbox);
        db_bind_int(s, 2, uid);
        rc = db_step(s, e);
        if (rc < 1)
            return rc;
        for (int i = first[k]; i < first[k + 1]; i++)
            if (want & form_bits[i])
                form_take(mem, t, (enum form)i, s, i - first[k]);
        db_reset(s);
    }
    return 1;
}

int
cache_has(struct store_user *u, int64_t mailbox, uint32_t uid, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(u->db, "SELECT 1 FROM cache_sort WHERE mailbox = ? AND uid = ?", &s, e))
        return -1;
    db_bind_int(s, 1, mailbox);
    db_bind_int(s, 2, uid);
    rc = db_step(s, e);
    db_reset(s);
    return rc;
}

/* ---- writing ---- */

/* The row's size and thread, where they were not known: what was told stays. 1, 0 there is no such row, -1. */
static int
save_row(struct store_user *u, struct mbox *mb, const struct forms *f, struct err *e)
{
    int64_t size, crlf, email, thread;
    struct db_stmt *s;
    bool is_sized;
    int rc;

    if (db_prepare(u->db,
                   "SELECT size, crlf, email, thread FROM messages WHERE mailbox = ? AND uid = ?",
                   &s, e))
        return -1;
    db_bind_int(s, 1, mb->id);
    db_bind_int(s, 2, f->uid);
    rc = db_step(s, e);
    if (rc < 1)
        return rc;
    size = db_int(s, 0);
    crlf = db_int(s, 1);
    email = db_int(s, 2);
    thread = db_int(s, 3);
    db_reset(s);
    is_sized = crlf >= 0;
    if (is_sized && thread != 0)
        return 1;
    if (thread == 0 && thread_of(u, f, email, &thread, e))
        return -1;
    if (!is_sized)
        crlf = f->crlf;
    if (!is_sized && crlf > size)
        mb->crlf_octets += crlf - size; /* as msg_insert() counted it */
    if (db_prepare(u->db, "UPDATE messages SET crlf = ?, thread = ? WHERE mailbox = ? AND uid = ?",
                   &s, e))
        return -1;
    db_bind_int(s, 1, crlf);
    db_bind_int(s, 2, thread);
    db_bind_int(s, 3, mb->id);
    db_bind_int(s, 4, f->uid);
    return db_run(s, e) ? -1 : 1;
}

static void
bind_form(struct db_stmt *s, int at, const struct forms *f, enum form i)
{
    if (form_is_kept(f, i))
        db_bind_text(s, at, f->form[i].n > 0 ? buf_slice(&f->form[i]) : SL(""));
    else
        db_bind_null(s, at);
}

static int
save_texts(struct store_user *u, int64_t mailbox, const struct forms *f, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(u->db, "INSERT OR REPLACE INTO cache VALUES (?, ?, ?, ?, ?)", &s, e))
        return -1;
    db_bind_int(s, 1, mailbox);
    db_bind_int(s, 2, f->uid);
    for (int i = 0; i < 3; i++)
        bind_form(s, 3 + i, f, FORM_ENVELOPE + (enum form)i);
    if (db_run(s, e))
        return -1;
    if (db_prepare(u->db, "INSERT OR REPLACE INTO cache_headers VALUES (?, ?, ?, ?)", &s, e))
        return -1;
    db_bind_int(s, 1, mailbox);
    db_bind_int(s, 2, f->uid);
    bind_form(s, 3, f, FORM_HEADERS);
    bind_form(s, 4, f, FORM_PREVIEW);
    return db_run(s, e);
}

static int
save_sort(struct store_user *u, int64_t mailbox, const struct forms *f, struct err *e)
{
    struct db_stmt *s;
    const struct {
        int at;
        enum sort_text text;
    } texts[] = { { 3, SORT_SUBJECT },     { 5, SORT_FROM_KEY },  { 6, SORT_TO_KEY },
                  { 7, SORT_CC_KEY },      { 8, SORT_FROM_NAME }, { 9, SORT_TO_NAME },
                  { 12, SORT_MESSAGE_ID }, { 13, SORT_REFS } };

    if (db_prepare(u->db,
                   "INSERT OR REPLACE INTO cache_sort (mailbox, uid, base_subject, is_reply,"
                   " from_key, to_key, cc_key, from_name, to_name, sent, sent_tz, message_id, refs)"
                   " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                   &s, e))
        return -1;
    db_bind_int(s, 1, mailbox);
    db_bind_int(s, 2, f->uid);
    db_bind_int(s, 4, f->is_reply);
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct slice text = buf_slice(&f->sort[texts[i].text]);

        db_bind_text(s, texts[i].at, text.n > 0 ? text : SL(""));
    }
    if (f->has_sent)
        db_bind_int(s, 10, f->sent_unix_s);
    else
        db_bind_null(s, 10);
    db_bind_int(s, 11, f->has_sent ? f->sent_tz : 0);
    return db_run(s, e);
}

static int
save_all(struct store_user *u, int64_t mailbox, const struct forms *v, size_t n, struct err *e)
{
    struct mbox mb;
    int rc = mbox_load(u, mailbox, &mb, e);

    for (size_t i = 0; rc == 1 && i < n; i++) {
        int is_there;

        if (v[i].is_kept)
            continue;
        /* Only for a message that is still there: nobody would remove the rows again. */
        is_there = save_row(u, &mb, &v[i], e);
        if (is_there == 0)
            continue;
        if (is_there < 0 || save_texts(u, mailbox, &v[i], e) || save_sort(u, mailbox, &v[i], e))
            return -1;
    }
    return rc == 1 ? mbox_save(u, &mb, e) : rc;
}

/* Pages that are changed more than once are written to the log once, if they fit in memory: ids of threads lie all over
 * their table. */
static int
save_bulk(struct store_user *u, int64_t mailbox, const struct forms *v, size_t n, struct err *e)
{
    int rc;

    if (n >= CACHE_BULK)
        db_set_cache(u->db, CACHE_BULK_DB_KIB);
    rc = save_all(u, mailbox, v, n, e);
    if (rc)
        index_rollback(u);
    else
        rc = n >= CACHE_BULK ? index_commit_more(u, e) : index_commit(u, e);
    if (n >= CACHE_BULK)
        db_set_cache(u->db, STORE_DB_CACHE_KIB);
    return rc ? -1 : 0;
}

int
cache_save(struct store_user *u, int64_t mailbox, struct forms *v, size_t n, struct err *e)
{
    if (index_begin(u, e) || save_bulk(u, mailbox, v, n, e))
        return -1;
    for (size_t i = 0; i < n; i++)
        v[i].is_kept = true;
    return 0;
}

int
cache_copy(struct store_user *u, int64_t from, int64_t to, const struct msg_run *run, struct err *e)
{
    static const char *const sql[] = {
        "INSERT OR REPLACE INTO cache SELECT ?1, uid + ?2, envelope, bodystructure, body FROM cache"
        " WHERE mailbox = ?3 AND uid BETWEEN ?4 AND ?5",
        "INSERT OR REPLACE INTO cache_headers SELECT ?1, uid + ?2, headers, preview"
        " FROM cache_headers WHERE mailbox = ?3 AND uid BETWEEN ?4 AND ?5",
        "INSERT OR REPLACE INTO cache_sort SELECT ?1, uid + ?2, base_subject, is_reply, from_key,"
        " to_key, cc_key, from_name, to_name, sent, sent_tz, message_id, refs FROM cache_sort"
        " WHERE mailbox = ?3 AND uid BETWEEN ?4 AND ?5"
    };

    for (size_t i = 0; i < COUNT_OF(sql); i++) {
        struct db_stmt *s;

        if (db_prepare(u->db, sql[i], &s, e))
            return -1;
        db_bind_int(s, 1, to);
        db_bind_int(s, 2, (int64_t)run->to - run->uid);
        db_bind_int(s, 3, from);
        db_bind_int(s, 4, run->uid);
        db_bind_int(s, 5, (int64_t)run->uid + run->n - 1);
        if (db_run(s, e))
            return -1;
    }
    return 0;
}

/* ---- of another version ---- */

static int
version_is_ours(struct store_user *u, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(u->db, "SELECT value FROM meta WHERE key = 'cache'", &s, e))
        return -1;
    rc = db_step(s, e);
    if (rc == 1) {
        rc = db_int(s, 0) == CACHE_VERSION;
        db_reset(s);
    }
    return rc;
}

int
cache_check_version(struct store_user *u, struct err *e)
{
    struct db_stmt *s;
    int rc = version_is_ours(u, e);

    if (rc != 0)
        return rc < 0 ? -1 : 0;
    if (index_begin(u, e))
        return -1;
    rc = version_is_ours(u, e);
    if (rc == 1) { /* another process was quicker */
        index_rollback(u);
        return 0;
    }
    if (rc == 0)
        rc = db_exec(u->db, "DELETE FROM cache; DELETE FROM cache_headers; DELETE FROM cache_sort",
                     e) ||
                     db_prepare(u->db, "INSERT OR REPLACE INTO meta VALUES ('cache', ?)", &s, e)
                 ? -1
                 : 0;
    if (rc == 0) {
        db_bind_int(s, 1, CACHE_VERSION);
        rc = db_run(s, e);
    }
    if (rc) {
        index_rollback(u);
        return -1;
    }
    return index_commit(u, e);
}
