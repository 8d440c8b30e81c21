/* auth/lookup_server.c - netstrings "name key" in, netstrings "OK value", "NOTFOUND ", "TEMP why", "PERM why" out, in
 * the order of the questions. What a peer has sent at once goes to the backend as one batch; while that runs the next
 * one gathers. Answers are kept as long as nothing behind them has changed. */
#include "auth/lookup_server.h"

#include "auth/lookup_client.h"
#include "auth/table_include.h"
#include "auth/srs_map.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/conn.h"
#include "core/loop.h"

#include <stdlib.h>

enum {
    GATHERED_MAX = 512, /* questions of one peer; it is not read further until they are answered */
    GATHERED_OCTETS_MAX = 256 * 1024, /* nor when they are this long */
    ANSWER_OCTETS = 64 * 1024,        /* to a question about lines; then it is told */
    CACHE_MAX = 20000,
    CACHE_ANSWER_OCTETS = 4096 /* longer ones are not kept */
};

struct lookup_cache {
    struct backend *backend, *content;
    struct map *answers; /* question -> char *: the whole reply, a C string */
    uint64_t generation;
};

/* A batch of one peer: lengths and texts packed, so that a question costs no allocation of its own. */
struct batch {
    struct backend_job job;
    uint64_t peer;
    struct lookup_cache *cache;
    struct buf questions, replies; /* each: uint32_t length, octets */
    size_t n;
    uint64_t generation;
    bool is_lines; /* all of them are, or none */
    const char *const *names;
};

struct peer {
    struct conn *conn;
    uint64_t id;
    struct lookup_cache *cache;
    struct batch *gathered;   /* not yet sent to the backend */
    bool is_asking;           /* a batch is out */
    const char *const *names; /* all that it may ask for; NULL: anything */
};

/* ---- packed texts ---- */

static void
pack(struct buf *b, struct slice s)
{
    uint32_t n = (uint32_t)s.n;

    buf_add(b, &n, sizeof n);
    buf_adds(b, s);
}

static bool
unpack(struct slice *in, struct slice *out)
{
    uint32_t n;

    if (in->n < sizeof n)
        return false;
    memcpy(&n, in->p, sizeof n);
    *out = sl_n(in->p + sizeof n, n);
    *in = sl_from(*in, sizeof n + n);
    return true;
}

/* ---- answers ---- */

static void
reply(struct conn *c, struct slice text)
{
    conn_printf(c, "%zu:", text.n);
    conn_writes(c, text);
    conn_write(c, ",", 1);
}

static const char *
recall(struct lookup_cache *c, struct slice question)
{
    if (c->generation != backend_generation(c->backend) || !backend_is_fresh(c->backend))
        return NULL;
    return map_get(c->answers, question);
}

static void
remember(struct lookup_cache *c, struct slice question, struct slice answer, uint64_t generation)
{
    uint64_t now = backend_generation(c->backend);
    struct slice rest = question, name;

    if (sl_take_until(&rest, ' ', &name) && srs_map_has(name))
        return; /* such answers change with the day */
    if (generation != now || sl_has_prefix(answer, SL("TEMP")) || answer.n > CACHE_ANSWER_OCTETS ||
        memchr(answer.p, '\0', answer.n) || sl_has_prefix(question, SL(LOOKUP_INCLUDE " ")))
        return; /* nobody watches the files that aliases include */
    if (c->generation != now || map_count(c->answers) >= CACHE_MAX) {
        map_free(&c->answers, free);
        c->answers = map_new();
        c->generation = now;
    }
    free(map_set(c->answers, question, sl_dupz(answer)));
}

/* ---- on the backend's thread ---- */

static void
answer_rc(enum table_rc rc, const struct err *e, struct buf *out)
{
    if (rc == TABLE_NOTFOUND)
        buf_addz(out, "NOTFOUND ");
    else
        buf_addf(out, "%s %s", rc == TABLE_TEMP ? "TEMP" : "PERM", e->msg);
}

static enum table_rc
too_long(struct err *e)
{
    err_set(e, ERR_TEMP, "the value is too long");
    return TABLE_TEMP;
}

/* What the lines of one question match, until the answer is long; then the peer asks again. */
static void
answer_lines(struct table_set *tables, struct slice name, struct slice in, struct buf *value,
             struct buf *out)
{
    struct buf hits = { 0 };
    struct err e = { 0 };
    enum table_rc rc = TABLE_NOTFOUND;
    size_t seen = 0;
    uint64_t n;

    for (; in.n > 0 && hits.n < ANSWER_OCTETS; seen++) {
        if (!sl_take_u64(&in, &n) || !sl_take_char(&in, ':') || n >= in.n || in.p[n] != ',') {
            err_set(&e, ERR_PERM, "lines are netstrings");
            rc = TABLE_PERM;
            break;
        }
        rc = table_set_match(tables, name, sl_head(in, (size_t)n), value, &e);
        if (rc == TABLE_FOUND && value->n > LOOKUP_LINES_OCTETS / 2)
            rc = too_long(&e);
        if (rc != TABLE_FOUND && rc != TABLE_NOTFOUND)
            break;
        if (rc == TABLE_FOUND) {
            buf_addf(&hits, "%zu %zu:", seen, value->n);
            buf_adds(&hits, buf_slice(value));
            buf_addc(&hits, ',');
        }
        in = sl_from(in, (size_t)n + 1);
    }
    if (hits.n > 0) { /* trouble behind these is told when it is asked for again */
        buf_addf(out, "OK %zu ", seen);
        buf_adds(out, buf_slice(&hits));
    } else {
        answer_rc(rc, &e, out);
    }
    buf_free(&hits);
}

static void
answer_key(struct table_set *tables, struct slice name, struct slice key, struct buf *value,
           struct buf *out)
{
    struct err e = { 0 };
    enum table_rc rc = sl_eqz(name, LOOKUP_INCLUDE) ? table_include(tables, key, value, &e)
                       : srs_map_has(name)          ? srs_map_lookup(tables, name, key, value, &e)
                                           : table_set_lookup(tables, name, key, value, &e);

    if (rc != TABLE_FOUND) {
        answer_rc(rc, &e, out);
        return;
    }
    buf_addz(out, "OK ");
    buf_adds(out, buf_slice(value));
}

static bool
is_allowed(const char *const *names, struct slice name)
{
    if (names == NULL)
        return true;
    (void)sl_take_prefix(&name, SL(LOOKUP_PART_PREFIX));
    while (*names && !sl_eqz(name, *names))
        names++;
    return *names != NULL;
}

static void
answer_one(const struct batch *b, struct table_set *tables, struct slice question,
           struct buf *value, struct buf *out)
{
    struct slice name;

    if (b->is_lines)
        sl_take_prefix(&question, SL(LOOKUP_LINES_PREFIX));
    if (!sl_take_until(&question, ' ', &name))
        buf_addz(out, "PERM a request is \"name key\"");
    else if (!is_allowed(b->names, name))
        buf_addz(out, "PERM not for you");
    else if (b->is_lines)
        answer_lines(tables, name, question, value, out);
    else
        answer_key(tables, name, question, value, out);
}

static void
batch_run(struct backend_job *j, struct table_set *tables)
{
    struct batch *b = CONTAINER_OF(j, struct batch, job);
    struct slice in = buf_slice(&b->questions), question;
    struct buf value = { 0 }, text = { 0 };

    while (unpack(&in, &question)) {
        buf_reset(&text);
        answer_one(b, tables, question, &value, &text);
        pack(&b->replies, buf_slice(&text));
    }
    buf_free(&text);
    buf_free(&value);
}

/* ---- the peer ---- */

static void
free_batch(struct batch *b)
{
    if (b == NULL)
        return;
    buf_free(&b->questions);
    buf_free(&b->replies);
    free(b);
}

static void take_questions(struct peer *p);

static void
batch_done(struct backend_job *j)
{
    struct batch *b = CONTAINER_OF(j, struct batch, job);
    struct peer *p = id_get(b->peer);
    struct slice qs = buf_slice(&b->questions), as = buf_slice(&b->replies), q, a;

    /* Changes seen by this very job came before its look-ups, so its answers belong to the generation of now -
     * unless a reload has put other tables in place meanwhile. */
    if (j->was_changed)
        b->generation++;
    while (unpack(&qs, &q) && unpack(&as, &a)) {
        if (!b->is_lines && b->names == NULL) /* a refusal is for who may not ask */
            remember(b->cache, q, a, b->generation);
        if (p)
            reply(p->conn, a);
    }
    free_batch(b);
    if (p) {
        p->is_asking = false;
        take_questions(p);
    }
}

static void
send_gathered(struct peer *p)
{
    struct batch *b = p->gathered;

    if (b == NULL || p->is_asking)
        return;
    p->gathered = NULL;
    p->is_asking = true;
    b->generation = backend_generation(p->cache->backend);
    b->job.run = batch_run;
    b->job.done = batch_done;
    backend_submit(b->is_lines ? p->cache->content : p->cache->backend, &b->job);
}

static bool
is_lines(struct slice question)
{
    return sl_has_prefix(question, SL(LOOKUP_LINES_PREFIX));
}

static void
gather(struct peer *p, struct slice question)
{
    if (p->gathered == NULL) {
        p->gathered = MEM_NEW(struct batch);
        p->gathered->peer = p->id;
        p->gathered->cache = p->cache;
        p->gathered->names = p->names;
        p->gathered->is_lines = is_lines(question);
    }
    pack(&p->gathered->questions, question);
    p->gathered->n++;
}

/* 1: a netstring is at the front, *n octets long in all; 0: not whole; -1: nonsense. */
static int
peek_netstring(struct slice in, struct slice *text, size_t *n)
{
    struct slice at = in;
    uint64_t len;

    *n = 0;
    if (in.n == 0)
        return 0;
    if (!sl_take_u64(&at, &len) || len > LOOKUP_LINES_OCTETS || in.n - at.n > LOOKUP_LENGTH_DIGITS)
        return -1;
    if (at.n == 0)
        return 0;
    if (!sl_take_char(&at, ':'))
        return -1;
    *n = in.n - at.n + (size_t)len + 1;
    *text = sl_head(at, (size_t)len);
    if (len > LOOKUP_QUERY_OCTETS &&
        !sl_has_prefix(SL(LOOKUP_LINES_PREFIX), sl_head(*text, strlen(LOOKUP_LINES_PREFIX))))
        return -1;
    if (at.n < len + 1)
        return 0;
    return at.p[len] == ',' ? 1 : -1;
}

/* No more is gathered until what is has been answered. */
static bool
is_full(const struct batch *b)
{
    return b && (b->n >= GATHERED_MAX || b->questions.n >= GATHERED_OCTETS_MAX);
}

static void
take_questions(struct peer *p)
{
    struct slice question;
    size_t n = 0;
    int rc = 0;
    bool is_other = false;

    while (!is_full(p->gathered)) {
        const char *known = NULL;

        rc = peek_netstring(conn_input(p->conn), &question, &n);
        if (rc <= 0)
            break;
        is_other = p->gathered && p->gathered->is_lines != is_lines(question);
        if (is_other)
            break;
        /* An answer at once only when none is owed before it. */
        if (!p->is_asking && p->gathered == NULL && p->names == NULL)
            known = recall(p->cache, question);
        if (known == NULL)
            gather(p, question);
        conn_consume(p->conn, n);
        if (known)
            reply(p->conn, sl_z(known));
    }
    if (rc < 0) {
        log_warn("lookup.protocol", LOG_NONE, "lookup: malformed request");
        conn_abort(p->conn);
        return;
    }
    if (rc == 0 && n > CONN_IN_MAX) /* a long one is on its way */
        conn_set_in_max(p->conn, n);
    if ((is_full(p->gathered) || is_other) && p->is_asking)
        conn_pause_input(p->conn);
    else
        conn_resume_input(p->conn);
    send_gathered(p);
}

static void
on_input(struct conn *c, void *arg)
{
    (void)c;
    take_questions(arg);
}

static void
on_close(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    struct peer *p = arg;

    (void)c;
    (void)end;
    (void)why;
    id_del(p->id);
    free_batch(p->gathered);
    free(p);
}

static const struct conn_ops ops = { .on_input = on_input, .on_close = on_close };

void
lookup_serve_only(struct lookup_cache *cache, int fd, const char *const *names)
{
    struct peer *p = MEM_NEW(struct peer);

    p->names = names;
    p->cache = cache;
    p->id = id_add(p);
    p->conn = conn_new(fd, &ops, p);
}

void
lookup_serve(struct lookup_cache *cache, int fd)
{
    lookup_serve_only(cache, fd, NULL);
}

struct lookup_cache *
lookup_cache_new(struct backend *b, struct backend *content)
{
    struct lookup_cache *c = MEM_NEW(struct lookup_cache);

    c->backend = b;
    c->content = content;
    c->answers = map_new();
    return c;
}

void
lookup_cache_free(struct lookup_cache **c)
{
    if (*c == NULL)
        return;
    map_free(&(*c)->answers, free);
    free(*c);
    *c = NULL;
}
