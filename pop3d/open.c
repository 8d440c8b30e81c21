/* pop3d/open.c - INBOX as it is when a session begins: which messages there are, in which order, and how long. Sizes come from
 * the index, which has them from the files' names or from an earlier look; only what is in neither is read, once. */
#include "pop3d/pop3d.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>

enum { ROWS_A_TURN = 5000 };
#define SIZE_UNKNOWN 0xffff /* size_high of a message that must be read */

/* ---- rows ---- */

struct taking {
    struct pop3_sess *s;
    uint32_t seq;    /* of the view, that comes next */
    uint64_t hidden; /* keywords of messages that are not shown */
    uint32_t last_uid;
    size_t n_rows;
};

static void
set_size(struct pop3_msg *m, uint64_t octets)
{
    m->size_low = (uint32_t)octets;
    m->size_high = (uint16_t)(octets >> 32);
}

static void
take_order(struct pop3_sess *s, size_t i, uint32_t order)
{
    if (order != UINT32_MAX && !s->orders) {
        s->orders = mem_alloc(sizeof s->orders[0] * s->n_max);
        for (size_t k = 0; k < i; k++)
            s->orders[k] = UINT32_MAX;
    }
    if (s->orders)
        s->orders[i] = order;
}

static void
take_row(void *arg, const struct store_pop3_row *r)
{
    struct taking *t = arg;
    struct pop3_sess *s = t->s;
    struct pop3_msg *m = &s->v[s->n];
    struct store_row row;

    t->n_rows++;
    t->last_uid = r->uid;
    while (store_view_row(s->view, t->seq, &row) && row.uid < r->uid)
        t->seq++; /* expunged since */
    if (!store_view_row(s->view, t->seq, &row) || row.uid != r->uid || (row.flags.kw & t->hidden))
        return; /* come since, or not to be seen */
    *m = (struct pop3_msg){ .uid = r->uid,
                            .is = row.flags.sys & STORE_SEEN ? POP3_MSG_WAS_SEEN : 0 };
    if (r->crlf_octets >= 0)
        set_size(m, (uint64_t)r->crlf_octets);
    else if (s->conf->pop3_fast_size_lookups)
        set_size(m, (uint64_t)r->file_octets);
    else
        m->size_high = SIZE_UNKNOWN;
    if (r->uidl.p)
        s->has_kept_uidl = true;
    take_order(s, s->n, r->order);
    s->n++;
}

/* A keyword that the mailbox does not have hides nothing. */
static uint64_t
hidden_keywords(struct pop3_sess *s)
{
    struct slice name = sl_z(s->conf->pop3_deleted_flag);
    const char *k;

    for (size_t i = 0; name.n > 0 && (k = store_view_keyword(s->view, i)) != NULL; i++)
        if (sl_ieqz(name, k))
            return (uint64_t)1 << i;
    return 0;
}

/* 1: there are more. */
static int
take_rows(struct pop3_sess *s)
{
    struct taking t = { .s = s, .hidden = hidden_keywords(s) };

    t.seq = store_view_seq_at_least(s->view, s->next_uid);
    if (store_pop3_rows(s->view, s->next_uid, UINT32_MAX, ROWS_A_TURN, take_row, &t, &s->err) != 0)
        return -1;
    s->next_uid = t.last_uid + 1;
    return t.n_rows == ROWS_A_TURN;
}

/* ---- sizes that must be read ---- */

static int
read_size(struct pop3_sess *s, struct pop3_msg *m)
{
    struct store_msg got = { 0 };

    if (store_fetch(s->view, store_view_seq(s->view, m->uid), STORE_GET_SIZE, &got, &s->err) != 0)
        return s->err.kind == ERR_NOTFOUND ? 0 : -1;
    set_size(m, got.size_octets);
    store_msg_free(&got);
    return 1;
}

/* 1: the turn is over. What was expunged meanwhile is taken out at the end. */
static int
read_sizes(struct pop3_sess *s)
{
    uint64_t until_ms = clock_mono_ms() + POP3D_TURN_MS;

    for (; s->list_at < s->n; s->list_at++) {
        struct pop3_msg *m = &s->v[s->list_at];

        if (m->size_high != SIZE_UNKNOWN)
            continue;
        if (clock_mono_ms() >= until_ms)
            return 1;
        if (read_size(s, m) < 0)
            return -1;
    }
    return 0;
}

static void
drop_gone(struct pop3_sess *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++) {
        if (s->v[i].size_high == SIZE_UNKNOWN)
            continue;
        if (s->orders)
            s->orders[n] = s->orders[i];
        s->v[n++] = s->v[i];
    }
    s->n = n;
}

/* ---- order ---- */

struct placed {
    uint32_t order;
    struct pop3_msg m;
};

/* The order an old server gave, then by UID. */
static int
cmp_placed(const void *a, const void *b)
{
    const struct placed *x = a, *y = b;

    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return x->m.uid < y->m.uid ? -1 : x->m.uid > y->m.uid;
}

static void
put_in_order(struct pop3_sess *s)
{
    struct placed *p;

    s->is_by_uid = !s->orders;
    if (!s->orders)
        return;
    p = mem_alloc(sizeof *p * (s->n + 1));
    for (size_t i = 0; i < s->n; i++)
        p[i] = (struct placed){ s->orders[i], s->v[i] };
    qsort(p, s->n, sizeof *p, cmp_placed);
    for (size_t i = 0; i < s->n; i++)
        s->v[i] = p[i].m;
    free(p);
    free(s->orders);
    s->orders = NULL;
}

static void
sum_up(struct pop3_sess *s)
{
    for (size_t i = 0; i < s->n; i++) {
        s->size_octets += pop3_size(&s->v[i]);
        if (s->v[i].is & POP3_MSG_WAS_SEEN)
            s->last_seen = (uint32_t)i + 1;
    }
    if (s->n < s->n_max)
        s->v = mem_realloc(s->v, sizeof s->v[0] * (s->n + 1));
}

/* ---- the job ---- */

static int
open_view(struct pop3_sess *s)
{
    struct store_userdb db = { sl_z(s->mail), sl_z(s->quota) };
    struct store_box box;

    if ((!s->store && store_user_open(pop3d.store, sl_z(s->user), &db, &s->store, &s->err) != 0) ||
        store_pop3_select(s->store, s->conf->pop3_no_flag_updates, &s->view, &s->err) != 0)
        return -1;
    store_view_box(s->view, &box);
    if (box.exists > POP3D_MESSAGES_MAX)
        return err_set(&s->err, ERR_LIMIT, "too many messages: %u", (unsigned)box.exists);
    s->uidvalidity = box.uidvalidity;
    s->n_max = box.exists + 1; /* a row is made before it is counted */
    s->v = mem_alloc(sizeof s->v[0] * s->n_max);
    s->next_uid = 1;
    return 0;
}

static enum work_rc
run_open(struct work_job *j)
{
    struct pop3_sess *s = pop3_of_job(j);
    int rc = s->view ? 0 : open_view(s);

    if (rc == 0 && s->next_uid > 0) {
        rc = take_rows(s);
        if (rc == 1 && !atomic_load(&s->is_cancelled))
            return WORK_YIELD;
        s->next_uid = 0;
    }
    if (rc == 0) {
        rc = read_sizes(s);
        if (rc == 1 && !atomic_load(&s->is_cancelled))
            return WORK_YIELD;
    }
    if (rc < 0)
        return WORK_DONE;
    s->err.kind = ERR_NONE;
    store_pop3_keep_sizes(s->view);
    drop_gone(s);
    put_in_order(s);
    sum_up(s);
    return WORK_DONE;
}

static void
done_open(struct work_job *j)
{
    struct pop3_sess *s = pop3_of_job(j);

    s->list_at = 0;
    if (s->err.kind != ERR_NONE)
        pop3_log_err(s, "opening INBOX");
    if (!pop3_job_back(s))
        return;
    if (s->err.kind != ERR_NONE) {
        pop3_say_err(s, "The mailbox cannot be opened");
        pop3_end(s, "Mailbox could not be opened");
        return;
    }
    pop3_say(s, SL("+OK Logged in.\r\n"));
    pop3_go_on(s);
}

void
pop3_box_open(struct pop3_sess *s)
{
    pop3_job(s, POP3_OPENING, run_open, done_open, NULL);
}
