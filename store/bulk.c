/* store/bulk.c - see bulk.h. */
#include "store/bulk.h"

/* A table in the order of UIDs. */
struct cursor {
    struct db_stmt *s;
    uint32_t uid; /* of the row that is there; 0: no more */
};

struct scan {
    struct bulk *b;
    struct cursor messages, sort, headers;
    bool is_second; /* what is missing now stays so */
    void (*take)(void *to, const struct bulk_row *r);
    void *to;
};

static int
step(struct cursor *c, struct err *e)
{
    int rc = db_step(c->s, e);

    c->uid = rc == 1 ? (uint32_t)db_int(c->s, 0) : 0;
    return rc < 0 ? -1 : 0;
}

static int
open_cursor(const struct bulk *b, struct cursor *c, const char *sql, uint32_t first, uint32_t last,
            struct err *e)
{
    if (db_prepare(b->v->u->db, sql, &c->s, e))
        return -1;
    db_bind_int(c->s, 1, b->v->mailbox);
    db_bind_int(c->s, 2, first);
    db_bind_int(c->s, 3, last);
    return step(c, e);
}

static void
close_cursor(struct cursor *c)
{
    if (c->s)
        db_reset(c->s);
}

/* Is the row of that UID there? */
static int
seek(struct cursor *c, uint32_t uid, bool *is_there, struct err *e)
{
    while (c->uid != 0 && c->uid < uid)
        if (step(c, e))
            return -1;
    *is_there = c->uid == uid;
    return 0;
}

#define OF_MAILBOX " WHERE mailbox = ? AND uid BETWEEN ? AND ? ORDER BY uid"

/* A column that is not read is time that is not spent. */
static const char *
sort_columns(unsigned need)
{
    if (need & BULK_SUBJECT)
        return "SELECT uid, base_subject FROM cache_sort" OF_MAILBOX;
    if (need & BULK_SENT)
        return "SELECT uid, sent FROM cache_sort" OF_MAILBOX;
    if (need & BULK_LINKS)
        return "SELECT uid, base_subject, is_reply, sent, message_id, refs FROM "
               "cache_sort" OF_MAILBOX;
    return "SELECT uid, base_subject, is_reply, sent, message_id, refs, from_key, to_key, cc_key, "
           "from_name, to_name, sent_tz FROM cache_sort" OF_MAILBOX;
}

static int
open_cursors(struct scan *s, uint32_t first, uint32_t last, struct err *e)
{
    if (open_cursor(s->b, &s->messages,
                    s->b->need & BULK_BRIEF
                        ? "SELECT uid, crlf, date FROM messages" OF_MAILBOX
                        : "SELECT uid, crlf, date, tz, savedate, email, thread, dir, file "
                          "FROM messages" OF_MAILBOX,
                    first, last, e))
        return -1;
    if ((s->b->need & BULK_SORT) &&
        open_cursor(s->b, &s->sort, sort_columns(s->b->need), first, last, e))
        return -1;
    if ((s->b->need & BULK_HEADERS) &&
        open_cursor(s->b, &s->headers, "SELECT uid, headers FROM cache_headers" OF_MAILBOX, first,
                    last, e))
        return -1;
    return 0;
}

static void
read_message(struct bulk_row *r, struct db_stmt *s, unsigned need)
{
    r->crlf = db_int(s, 1);
    r->date_s = db_int(s, 2);
    if (need & BULK_BRIEF)
        return;
    r->tz_minutes = (int)db_int(s, 3);
    r->savedate_s = db_int(s, 4);
    r->email = db_int(s, 5);
    r->thread = db_int(s, 6);
    r->dir = (int)db_int(s, 7);
    r->file = db_text(s, 8);
}

static void
read_sort(struct bulk_row *r, struct db_stmt *s, unsigned need)
{
    if (need & BULK_SENT) {
        r->has_sent = !db_is_null(s, 1);
        r->sent_s = db_int(s, 1);
        return;
    }
    r->base_subject = db_text(s, 1);
    if (need & BULK_SUBJECT)
        return;
    r->is_reply = db_int(s, 2) != 0;
    r->has_sent = !db_is_null(s, 3);
    r->sent_s = db_int(s, 3);
    r->message_id = db_text(s, 4);
    r->refs = db_text(s, 5);
    if (need & BULK_LINKS)
        return;
    r->from_key = db_text(s, 6);
    r->to_key = db_text(s, 7);
    r->cc_key = db_text(s, 8);
    r->from_name = db_text(s, 9);
    r->to_name = db_text(s, 10);
    r->sent_tz_minutes = (int16_t)db_int(s, 11);
}

static bool
is_whole(const struct bulk *b, const struct bulk_row *r)
{
    return !((b->need & BULK_SIZE) && r->crlf < 0) && !((b->need & BULK_THREAD) && !r->thread) &&
           !((b->need & BULK_SORT) && !r->has_sort) &&
           !((b->need & BULK_HEADERS) && !r->has_headers);
}

static int
read_one(struct scan *s, uint32_t seq, struct err *e)
{
    struct bulk *b = s->b;
    struct bulk_row r = { .seq = seq, .uid = view_uid_at(b->v, seq - 1) };

    if (seek(&s->messages, r.uid, &r.is_there, e))
        return -1;
    if (r.is_there) {
        read_message(&r, s->messages.s, b->need);
        if ((b->need & BULK_SORT) && seek(&s->sort, r.uid, &r.has_sort, e))
            return -1;
        if (r.has_sort)
            read_sort(&r, s->sort.s, b->need);
        if ((b->need & BULK_HEADERS) && seek(&s->headers, r.uid, &r.has_headers, e))
            return -1;
        if (r.has_headers)
            r.headers = db_is_null(s->headers.s, 1) ? sl_n(NULL, 0) : db_text(s->headers.s, 1);
    }
    if (r.is_there && !s->is_second && !is_whole(b, &r))
        store_uids_add(&b->missing, r.uid, r.uid);
    else
        s->take(s->to, &r);
    return 0;
}

/* A run of messages so close together that the rows between them may be read too. */
static size_t
end_of_run(const struct bulk *b, size_t from, size_t end)
{
    size_t i = from + 1;

    while (i < end && b->seqs[i] - b->seqs[from] < BULK_SPARSE * (i - from + 1))
        i++;
    return i;
}

/* The block in work; what is missing of it alone when is_second. */
static int
read_block(struct scan *s, struct err *e)
{
    struct bulk *b = s->b;
    int rc = 0;

    for (size_t i = b->at, end; rc == 0 && i < b->end; i = end) {
        end = end_of_run(b, i, b->end);
        rc = open_cursors(s, view_uid_at(b->v, b->seqs[i] - 1),
                          view_uid_at(b->v, b->seqs[end - 1] - 1), e);
        for (size_t k = i; rc == 0 && k < end; k++)
            if (!s->is_second || store_uids_has(&b->missing, view_uid_at(b->v, b->seqs[k] - 1)))
                rc = read_one(s, b->seqs[k], e);
        close_cursor(&s->messages);
        close_cursor(&s->sort);
        close_cursor(&s->headers);
    }
    return rc;
}

static int
read_locked(struct scan *s, struct err *e)
{
    int rc;

    if (user_lock(s->b->v->u, e))
        return -1;
    rc = read_block(s, e);
    user_unlock(s->b->v->u);
    return rc;
}

int
bulk_run(struct bulk *b, void (*take)(void *to, const struct bulk_row *r), void *to,
         bool (*yield)(void *), void *arg, struct err *e)
{
    while (b->at < b->n) {
        struct scan s = { .b = b, .take = take, .to = to, .is_second = b->missing.n > 0 };
        int rc;

        if (!s.is_second) {
            b->end = b->n - b->at > BULK_BLOCK ? b->at + BULK_BLOCK : b->n;
            b->fill_at = 0;
            if (read_locked(&s, e))
                return -1;
        }
        if (b->missing.n > 0) {
            rc = cache_fill(b->v, &b->missing, &b->fill_at, yield, arg, e);
            if (rc != 0)
                return rc;
            s.is_second = true;
            if (read_locked(&s, e))
                return -1;
            store_uids_free(&b->missing);
        }
        b->at = b->end;
        if (b->at < b->n && yield && yield(arg))
            return 1;
    }
    return 0;
}

void
bulk_end(struct bulk *b)
{
    store_uids_free(&b->missing);
}
