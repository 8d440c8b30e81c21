/* pop3d/uidl.c - what messages are called: RFC 1939 §7. What was told before and kept stays, an old server's or our own; else the
 * header's X-UIDL where pop3_reuse_xuidl has it; else pop3_uidl_format. With a format of UID and UIDVALIDITY alone, such as the
 * default, nothing but memory is asked. */
#include "pop3d/pop3d.h"

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "mime/mime.h"
#include "pop3d/formats.h"

#include <stdlib.h>

enum { BATCH = 256 };

/* ---- what the format makes of a message ---- */

struct values {
    const struct pop3_sess *s;
    uint32_t uid;
    struct slice file, guid;
};

static void
add_value(void *arg, size_t i, struct buf *out)
{
    const struct values *x = arg;

    switch (i) {
    case POP3_UIDL_VALIDITY:
        buf_addu(out, x->s->uidvalidity);
        break;
    case POP3_UIDL_UID:
        buf_addu(out, x->uid);
        break;
    case POP3_UIDL_FILE:
        buf_adds(out, x->file);
        break;
    case POP3_UIDL_GUID:
        buf_adds(out, x->guid.p ? x->guid : x->file);
        break;
    default:
        break;
    }
}

/* Printable ASCII without blanks: §7. What else a file's name has goes in hexadecimal. */
static void
add_printable(struct buf *out, struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] > ' ' && s.p[i] < 0x7f)
            buf_addc(out, s.p[i]);
        else
            buf_addf(out, "%%%02x", (unsigned char)s.p[i]);
}

static void
add_formatted(struct buf *out, const struct values *x)
{
    struct buf b = { 0 };

    percent_expand(&b, sl_z(x->s->conf->pop3_uidl_format), pop3_uidl_vars, POP3_UIDL_VARS,
                   add_value, (void *)x);
    add_printable(out, buf_slice(&b));
    buf_free(&b);
}

static bool
format_has(const struct pop3_sess *s, size_t var)
{
    return percent_has(sl_z(s->conf->pop3_uidl_format), pop3_uidl_vars, POP3_UIDL_VARS, var);
}

/* ---- a batch of messages, in a job ---- */

struct named {
    size_t i; /* of s->v */
    struct slice uidl;
    bool is_kept, is_there;
};
struct batch {
    struct pop3_sess *s;
    struct named v[BATCH];
    size_t n, at; /* at: the row to come is at least this one's, where they go by UID */
    struct arena mem;
};

static void
take_row(void *arg, const struct store_pop3_row *r)
{
    struct batch *b = arg;
    struct buf text = { 0 };
    struct named *x;

    while (b->at < b->n && b->s->v[b->v[b->at].i].uid < r->uid)
        b->at++;
    if (b->at == b->n || b->s->v[b->v[b->at].i].uid != r->uid)
        return;
    x = &b->v[b->at++];
    x->is_there = true;
    x->is_kept = r->uidl.p != NULL;
    if (x->is_kept)
        add_printable(&text, r->uidl);
    else
        add_formatted(&text, &(struct values){ b->s, r->uid, r->file, r->guid });
    x->uidl = arena_dup(&b->mem, buf_slice(&text));
    buf_free(&text);
}

/* 1 and *out; 0: none. */
static int
read_xuidl(struct batch *b, const struct named *x, struct slice *out)
{
    struct pop3_sess *s = b->s;
    uint32_t seq = store_view_seq(s->view, s->v[x->i].uid);
    struct store_file *f = NULL;
    struct buf text = { 0 }, clean = { 0 };
    struct slice raw;

    if (seq == 0)
        return 0;
    if (store_header_open(s->view, seq, &f, &s->err) != 0) {
        if (s->err.kind != ERR_NOTFOUND)
            return -1;
        memset(&s->err, 0, sizeof s->err);
        return 0;
    }
    raw = mime_get_field(mime_header_of(store_file_octets(f)), "X-UIDL");
    if (raw.p)
        mime_unfold(raw, &text);
    add_printable(&clean, sl_trim(buf_slice(&text)));
    *out = arena_dup(&b->mem, sl_head(buf_slice(&clean), STORE_UIDL_MAX_OCTETS));
    store_file_close(&f);
    buf_free(&text);
    buf_free(&clean);
    return out->n > 0;
}

/* -2, -3 behind those that have been before: pop3_uidl_duplicates. */
static struct slice
rename_duplicate(struct pop3_sess *s, struct arena *mem, struct slice uidl)
{
    uintptr_t n;

    while ((n = (uintptr_t)map_get(s->uidl_names, uidl)) != 0) {
        map_set(s->uidl_names, uidl, (void *)(n + 1));
        uidl = sl_z(arena_printf(mem, "%.*s-%u", SL_ARG(uidl), (unsigned)n + 1));
    }
    map_set(s->uidl_names, uidl, (void *)1);
    return uidl;
}

static int
look_up(struct batch *b)
{
    struct pop3_sess *s = b->s;

    if (s->is_by_uid)
        return store_pop3_rows(s->view, s->v[b->v[0].i].uid, s->v[b->v[b->n - 1].i].uid, 0,
                               take_row, b, &s->err);
    for (b->at = 0; b->at < b->n;) {
        size_t at = b->at;
        uint32_t uid = s->v[b->v[at].i].uid;

        if (store_pop3_rows(s->view, uid, uid, 0, take_row, b, &s->err) != 0)
            return -1;
        b->at = at + 1;
    }
    return 0;
}

static int
save(struct batch *b)
{
    struct store_uidl *l = mem_alloc(sizeof *l * BATCH);
    size_t n = 0;
    int rc;

    for (size_t k = 0; k < b->n; k++)
        if (b->v[k].is_there && !b->v[k].is_kept)
            l[n++] = (struct store_uidl){ b->s->v[b->v[k].i].uid, b->v[k].uidl };
    rc = store_pop3_save_uidls(b->s->view, l, n, &b->s->err);
    free(l);
    return rc;
}

/* Messages from s->list_at on, which is stepped on. */
static int
name_batch(struct batch *b)
{
    struct pop3_sess *s = b->s;

    b->n = b->at = 0;
    arena_reset(&b->mem);
    for (; s->list_at < s->list_end && b->n < BATCH; s->list_at++)
        if (s->is_one || s->uidls || !(s->v[s->list_at].is & POP3_MSG_DELETED))
            b->v[b->n++] = (struct named){ .i = s->list_at };
    if (b->n > 0 && look_up(b) != 0)
        return -1;
    for (size_t k = 0; k < b->n; k++) {
        struct named *x = &b->v[k];

        if (x->is_there && !x->is_kept && s->conf->pop3_reuse_xuidl) {
            struct slice own;
            int rc = read_xuidl(b, x, &own);

            if (rc < 0)
                return -1;
            if (rc == 1)
                x->uidl = own;
        }
        if (x->is_there && s->uidl_names)
            x->uidl = rename_duplicate(s, &b->mem, x->uidl);
    }
    return s->conf->pop3_save_uidl ? save(b) : 0;
}

/* ---- all of them, for a session that must know them ---- */

/* 0 done, 1 the turn is over, -1. */
static int
learn(struct batch *b)
{
    struct pop3_sess *s = b->s;
    uint64_t until_ms = clock_mono_ms() + POP3D_TURN_MS;

    if (!s->uidls) {
        s->uidls = mem_zalloc(sizeof s->uidls[0] * (s->n + 1));
        if (strcmp(s->conf->pop3_uidl_duplicates, "rename") == 0)
            s->uidl_names = map_new();
    }
    while (s->list_at < s->list_end) {
        if (clock_mono_ms() >= until_ms)
            return 1;
        if (name_batch(b) != 0)
            return -1;
        for (size_t k = 0; k < b->n; k++)
            if (b->v[k].is_there)
                s->uidls[b->v[k].i] = arena_dupz(&s->uidl_mem, b->v[k].uidl);
    }
    map_free(&s->uidl_names, NULL);
    return 0;
}

static void
forget(struct pop3_sess *s)
{
    map_free(&s->uidl_names, NULL);
    free(s->uidls);
    s->uidls = NULL;
    arena_free(&s->uidl_mem);
}

static void start_listing(struct pop3_sess *s);

static enum work_rc
run_learn(struct work_job *j)
{
    struct pop3_sess *s = pop3_of_job(j);
    struct batch b = { .s = s };
    int rc = pop3_view_wake(s) == 0 ? learn(&b) : -1;

    arena_free(&b.mem);
    if (rc < 0)
        forget(s);
    return rc == 1 && !atomic_load(&s->is_cancelled) ? WORK_YIELD : WORK_DONE;
}

static void
done_learn(struct work_job *j)
{
    struct pop3_sess *s = pop3_of_job(j);

    if (!s->uidls)
        pop3_log_err(s, "UIDL");
    s->is_job_out = false;
    if (!s->conn) {
        pop3_box_update(s, false);
    } else if (!s->uidls) {
        pop3_say_err(s, "UIDLs cannot be told");
        pop3_go_on(s);
    } else {
        s->state = POP3_TRANSACTION;
        start_listing(s);
        if (s->state == POP3_TRANSACTION)
            pop3_go_on(s);
    }
}

/* ---- told as they are made ---- */

static enum work_rc
run_tell(struct work_job *j)
{
    struct pop3_sess *s = pop3_of_job(j);
    struct batch b = { .s = s };
    int rc = pop3_view_wake(s);

    if (rc == 0 && s->list_at == 0 && !s->is_one)
        buf_addz(&s->piece, "+OK\r\n");
    while (rc == 0 && s->list_at < s->list_end && s->piece.n < POP3D_PIECE_OCTETS &&
           !atomic_load(&s->is_cancelled)) {
        rc = name_batch(&b);
        for (size_t k = 0; rc == 0 && k < b.n; k++)
            if (b.v[k].is_there)
                buf_addf(&s->piece, "%s%zu %.*s\r\n", s->is_one ? "+OK " : "", b.v[k].i + 1,
                         SL_ARG(b.v[k].uidl));
    }
    arena_free(&b.mem);
    if (rc == 0 && s->list_at < s->list_end && !atomic_load(&s->is_cancelled))
        return WORK_PARK;
    if (rc == 0 && !s->is_one)
        buf_addz(&s->piece, ".\r\n");
    s->is_whole = rc == 0;
    return WORK_DONE;
}

static void
parked_tell(struct work_job *j)
{
    pop3_of_job(j)->is_begun = true;
    pop3_job_piece(j);
}

static void
done_tell(struct work_job *j)
{
    struct pop3_sess *s = pop3_of_job(j);

    s->is_job_out = false;
    if (!s->is_whole) {
        pop3_log_err(s, "UIDL");
        buf_free(&s->piece);
    }
    if (!s->conn) {
        buf_free(&s->piece);
        pop3_box_update(s, false);
        return;
    }
    if (s->is_whole && s->is_one && s->piece.n == 0)
        pop3_sayf(s, "-ERR Message %zu expunged.\r\n", s->list_end);
    pop3_say(s, buf_slice(&s->piece));
    buf_free(&s->piece);
    if (!s->is_whole && s->is_begun) { /* no way to say so in the middle of a list */
        pop3_end(s, "POP3 UIDLs couldn't be listed");
        return;
    }
    if (!s->is_whole)
        pop3_say_err(s, "UIDLs cannot be told");
    pop3_go_on(s);
}

/* ---- UIDL ---- */

static void
add_uidl(struct pop3_sess *s, size_t i, struct buf *out)
{
    if (s->uidls && !s->uidls[i])
        return; /* it was gone when they were made */
    buf_addf(out, "%zu ", i + 1);
    if (s->uidls)
        buf_addz(out, s->uidls[i]);
    else
        add_formatted(out, &(struct values){ .s = s, .uid = s->v[i].uid });
    buf_addz(out, "\r\n");
}

/* From memory. */
static void
start_listing(struct pop3_sess *s)
{
    struct buf b = { 0 };

    if (!s->is_one) {
        pop3_say(s, SL("+OK\r\n"));
        pop3_list(s, add_uidl);
        return;
    }
    add_uidl(s, s->msg, &b);
    if (b.n > 0)
        pop3_sayf(s, "+OK %.*s", SL_ARG(buf_slice(&b)));
    else
        pop3_sayf(s, "-ERR Message %zu expunged.\r\n", s->msg + 1);
    buf_free(&b);
}

static bool
must_know_all(const struct pop3_sess *s)
{
    return strcmp(s->conf->pop3_uidl_duplicates, "rename") == 0 ||
           percent_has(sl_z(s->conf->pop3_logout_format), pop3_log_vars, POP3_LOG_VARS,
                       POP3_LOG_UIDL_CHANGE);
}

void
pop3_uidl(struct pop3_sess *s, size_t i)
{
    bool is_in_memory = !s->has_kept_uidl && !s->conf->pop3_reuse_xuidl &&
                        !s->conf->pop3_save_uidl && !format_has(s, POP3_UIDL_FILE) &&
                        !format_has(s, POP3_UIDL_GUID);

    s->is_one = i != SIZE_MAX;
    s->msg = s->is_one ? i : 0;
    if (s->uidls || (is_in_memory && !must_know_all(s))) {
        start_listing(s);
    } else if (must_know_all(s)) {
        s->list_at = 0;
        s->list_end = s->n;
        pop3_job(s, POP3_SENDING, run_learn, done_learn, NULL);
    } else {
        s->list_at = s->msg;
        s->list_end = s->is_one ? i + 1 : s->n;
        s->is_whole = s->is_begun = false;
        pop3_job(s, POP3_SENDING, run_tell, done_tell, parked_tell);
    }
}
