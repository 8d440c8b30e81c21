/* tests/store/random_main.c - random work of many kinds at one user's mail, by several processes at once that are killed
 * at random moments. Run by tests/lib/storerandom.py, which has "facts" judged against what "dump" finds.
 *
 *   random work DIR FACTS SEED SECONDS WORKERS OUTSIDERS DELIVERERS KILL_MS   (KILL_MS 0: nobody is killed from here)
 *   random cross DIR FACTS SEED       so many messages come and go that UIDs and MODSEQs reserved before are used up
 *   random dump DIR                                                           what the store tells of everything
 *
 * What can be seen at once is checked at once: a client's picture of a mailbox, made of what store_view_sync() tells
 * alone, is the view's and a fresh one's; STATUS is what can be counted; MODSEQ and UIDNEXT never go back, whoever
 * looks. A finding is "violation: ..." and status 3. */
#include "tests/store/random.h"

#include "base/clock.h"
#include "core/loop.h"
#include "store/deliver.h"
#include "store/quota.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <utime.h>

enum {
    KIDS_MAX = 16,
    THREADS = 2, /* of every second worker */
    TRAIL = 40,
    TRAIL_OCTETS = 120,
    BOX_AIM = 50,
    FLIGHT_MAX = 4, /* deliveries of one deliverer at a time */
    VALIDITIES = 4096,
    HANG_S =
        75 /* under the fault layer a first count of a user waits for three others that never rest */
};

struct box {
    const char *name, *dir;
    char kind; /* s: stays, d: may be deleted, r: may be renamed */
};
static const struct box boxes[] = { { "INBOX", "", 's' },
                                    { "Sent", ".Sent/", 's' },
                                    { "Lists.One", ".Lists.One/", 's' },
                                    { "Lists.Two", ".Lists.Two/", 's' },
                                    { "Tmp.A", ".Tmp.A/", 'd' },
                                    { "Tmp.A.below", ".Tmp.A.below/", 'd' },
                                    { "Ren.1", ".Ren.1/", 'r' },
                                    { "Ren.2", ".Ren.2/", 'r' },
                                    { "Ren.3", ".Ren.3/", 'r' } };
enum { N_BOXES = sizeof boxes / sizeof *boxes };

struct flight {
    uint64_t ident, token, op; /* ident 0: free */
    uint32_t box;
    bool is_repeat;
};
struct shared { /* by all processes; outlives them */
    atomic_bool stop;
    atomic_ullong next_token, next_op, next_ident, n_ops, n_compared;
    struct {
        atomic_uint validity, uidnext;
        atomic_ullong modseq;
    } top[VALIDITIES];
    atomic_bool
        high[N_OWN]; /* somewhere that own keyword has no letter: the index alone knows it */
    struct flight flights[KIDS_MAX][FLIGHT_MAX];
};
static struct shared *sh;

struct mrow {
    uint32_t uid, sys;
    uint64_t kw, token; /* token 0: not read yet */
};
struct worker {
    int no;
    uint64_t rng;
    struct store_user *u;
    struct store_view *v;
    const struct box *box;
    struct store_box b;
    struct mrow *rows;
    size_t n, cap;
    char trail[TRAIL][TRAIL_OCTETS];
    unsigned n_trail;
};

/* ---- small things ---- */

static uint32_t
dice(struct worker *w, uint32_t below)
{
    w->rng += UINT64_C(0x9E3779B97F4A7C15);
    return below ? (uint32_t)(mix(w->rng) >> 33) % below : 0;
}

static void note(struct worker *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void violation(struct worker *w, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), noreturn));

static void
note(struct worker *w, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(w->trail[w->n_trail++ % TRAIL], TRAIL_OCTETS, fmt, ap);
    va_end(ap);
    atomic_fetch_add(&sh->n_ops, 1);
}

static void
violation(struct worker *w, const char *fmt, ...)
{
    struct buf out = { 0 };
    va_list ap;

    for (unsigned i = w->n_trail > TRAIL ? w->n_trail - TRAIL : 0; i < w->n_trail; i++)
        buf_addf(&out, "  trail: %s\n", w->trail[i % TRAIL]);
    buf_addf(&out, "violation: worker %d (pid %d) in %s: ", w->no, (int)getpid(),
             w->box ? w->box->name : "-");
    va_start(ap, fmt);
    buf_vaddf(&out, fmt, ap);
    va_end(ap);
    buf_addc(&out, '\n');
    (void)!write(2, out.p, out.n);
    _exit(3);
}

/* Failures that are no races lost. ENOENT: a foreign program, a DELETE or a RENAME was faster. */
static void
must(struct worker *w, const char *what, int rc, const struct err *e)
{
    if (rc == 0 || e->kind == ERR_NOTFOUND || e->kind == ERR_PERM || e->kind == ERR_EXISTS ||
        (e->kind == ERR_TEMP && e->sys == ENOENT))
        return;
    violation(w, "%s: %s: %s", what, err_kind_name(e->kind), e->msg);
}

/* It did not happen, for sure. */
static bool
is_certain(const struct err *e)
{
    return e->kind == ERR_NOTFOUND || e->kind == ERR_PERM || e->kind == ERR_CLIENT ||
           e->kind == ERR_LIMIT;
}

/* Highest numbers ever told of a UIDVALIDITY, to whomever. */
struct top {
    uint32_t uidnext;
    uint64_t modseq;
};
static struct top
top_read(uint32_t validity)
{
    for (unsigned i = 0; i < VALIDITIES; i++) {
        unsigned at = (validity + i) % VALIDITIES;

        if (atomic_load(&sh->top[at].validity) == validity)
            return (struct top){ atomic_load(&sh->top[at].uidnext),
                                 atomic_load(&sh->top[at].modseq) };
        if (atomic_load(&sh->top[at].validity) == 0)
            break;
    }
    return (struct top){ 0 };
}

static void
top_raise(uint32_t validity, uint32_t uidnext, uint64_t modseq)
{
    for (unsigned i = 0; i < VALIDITIES; i++) {
        unsigned at = (validity + i) % VALIDITIES, none = 0;

        atomic_compare_exchange_strong(&sh->top[at].validity, &none, validity);
        if (atomic_load(&sh->top[at].validity) != validity)
            continue;
        for (unsigned was = atomic_load(&sh->top[at].uidnext);
             was < uidnext && !atomic_compare_exchange_weak(&sh->top[at].uidnext, &was, uidnext);)
            ;
        for (unsigned long long was = atomic_load(&sh->top[at].modseq);
             was < modseq && !atomic_compare_exchange_weak(&sh->top[at].modseq, &was, modseq);)
            ;
        return;
    }
}

/* ---- a client's picture of the selected mailbox ---- */

static void
told_rows(struct worker *w)
{
    struct store_row r;

    for (uint32_t seq = (uint32_t)w->n + 1; seq <= w->b.exists; seq++) {
        if (!store_view_row(w->v, seq, &r))
            violation(w, "no row %u of %u", seq, w->b.exists);
        if (w->n > 0 && r.uid <= w->rows[w->n - 1].uid)
            violation(w, "UID %u after %u", r.uid, w->rows[w->n - 1].uid);
        if (r.uid >= w->b.uidnext)
            violation(w, "UID %u, UIDNEXT %u", r.uid, w->b.uidnext);
        w->rows = mem_grow(w->rows, &w->cap, w->n + 1, sizeof(w->rows[0]));
        w->rows[w->n++] =
            (struct mrow){ r.uid, r.flags.sys & ~(uint32_t)STORE_RECENT, r.flags.kw, 0 };
    }
}

static void
told_changes(struct worker *w, const struct store_changes *c)
{
    struct store_row r;

    for (size_t i = 0; i < c->n_expunged; i++) {
        uint32_t seq = c->expunged[i];

        if (seq == 0 || seq > w->n || w->rows[seq - 1].uid != c->vanished[i])
            violation(w, "EXPUNGE of %u (UID %u) of %zu, which is UID %u", seq, c->vanished[i],
                      w->n, seq == 0 || seq > w->n ? 0 : w->rows[seq - 1].uid);
        memmove(&w->rows[seq - 1], &w->rows[seq], (w->n - seq) * sizeof(w->rows[0]));
        w->n--;
    }
    for (size_t i = 0; i < c->n_changed; i++) {
        uint32_t seq = c->changed[i];

        if (i > 0 && seq <= c->changed[i - 1])
            violation(w, "changes are told in no order: %u after %u", seq, c->changed[i - 1]);
        if (!store_view_row(w->v, seq, &r))
            violation(w, "changed: %u of %u", seq, w->b.exists);
        if (seq <= w->n) {
            w->rows[seq - 1].sys = r.flags.sys & ~(uint32_t)STORE_RECENT;
            w->rows[seq - 1].kw = r.flags.kw;
        }
    }
}

/* Expunged by somebody, which this view was not told yet: what its flags are is anybody's guess. */
static bool
is_gone(struct store_view *v, uint32_t seq)
{
    struct store_msg m = { 0 };
    struct err e = { 0 };
    int rc = store_fetch(v, seq, STORE_GET_SIZE, &m, &e);

    store_msg_free(&m);
    return rc && e.kind == ERR_NOTFOUND;
}

static void
compare_rows(struct worker *w, struct store_view *v, const char *what)
{
    struct store_row r;

    for (uint32_t seq = 1; seq <= w->n; seq++) {
        struct mrow *m = &w->rows[seq - 1];

        if (!store_view_row(v, seq, &r))
            violation(w, "%s has no row %u of %zu", what, seq, w->n);
        if (r.uid != m->uid)
            violation(w, "row %u: UID %u was told, %s has %u", seq, m->uid, what, r.uid);
        if ((r.flags.sys & ~(uint32_t)STORE_RECENT) == m->sys && r.flags.kw == m->kw)
            continue;
        if (v != w->v || !is_gone(v, seq))
            violation(w, "UID %u: flags %x %llx were told, %s has %x %llx (modseq %llu)", m->uid,
                      m->sys, (unsigned long long)m->kw, what, r.flags.sys,
                      (unsigned long long)r.flags.kw, (unsigned long long)r.modseq);
        m->sys = r.flags.sys & ~(uint32_t)STORE_RECENT;
        m->kw = r.flags.kw;
    }
    if (store_view_row(v, (uint32_t)w->n + 1, &r))
        violation(w, "%s has more than the %zu rows that were told", what, w->n);
}

/* The numbers of a mailbox as told now, against those told before anybody asked this time. */
static void
check_top(struct worker *w, struct top was, const struct store_box *b, const char *what)
{
    struct buf f = { 0 };

    if (b->uidnext < was.uidnext || b->highestmodseq < was.modseq)
        violation(w, "%s: UIDVALIDITY %u: UIDNEXT %u MODSEQ %llu, but %u and %llu were told", what,
                  b->uidvalidity, b->uidnext, (unsigned long long)b->highestmodseq, was.uidnext,
                  (unsigned long long)was.modseq);
    if (b->uidnext > was.uidnext || b->highestmodseq > was.modseq) {
        fact(&f, "modseq %u %u %llu", b->uidvalidity, b->uidnext,
             (unsigned long long)b->highestmodseq);
        facts_tell(&f);
    }
    top_raise(b->uidvalidity, b->uidnext, b->highestmodseq);
}

static void
look_at_keywords(struct worker *w)
{
    const char *name;

    for (size_t i = 26; (name = store_view_keyword(w->v, i)) != NULL; i++) {
        struct buf f = { 0 };
        unsigned k;

        if (strncmp(name, "own", 3) != 0 || (k = (unsigned)atoi(name + 3)) >= N_OWN ||
            atomic_exchange(&sh->high[k], true))
            continue;
        fact(&f, "high %s", name);
        facts_tell(&f);
    }
}

static void
close_box(struct worker *w)
{
    store_unselect(&w->v);
    w->n = 0;
    w->box = NULL;
}

/* Returns false when the mailbox is no more; then nothing is selected. */
static bool
sync_view(struct worker *w, bool allow_expunge)
{
    struct store_changes c;
    struct err e = { 0 };
    uint32_t validity = w->b.uidvalidity;
    struct top was = top_read(validity);
    int rc = store_view_sync(w->v, allow_expunge, &c, &e);

    must(w, "sync", rc, &e);
    if (rc || c.is_gone || c.is_invalid) {
        if (w->box->kind == 's')
            violation(w, "sync: %s", rc ? e.msg : c.is_gone ? "is gone" : "is invalid");
        if (rc == 0)
            store_changes_free(&c);
        close_box(w);
        return false;
    }
    store_view_box(w->v, &w->b);
    if (w->b.uidvalidity != validity)
        violation(w, "UIDVALIDITY was %u and is %u", validity, w->b.uidvalidity);
    told_changes(w, &c);
    told_rows(w);
    store_changes_free(&c);
    compare_rows(w, w->v, "the view");
    look_at_keywords(w);
    check_top(w, was, &w->b, "sync");
    return true;
}

static bool
open_box(struct worker *w, const struct box *box)
{
    struct err e = { 0 };
    struct top was;
    int rc;

    w->box = box;
    note(w, "select %s", box->name);
    rc = store_select(w->u, sl_z(box->name), false, &w->v, &e);
    if (rc && e.kind == ERR_NOTFOUND) {
        struct err why = { 0 };

        must(w, "create", store_create(w->u, sl_z(box->name), 0, &why), &why);
        w->box = NULL;
        return false;
    }
    must(w, "select", rc, &e);
    if (rc) {
        w->box = NULL;
        return false;
    }
    store_view_box(w->v, &w->b);
    /* What was told after our select began may be newer than it: ask again. */
    was = top_read(w->b.uidvalidity);
    w->n = 0;
    told_rows(w);
    look_at_keywords(w);
    if (was.modseq > w->b.highestmodseq || was.uidnext > w->b.uidnext)
        return sync_view(w, true);
    top_raise(w->b.uidvalidity, w->b.uidnext, w->b.highestmodseq);
    return true;
}

/* The token of row i, read when it is not known; 0: it is gone. */
static uint64_t
token_of(struct worker *w, size_t i)
{
    struct store_file *f;
    struct buf b = { 0 };
    struct err e = { 0 };

    if (w->rows[i].token != 0)
        return w->rows[i].token;
    if (store_file_open(w->v, (uint32_t)i + 1, &f, &e)) {
        if (e.kind != ERR_NOTFOUND)
            must(w, "open message", -1, &e);
        return 0;
    }
    w->rows[i].token = token_in(store_file_octets(f));
    if (w->rows[i].token == 0)
        violation(w, "UID %u is no whole message: %.200s", w->rows[i].uid, store_file_octets(f).p);
    store_file_close(&f);
    fact(&b, "inst %u %u %llu", w->b.uidvalidity, w->rows[i].uid,
         (unsigned long long)w->rows[i].token);
    facts_tell(&b);
    return w->rows[i].token;
}

/* ---- what a worker does ---- */

struct pick {
    struct store_uids uids;
    uint32_t uid[64];
    uint64_t token[64];
    size_t n;
};

/* Some neighbours; all of them with tokens known. */
static void
pick_some(struct worker *w, struct pick *p)
{
    uint32_t want = dice(w, 8) == 0 ? 1 + dice(w, 60) : 1 + dice(w, 4);
    size_t first = dice(w, (uint32_t)w->n);

    memset(p, 0, sizeof *p);
    for (size_t i = first; i < w->n && p->n < want; i++) {
        uint64_t token = token_of(w, i);

        if (token == 0)
            continue;
        p->uid[p->n] = w->rows[i].uid;
        p->token[p->n++] = token;
        store_uids_add(&p->uids, w->rows[i].uid, w->rows[i].uid);
    }
}

static uint64_t
new_token(struct worker *w, bool is_own)
{
    return (atomic_fetch_add(&sh->next_token, 1) * 1024 + dice(w, 512)) * 2 + !is_own;
}

static void
keyword_name(uint64_t token, char out[20])
{
    snprintf(out, 20, "own%llu", (unsigned long long)(token / 2 % N_OWN));
}

/* Into a folder that somebody may delete: nothing is promised of it any more. */
static void
expose(struct buf *f, const struct box *to, uint64_t token)
{
    if (to->kind == 'd')
        fact(f, "leave %llu exposed", (unsigned long long)token);
}

static void
do_append(struct worker *w)
{
    const struct box *to = &boxes[dice(w, 4) ? (size_t)(w->box - boxes) : dice(w, N_BOXES)];
    uint64_t op = atomic_fetch_add(&sh->next_op, 1), token[4];
    uint32_t want = dice(w, 3) ? 1 : 1 + dice(w, 4), validity = 0, *uids = NULL;
    struct store_append *a;
    struct err e = { 0 };
    struct buf f = { 0 };
    size_t n = 0;
    int rc;

    note(w, "append op %llu: %u to %s", (unsigned long long)op, want, to->name);
    rc = store_append_begin(w->u, sl_z(to->name), &a, &e);
    must(w, "append", rc, &e);
    if (rc)
        return;
    for (uint32_t i = 0; i < want; i++) {
        struct buf text = { 0 };
        char own[20];
        const char *kw = own;

        token[i] = new_token(w, true);
        keyword_name(token[i], own);
        message_text(&text, token[i], "\r\n");
        rc = store_append_msg(a, dice(w, 16) & (uint32_t)~STORE_DELETED, &kw, 1,
                              1700000000 + (int64_t)(token[i] % 100000000), 60, &e);
        for (struct slice s = buf_slice(&text); rc == 0 && s.n > 0; s = sl_from(s, 7000))
            rc = store_append_octets(a, sl_head(s, 7000), &e);
        buf_free(&text);
        must(w, "append", rc, &e);
        if (rc) {
            store_append_abort(&a);
            return;
        }
        fact(&f, "try %llu a %llu %s", (unsigned long long)op, (unsigned long long)token[i],
             to->name);
        expose(&f, to, token[i]);
    }
    facts_tell(&f);
    if (dice(w, 30) == 0) {
        store_append_abort(&a);
        fact(&f, "not %llu", (unsigned long long)op);
        facts_tell(&f);
        return;
    }
    rc = store_append_commit(&a, &validity, &uids, &n, &e);
    must(w, "append commit", rc, &e);
    if (rc == 0 && n != want)
        violation(w, "%zu UIDs for %u messages", n, want);
    if (rc == 0) {
        fact(&f, "done %llu", (unsigned long long)op);
        for (size_t i = 0; i < n; i++)
            fact(&f, "must %u %u %llu", validity, uids[i], (unsigned long long)token[i]);
    } else if (is_certain(&e)) {
        fact(&f, "not %llu", (unsigned long long)op);
    }
    facts_tell(&f);
    free(uids);
}

static void
do_copy(struct worker *w, bool is_move)
{
    const struct box *to = &boxes[dice(w, N_BOXES)];
    uint64_t op = atomic_fetch_add(&sh->next_op, 1);
    struct store_copied done = { 0 };
    struct err e = { 0 };
    struct buf f = { 0 };
    struct pick p;
    int rc;

    pick_some(w, &p);
    if (p.n == 0 || (is_move && to == w->box)) {
        store_uids_free(&p.uids);
        return;
    }
    note(w, "%s op %llu: %zu from UID %u to %s", is_move ? "move" : "copy", (unsigned long long)op,
         p.n, p.uid[0], to->name);
    for (size_t i = 0; i < p.n; i++) {
        fact(&f, "try %llu %c %llu %s", (unsigned long long)op, is_move ? 'm' : 'c',
             (unsigned long long)p.token[i], to->name);
        expose(&f, to, p.token[i]);
        if (is_move)
            fact(&f, "going %u %u", w->b.uidvalidity, p.uid[i]);
    }
    facts_tell(&f);
    rc = store_copy(w->v, &p.uids, sl_z(to->name), is_move, &done, &e);
    must(w, is_move ? "move" : "copy", rc, &e);
    if (rc == 0) {
        if (done.n != p.n)
            violation(w, "%zu of %zu were copied", done.n, p.n);
        fact(&f, "done %llu", (unsigned long long)op);
        for (size_t i = 0; i < done.n; i++) {
            if (done.from[i] != p.uid[i] || (i > 0 && done.to[i] <= done.to[i - 1]))
                violation(w, "COPYUID: %u became %u", done.from[i], done.to[i]);
            fact(&f, "must %u %u %llu", done.uidvalidity, done.to[i],
                 (unsigned long long)p.token[i]);
            if (is_move)
                fact(&f, "moved %u %u %llu", w->b.uidvalidity, done.from[i],
                     (unsigned long long)p.token[i]);
        }
        store_copied_free(&done);
    } else if (is_certain(&e)) {
        fact(&f, "not %llu", (unsigned long long)op);
    }
    facts_tell(&f);
    store_uids_free(&p.uids);
}

/* A silent change as the client that made it pictures it. */
static void
picture(struct worker *w, const struct pick *p, const struct store_flag_change *ch,
        const struct store_uids *modified)
{
    for (size_t i = 0; i < w->n; i++) {
        struct mrow *m = &w->rows[i];

        if (!store_uids_has(&p->uids, m->uid) || store_uids_has(modified, m->uid))
            continue;
        switch (ch->op) {
        case STORE_SET:
            m->sys = ch->flags.sys;
            m->kw = ch->flags.kw;
            break;
        case STORE_ADD:
            m->sys |= ch->flags.sys;
            m->kw |= ch->flags.kw;
            break;
        case STORE_REMOVE:
            m->sys &= ~ch->flags.sys;
            m->kw &= ~ch->flags.kw;
            break;
        }
    }
}

static int
keyword(struct worker *w, const char *name)
{
    struct err e = { 0 };
    int at = store_keyword(w->v, sl_z(name), true, &e);

    if (at < 0 && e.kind != ERR_LIMIT)
        must(w, "keyword", -1, &e);
    return at;
}

static void
do_flags(struct worker *w)
{
    struct store_flag_change ch = { .op = (enum store_op)dice(w, 3), .is_silent = dice(w, 2) };
    struct store_uids modified = { 0 };
    struct err e = { 0 };
    struct buf f = { 0 };
    char name[20];
    struct pick p;
    int at;

    pick_some(w, &p);
    ch.flags.sys = dice(w, 32) & ~(dice(w, 6) ? (uint32_t)STORE_DELETED : 0);
    if (dice(w, 3) == 0) {
        snprintf(name, sizeof name, "k%u", dice(w, 24));
        at = keyword(w, name);
        if (at >= 0)
            ch.flags.kw = UINT64_C(1) << at;
    }
    if (ch.op == STORE_SET && p.n > 0) { /* the own keyword stays, so it is one message */
        p.n = 1;
        store_uids_free(&p.uids);
        store_uids_add(&p.uids, p.uid[0], p.uid[0]);
        keyword_name(p.token[0], name);
        at = p.token[0] % 2 == 0 ? keyword(w, name) : -1;
        if (at >= 0)
            ch.flags.kw |= UINT64_C(1) << at;
        else if (p.token[0] % 2 == 0)
            p.n = 0;
    }
    if (dice(w, 4) == 0) {
        ch.has_unchangedsince = true;
        ch.unchangedsince = w->b.highestmodseq - dice(w, 20);
    }
    if (p.n > 0) {
        note(w, "flags %d %x %llx silent %d since %lld of %zu from UID %u", ch.op, ch.flags.sys,
             (unsigned long long)ch.flags.kw, ch.is_silent,
             ch.has_unchangedsince ? (long long)ch.unchangedsince : -1, p.n, p.uid[0]);
        if (ch.op != STORE_REMOVE && (ch.flags.sys & STORE_DELETED))
            for (size_t i = 0; i < p.n; i++)
                fact(&f, "leave %llu deleted", (unsigned long long)p.token[i]);
        facts_tell(&f);
        if (store_change_flags(w->v, &p.uids, &ch, &modified, &e))
            must(w, "flags", -1, &e);
        else if (ch.is_silent)
            picture(w, &p, &ch, &modified);
    }
    store_uids_free(&modified);
    store_uids_free(&p.uids);
}

static void
do_expunge(struct worker *w)
{
    struct store_flag_change ch = { .op = STORE_ADD, .flags = { STORE_DELETED, 0 } };
    struct err e = { 0 };
    struct buf f = { 0 };
    struct pick p;

    pick_some(w, &p);
    if (p.n > 0) {
        note(w, "expunge %zu from UID %u", p.n, p.uid[0]);
        for (size_t i = 0; i < p.n; i++)
            fact(&f, "leave %llu expunged", (unsigned long long)p.token[i]);
        facts_tell(&f);
        must(w, "mark", store_change_flags(w->v, &p.uids, &ch, NULL, &e), &e);
        must(w, "expunge", store_expunge(w->v, dice(w, 3) ? &p.uids : NULL, &e), &e);
    }
    store_uids_free(&p.uids);
}

static void
do_fetch(struct worker *w)
{
    uint32_t seq = 1 + dice(w, (uint32_t)w->n);
    uint64_t token = token_of(w, seq - 1);
    struct store_msg m = { 0 };
    struct err e = { 0 };
    char want[40];
    struct store_file *f;

    if (token == 0)
        return;
    note(w, "fetch UID %u", w->rows[seq - 1].uid);
    if (store_fetch(w->v, seq,
                    STORE_GET_SIZE | STORE_GET_DATE | STORE_GET_ENVELOPE | STORE_GET_BODYSTRUCTURE |
                        STORE_GET_IDS,
                    &m, &e)) {
        if (e.kind != ERR_NOTFOUND)
            must(w, "fetch", -1, &e);
        return;
    }
    snprintf(want, sizeof want, "\"T%lluT\"", (unsigned long long)token);
    if (sl_find(m.envelope, sl_z(want)) == SL_NPOS)
        violation(w, "UID %u is %s, its ENVELOPE %.*s", m.uid, want, SL_ARG(m.envelope));
    if (store_file_open(w->v, seq, &f, &e) == 0) {
        if (store_file_octets(f).n != m.size_octets)
            violation(w, "UID %u: %zu octets, RFC822.SIZE %llu", m.uid, store_file_octets(f).n,
                      (unsigned long long)m.size_octets);
        store_file_close(&f);
    }
    store_msg_free(&m);
}

/* A fresh view of the same moment has the same rows, and STATUS the same sums. */
static void
do_compare(struct worker *w)
{
    struct store_view *fresh = NULL;
    struct store_status s;
    struct store_box b;
    struct err e = { 0 };
    uint32_t unseen = 0, deleted = 0;
    uint64_t modseq;

    if (!sync_view(w, true) || store_select(w->u, sl_z(w->box->name), true, &fresh, &e))
        return;
    store_view_box(fresh, &b);
    if (sync_view(w, true) && b.uidvalidity == w->b.uidvalidity &&
        b.highestmodseq == w->b.highestmodseq) {
        compare_rows(w, fresh, "a fresh view");
        atomic_fetch_add(&sh->n_compared, 1);
    }
    store_unselect(&fresh);
    if (w->v == NULL)
        return;
    modseq = w->b.highestmodseq;
    for (size_t i = 0; i < w->n; i++) {
        unseen += !(w->rows[i].sys & STORE_SEEN);
        deleted += (w->rows[i].sys & STORE_DELETED) != 0;
    }
    note(w, "status");
    if (store_status(w->u, sl_z(w->box->name), &s, &e) || s.uidvalidity != w->b.uidvalidity ||
        s.highestmodseq != modseq)
        return;
    if (s.messages != w->n || s.unseen != unseen || s.deleted != deleted)
        violation(
            w, "STATUS at MODSEQ %llu: %u messages, %u unseen, %u deleted; counted %zu, %u, %u",
            (unsigned long long)modseq, s.messages, s.unseen, s.deleted, w->n, unseen, deleted);
}

static void
do_sleep(struct worker *w)
{
    struct err e = { 0 };

    note(w, "sleep");
    store_view_sleep(w->v);
    if (dice(w, 2))
        usleep(dice(w, 3000));
    if (dice(w, 2)) /* rows may be newer then than what was told; the sync tells */
        must(w, "wake", store_view_wake(w->v, &e), &e);
    sync_view(w, dice(w, 2));
}

static void
do_folders(struct worker *w)
{
    static const char *const names[] = { "Ren.1", "Ren.2", "Ren.3" };
    struct store_mailboxes list;
    struct err e = { 0 };
    struct buf f = { 0 };
    uint32_t what = dice(w, 12);

    if (what < 2) {
        note(w, "delete %s", boxes[4 + what].name);
        must(w, "delete", store_delete(w->u, sl_z(boxes[4 + what].name), &e), &e);
    } else if (what < 7) {
        const char *from = names[dice(w, 3)], *to = names[dice(w, 3)];

        note(w, "rename %s %s", from, to);
        must(w, "rename", store_rename(w->u, sl_z(from), sl_z(to), &e), &e);
    } else if (what == 7 && dice(w, 3) == 0) {
        char to[20];
        struct store_status s;

        if (store_status(w->u, SL("INBOX"), &s, &e))
            must(w, "status", -1, &e);
        snprintf(to, sizeof to, "Was.%u", dice(w, 4));
        note(w, "rename INBOX %s", to);
        fact(&f, "boxleave %u", s.uidvalidity);
        facts_tell(&f);
        must(w, "rename INBOX", store_rename(w->u, SL("INBOX"), sl_z(to), &e), &e);
    } else if (what < 10) {
        must(w, "subscribe",
             store_subscribe(w->u, sl_z(boxes[dice(w, N_BOXES)].name), dice(w, 2), &e), &e);
    } else if (store_list(w->u, &list, &e)) {
        must(w, "list", -1, &e);
    } else {
        if (list.n == 0 || strcmp(list.v[0].name, "INBOX") != 0)
            violation(w, "LIST does not begin with INBOX");
        store_mailboxes_free(&list);
    }
}

static void
one_op(struct worker *w)
{
    uint32_t d = dice(w, 100);

    if (d < 3 && getenv("RANDOM_NO_FOLDERS") == NULL)
        do_folders(w);
    else if (w->n == 0 || (d < 20 && w->n < BOX_AIM))
        do_append(w);
    else if (d < 40)
        do_flags(w);
    else if (d < 52 && w->n > BOX_AIM / 2)
        do_expunge(w);
    else if (d < 62)
        do_copy(w, false);
    else if (d < 74)
        do_copy(w, true);
    else if (d < 82)
        do_fetch(w);
    else if (d < 90)
        do_compare(w);
    else if (d < 95)
        do_sleep(w);
    else
        usleep(dice(w, 4000));
}

static void *
work_thread(void *arg)
{
    struct worker *w = arg;

    while (!atomic_load(&sh->stop)) {
        if (!open_box(w, &boxes[dice(w, N_BOXES)]))
            continue;
        for (unsigned i = dice(w, 40); i > 0 && w->v != NULL && !atomic_load(&sh->stop); i--) {
            alarm(HANG_S);
            one_op(w);
            if (w->v != NULL)
                sync_view(w, dice(w, 3) > 0);
        }
        if (w->v != NULL)
            close_box(w);
    }
    free(w->rows);
    return NULL;
}

static void
work(int no, uint64_t seed)
{
    struct worker w[THREADS] = { 0 };
    pthread_t t[THREADS];
    struct store *s;
    struct store_user *u;
    struct err e = { 0 };
    int n = no % 2 ? THREADS : 1;

    loop_init();
    w[0].no = no;
    if (open_user(&s, &u, &e))
        violation(&w[0], "open: %s", e.msg);
    for (int i = 0; i < n; i++) {
        w[i].no = no;
        w[i].u = u;
        w[i].rng = mix(seed + (uint64_t)i);
        pthread_create(&t[i], NULL, work_thread, &w[i]);
    }
    for (int i = 0; i < n; i++)
        pthread_join(t[i], NULL);
    alarm(HANG_S);
    store_user_close(&u);
    store_free(&s);
}

/* ---- deliveries ---- */

static struct worker dw;
static unsigned n_open;

static void
on_delivered(uint64_t id, int rc, const struct err *e)
{
    struct flight *fl = &sh->flights[dw.no][id];
    struct buf f = { 0 };

    must(&dw, "delivery", rc, e);
    if (rc == 0)
        fact(&f, "done %llu", (unsigned long long)fl->op);
    facts_tell(&f);
    fl->ident = 0;
    if (--n_open == 0)
        loop_stop();
}

static void
deliver_one(struct deliverer *d, unsigned i, struct deliver_msg **m)
{
    struct flight *fl = &sh->flights[dw.no][i];
    struct buf text = { 0 };
    char ident[40];

    message_text(&text, fl->token, "\r\n");
    *m = deliver_msg_new(d);
    deliver_msg_write(*m, buf_slice(&text));
    snprintf(ident, sizeof ident, "Q%llu.1", (unsigned long long)fl->ident);
    note(&dw, "deliver op %llu to %s%s", (unsigned long long)fl->op, boxes[fl->box].name,
         fl->is_repeat ? " again" : "");
    n_open++;
    deliver(*m,
            &(struct deliver_rcpt){ .user = SL(USER),
                                    .mailbox = sl_z(boxes[fl->box].name),
                                    .prepend = SL("Return-Path: <>\r\n"),
                                    .ident = sl_z(ident),
                                    .may_be_repeat = fl->is_repeat },
            on_delivered, i);
    buf_free(&text);
}

static void
too_late(void *arg)
{
    (void)arg;
    violation(&dw, "a delivery is not answered");
}

static void
deliveries(int no, uint64_t seed)
{
    struct timer limit = { 0 };
    struct deliverer *d;
    struct err e = { 0 };

    loop_init();
    dw.no = no;
    dw.rng = mix(seed);
    if (deliverer_new(conf, &d, &e))
        violation(&dw, "deliverer: %s", e.msg);
    while (!atomic_load(&sh->stop)) {
        struct deliver_msg *m[FLIGHT_MAX] = { 0 };
        unsigned want = 1 + dice(&dw, FLIGHT_MAX);

        alarm(HANG_S);
        for (unsigned i = 0; i < FLIGHT_MAX; i++) {
            struct flight *fl = &sh->flights[no][i];
            struct buf f = { 0 };
            uint64_t ident = fl->ident;

            if (ident != 0) { /* of the one that was killed */
                fl->is_repeat = true;
                fact(&f, "again %llu %llu", (unsigned long long)fl->op,
                     (unsigned long long)fl->token);
            } else if (i < want) {
                fl->box = dice(&dw, 4);
                fl->token = new_token(&dw, false);
                fl->op = atomic_fetch_add(&sh->next_op, 1);
                fl->is_repeat = false;
                ident = atomic_fetch_add(&sh->next_ident, 1);
                fact(&f, "try %llu d %llu %s", (unsigned long long)fl->op,
                     (unsigned long long)fl->token, boxes[fl->box].name);
            }
            facts_tell(&f);
            fl->ident = ident; /* from here on whoever comes after us tries it again */
            if (fl->ident != 0)
                deliver_one(d, i, &m[i]);
        }
        timer_start(&limit, HANG_S * 1000, too_late,
                    NULL); /* so that the loop has something to wait for */
        if (n_open > 0)
            loop_run();
        timer_stop(&limit);
        for (unsigned i = 0; i < FLIGHT_MAX; i++)
            deliver_msg_free(&m[i]);
        usleep(2000 + dice(&dw, 60000));
    }
    deliverer_free(&d);
}

/* ---- another program ---- */

static uint64_t
token_of_file(const char *path)
{
    char head[600], *at;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, head, sizeof head - 1);

    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return 0;
    head[n] = '\0';
    at = strstr(head, "X-Token: ");
    return at ? strtoull(at + 9, NULL, 10) : 0;
}

/* As a delivery agent into new/, as rsync into cur/ with flags (through a name with a dot), or as a shell. */
static void
foreign_drop(struct worker *w, const struct box *box)
{
    uint64_t token = new_token(w, false), op = atomic_fetch_add(&sh->next_op, 1);
    char name[100], from[500], to[500];
    struct buf text = { 0 }, f = { 0 };
    unsigned how = dice(w, 3);

    message_text(&text, token, "\n");
    snprintf(name, sizeof name, "%lld.M%06uP%d_%llu.outside", (long long)clock_unix_s(),
             dice(w, 1000000), (int)getpid(), (unsigned long long)token);
    if (how == 0)
        snprintf(from, sizeof from, "%s/%stmp/%s", root, box->dir, name);
    else
        snprintf(from, sizeof from, "%s/%scur/.%s.Xy12z", root, box->dir, name);
    snprintf(to, sizeof to, "%s/%s%s/%s%s", root, box->dir, how == 0 ? "new" : "cur", name,
             how == 0   ? ""
             : how == 1 ? ":2,S"
                        : ":2,");
    fact(&f, "try %llu f %llu %s", (unsigned long long)op, (unsigned long long)token, box->name);
    expose(&f, box, token);
    facts_tell(&f);
    note(w, "drop %s", to);
    if (fs_replace_file(from, buf_slice(&text), 0600, NULL) == 0 && rename(from, to) == 0) {
        char *slash = strrchr(to, '/');

        *slash = '\0';
        if (fs_sync_dir(to, NULL) == 0)
            fact(&f, "done %llu", (unsigned long long)op);
        *slash = '/';
    }
    facts_tell(&f);
    buf_free(&text);
}

static void
foreign_meddle(struct worker *w, const char *dir, const char *name)
{
    uint32_t d = dice(w, 10);
    char from[700], to[900];
    struct buf f = { 0 };
    int base = (int)strcspn(name, ":");
    uint64_t token;

    snprintf(from, sizeof from, "%s/%s", dir, name);
    token = token_of_file(from);
    if (token == 0)
        return;
    if (d < 7) { /* flags; letters of keywords stay */
        char letters[40] = "";
        size_t n = 0;

        for (const char *p = strstr(name, ":2,"); p != NULL && *p; p++)
            if (*p >= 'a' && *p <= 'z' && n < 26)
                letters[n++] = *p;
        letters[n] = '\0';
        snprintf(to, sizeof to, "%s/%.*s:2,%s%s", dir, base, name,
                 d < 3   ? "S"
                 : d < 5 ? "FS"
                         : "",
                 letters);
        note(w, "rename %s", to);
        (void)!rename(from, to);
    } else if (d == 7) {
        fact(&f, "leave %llu removed", (unsigned long long)token);
        facts_tell(&f);
        note(w, "remove %s", from);
        unlink(from);
    } else { /* into another folder, as mutt does: it must be somewhere, and once */
        snprintf(to, sizeof to, "%s/%scur/%.*s:2,S", root, boxes[dice(w, 4)].dir, base, name);
        fact(&f, "foreign %llu", (unsigned long long)token);
        facts_tell(&f);
        note(w, "foreign move %s", to);
        if (link(from, to) == 0)
            unlink(from);
    }
}

static void
outsider(int no, uint64_t seed)
{
    struct worker w = { .no = no, .rng = mix(seed) };

    while (!atomic_load(&sh->stop)) {
        const struct box *box = &boxes[dice(&w, N_BOXES)];
        unsigned n = dice(&w, 3);
        struct dirent *ent;
        char dir[400];
        DIR *d;

        alarm(HANG_S);
        if (dice(&w, 4) == 0)
            foreign_drop(&w, &boxes[dice(&w, 2) ? (uint32_t)(box - boxes) : dice(&w, 4)]);
        snprintf(dir, sizeof dir, "%s/%s%s", root, box->dir, dice(&w, 4) ? "cur" : "new");
        d = opendir(dir);
        while (d && n > 0 && (ent = readdir(d)) != NULL)
            if (ent->d_name[0] != '.' && dice(&w, 12) == 0) {
                foreign_meddle(&w, dir, ent->d_name);
                n--;
            }
        if (d)
            closedir(d);
        usleep(3000 + dice(&w, 20000));
    }
}

/* ---- all of them ---- */

static struct kid {
    void (*fn)(int, uint64_t);
    pid_t pid;
    unsigned lives;
} kids[KIDS_MAX];

static void
hangs(int signo)
{
    static const char text[] = "violation: an operation does not end\n";

    (void)signo;
    (void)!write(2, text, sizeof text - 1);
    abort();
}

static void
kid_start(int no, uint64_t seed)
{
    struct kid *k = &kids[no];
    pid_t pid = fork();

    if (pid == 0) {
        signal(SIGALRM, hangs);
        k->fn(no, seed + (uint64_t)no * 1000003 + k->lives * 7919ull);
        _exit(0);
    }
    k->pid = pid;
    k->lives++;
}

static uint64_t
now_ms(void)
{
    return clock_mono_ms();
}

static int
run_all(uint64_t seed, unsigned run_ms, int n, unsigned kill_ms)
{
    struct worker r = { .rng = mix(seed) };
    uint64_t end = now_ms() + run_ms, kill_at = now_ms() + kill_ms, n_kills = 0;
    int left = n, rc = 0;

    for (int i = 0; i < n; i++)
        kid_start(i, seed);
    while (left > 0) {
        int status, no = -1;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        bool is_over = now_ms() >= end || rc != 0;

        if (is_over)
            atomic_store(&sh->stop, true);
        if (pid > 0) {
            for (int i = 0; i < n; i++)
                no = kids[i].pid == pid ? i : no;
            kids[no].pid = 0;
            if (!(WIFEXITED(status) && WEXITSTATUS(status) == 0) &&
                !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)) {
                if (WIFSIGNALED(status))
                    fprintf(stderr, "violation: worker %d ended by signal %d\n", no,
                            WTERMSIG(status));
                rc = 3;
            }
            n_kills += WIFSIGNALED(status);
            if (is_over)
                left--;
            else
                kid_start(no, seed);
            continue;
        }
        if (!is_over && kill_ms > 0 && now_ms() >= kill_at) {
            no = (int)dice(&r, (uint32_t)n);
            kill(kids[no].pid, SIGKILL);
            kill_at = now_ms() + 1 + dice(&r, kill_ms * 2);
        }
        usleep(1000);
    }
    printf("%llu operations, %llu views compared, %llu processes killed\n",
           (unsigned long long)atomic_load(&sh->n_ops),
           (unsigned long long)atomic_load(&sh->n_compared), (unsigned long long)n_kills);
    return rc;
}

/* DIR FACTS SEED */
static void
prepare(char **a)
{
    uint64_t seed = strtoull(a[2], NULL, 10) % 1000000;

    read_conf(a[0], getenv("RANDOM_CONF"));
    open_facts(a[1]);
    sh = mmap(NULL, sizeof *sh, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (sh == MAP_FAILED)
        exit(2);
    /* Numbers of another run with the same facts are others. */
    atomic_store(&sh->next_token, seed * 100000 + 1);
    atomic_store(&sh->next_op, seed * 1000000 + 1);
    atomic_store(&sh->next_ident, seed * 1000000 + 1);
}

static int
cmd_work(char **a)
{
    struct {
        void (*fn)(int, uint64_t);
        int n;
    } kinds[] = { { work, atoi(a[4]) }, { outsider, atoi(a[5]) }, { deliveries, atoi(a[6]) } };
    int n = 0;

    prepare(a);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        for (int k = 0; k < kinds[i].n && n < KIDS_MAX; k++)
            kids[n++].fn = kinds[i].fn;
    return run_all(strtoull(a[2], NULL, 10), (unsigned)(atof(a[3]) * 1000), n,
                   (unsigned)atoi(a[7]));
}

/* ---- numbers beyond what was reserved before ---- */

enum {
    CROSS_ROUNDS = 16,
    CROSS_EACH = 60,
    CROSS_KEPT = 3
}; /* more than a block of UIDs, of MODSEQs */

/* A mailbox gets so many messages, most of which go again, that a rescan cannot come to the same numbers. */
static void
cross_round(struct worker *w)
{
    uint64_t op = atomic_fetch_add(&sh->next_op, 1), token[CROSS_EACH];
    struct store_flag_change ch = { .op = STORE_ADD, .flags = { STORE_DELETED, 0 } };
    struct store_uids gone = { 0 };
    uint32_t validity, *uids = NULL;
    struct store_append *a;
    struct err e = { 0 };
    struct buf f = { 0 };
    size_t n = 0;

    if (store_append_begin(w->u, SL("Sent"), &a, &e))
        violation(w, "append: %s", e.msg);
    for (int i = 0; i < CROSS_EACH; i++) {
        struct buf text = { 0 };

        token[i] = new_token(w, false);
        message_text(&text, token[i], "\r\n");
        if (store_append_msg(a, 0, NULL, 0, 0, 0, &e) ||
            store_append_octets(a, buf_slice(&text), &e))
            violation(w, "append: %s", e.msg);
        buf_free(&text);
        fact(&f, "try %llu a %llu Sent", (unsigned long long)op, (unsigned long long)token[i]);
    }
    facts_tell(&f);
    if (store_append_commit(&a, &validity, &uids, &n, &e) || n != CROSS_EACH)
        violation(w, "append: %s", e.msg);
    fact(&f, "done %llu", (unsigned long long)op);
    for (size_t i = 0; i < n; i++) {
        fact(&f, "must %u %u %llu", validity, uids[i], (unsigned long long)token[i]);
        if (i < n - CROSS_KEPT) {
            fact(&f, "leave %llu expunged", (unsigned long long)token[i]);
            store_uids_add(&gone, uids[i], uids[i]);
        }
    }
    facts_tell(&f);
    sync_view(w, true);
    if (store_change_flags(w->v, &gone, &ch, NULL, &e) || store_expunge(w->v, &gone, &e))
        violation(w, "expunge: %s", e.msg);
    sync_view(w, true);
    store_uids_free(&gone);
    free(uids);
}

static int
cmd_cross(char **a)
{
    struct worker w = { .no = -1 };
    struct store *s;
    struct err e = { 0 };
    struct buf f = { 0 };

    loop_init();
    prepare(a);
    fact(&f, "cross");
    facts_tell(&f);
    if (open_user(&s, &w.u, &e))
        violation(&w, "open: %s", e.msg);
    while (!open_box(&w, &boxes[1]))
        ;
    for (int i = 0; i < CROSS_ROUNDS; i++)
        cross_round(&w);
    close_box(&w);
    free(w.rows);
    store_user_close(&w.u);
    store_free(&s);
    return 0;
}

/* ---- what the store tells of everything ---- */

static void
dump_row(struct store_view *v, const char *name, uint32_t seq)
{
    struct store_msg m = { 0 };
    struct store_row r;
    struct store_file *f;
    struct err e = { 0 };
    struct buf kw = { 0 };
    uint64_t token = 0, subject = 0;
    struct slice s;
    size_t at;

    if (!store_view_row(v, seq, &r))
        return;
    for (size_t i = 0; i < 64; i++)
        if (r.flags.kw & UINT64_C(1) << i)
            buf_addf(&kw, "%s%s", kw.n ? "," : "", store_view_keyword(v, i));
    if (store_fetch(v, seq,
                    STORE_GET_SIZE | STORE_GET_DATE | STORE_GET_ENVELOPE | STORE_GET_BODYSTRUCTURE |
                        STORE_GET_IDS,
                    &m, &e)) {
        printf("trouble\t%s\tUID %u: %s\n", name, r.uid, e.msg);
        buf_free(&kw);
        return;
    }
    at = sl_find(m.envelope, SL("\" \"T"));
    s = sl_from(m.envelope, at == SL_NPOS ? m.envelope.n : at + 4);
    sl_take_u64(&s, &subject);
    if (store_file_open(v, seq, &f, &e)) {
        printf("trouble\t%s\tUID %u: %s\n", name, r.uid, e.msg);
    } else {
        token = token_in(store_file_octets(f));
        if (store_file_octets(f).n != m.size_octets)
            printf("trouble\t%s\tUID %u: %zu octets, RFC822.SIZE %llu\n", name, r.uid,
                   store_file_octets(f).n, (unsigned long long)m.size_octets);
        store_file_close(&f);
    }
    printf("row\t%s\t%u\t%u\t%s\t%llu\t%llu\t%lld\t%llu\t%llu\t%s\n", name, r.uid,
           r.flags.sys & ~(uint32_t)STORE_RECENT, buf_z(&kw), (unsigned long long)r.modseq,
           (unsigned long long)m.size_octets, (long long)m.internaldate_unix_s,
           (unsigned long long)token, (unsigned long long)subject, m.email_id);
    buf_free(&kw);
    store_msg_free(&m);
}

static int
dump_box(struct store_user *u, const char *name)
{
    struct store_view *v;
    struct store_status s;
    struct store_box b;
    struct err e = { 0 };

    if (store_select(u, sl_z(name), false, &v, &e)) {
        printf("trouble\t%s\tselect: %s\n", name, e.msg);
        return -1;
    }
    store_view_box(v, &b);
    printf("box\t%s\t%u\t%u\t%llu\t%u\n", name, b.uidvalidity, b.uidnext,
           (unsigned long long)b.highestmodseq, b.exists);
    for (uint32_t seq = 1; seq <= b.exists; seq++)
        dump_row(v, name, seq);
    for (size_t i = 0; store_view_keyword(v, i) != NULL; i++)
        printf("keyword\t%s\t%zu\t%s\n", name, i, store_view_keyword(v, i));
    store_unselect(&v);
    if (store_status(u, sl_z(name), &s, &e))
        printf("trouble\t%s\tstatus: %s\n", name, e.msg);
    else
        printf("status\t%s\t%u\t%u\t%u\t%u\t%u\t%llu\t%llu\n", name, s.messages, s.unseen,
               s.deleted, s.uidnext, s.uidvalidity, (unsigned long long)s.highestmodseq,
               (unsigned long long)s.size_octets);
    return 0;
}

/* A lmtpd that starts settles what one that died had charged. */
static void
start_and_stop_deliverer(void)
{
    struct deliverer *d;
    struct err e = { 0 };

    if (deliverer_new(conf, &d, &e))
        printf("trouble\t-\tdeliverer: %s\n", e.msg);
    else
        deliverer_free(&d);
}

static int
cmd_dump(char **a)
{
    struct quota_usage q;
    struct store_mailboxes list;
    struct store *s;
    struct store_user *u;
    struct err e = { 0 };

    loop_init();
    read_conf(a[0], getenv("RANDOM_CONF"));
    if (quota_is_on(conf))
        start_and_stop_deliverer();
    if (open_user(&s, &u, &e) || store_list(u, &list, &e)) {
        fprintf(stderr, "violation: cannot open: %s\n", e.msg);
        return 3;
    }
    for (size_t i = 0; i < list.n; i++)
        if (!(list.v[i].attrs & (STORE_MB_NOSELECT | STORE_MB_NONEXISTENT)))
            dump_box(u, list.v[i].name);
    store_mailboxes_free(&list);
    if (quota_is_on(conf)) {
        if (quota_usage(s, SL(USER), NULL, &q, &e))
            printf("trouble\t-\tquota: %s\n", e.msg);
        else
            printf("quota\t%lld\t%lld\n", (long long)q.octets, (long long)q.messages);
    }
    store_user_close(&u);
    store_free(&s);
    printf("end\n");
    return 0;
}

int
main(int argc, char **argv)
{
    if (argc == 10 && strcmp(argv[1], "work") == 0)
        return cmd_work(argv + 2);
    if (argc == 5 && strcmp(argv[1], "cross") == 0)
        return cmd_cross(argv + 2);
    if (argc == 3 && strcmp(argv[1], "dump") == 0)
        return cmd_dump(argv + 2);
    fprintf(stderr,
            "usage: random work DIR FACTS SEED SECONDS WORKERS OUTSIDERS DELIVERERS KILL_MS\n"
            "       random dump DIR\n");
    return 2;
}
