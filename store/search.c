/* store/search.c - SEARCH. The program becomes a plan in which kids are ordered by what they cost to ask: the view's rows,
 * then the index, then a message's header, then its body. So a file is opened only when nothing cheaper decides. */
#include "store/search.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/fold.h"
#include "base/mem.h"
#include "mime/mime.h"

#include <stdlib.h>

enum cost { COST_ROW, COST_INDEX, COST_HEADER, COST_BODY };
enum { CHEAP_A_TURN = 256 }; /* messages between two questions to yield when no file was opened */

struct plan {
    const struct search_node *node;
    enum cost cost;
    struct plan **kids; /* cheapest first */
    size_t n_kids;
    struct slice text;    /* folded */
    uint64_t keyword_bit; /* 0: the mailbox has no such keyword */
};

/* What is known of the message at hand. */
struct state {
    struct store_view *view;
    struct arena plan_mem;
    uint32_t seq;
    struct store_row row;
    struct store_msg msg;
    bool has_msg;
    struct store_file *file;
    bool is_file_whole; /* else the header is there */
    struct slice header;
    struct arena mime_mem;
    struct mime_part *root;
    struct buf text, folded; /* scratch */
    int64_t now_unix_s;
    bool is_gone; /* expunged meanwhile: matches nothing */
    bool was_file_opened;
    struct err *e;
};

/* ---- the plan ---- */

static enum cost
cost_of(enum search_kind k)
{
    switch (k) {
    case SEARCH_BEFORE:
    case SEARCH_ON:
    case SEARCH_SINCE:
    case SEARCH_LARGER:
    case SEARCH_SMALLER:
    case SEARCH_OLDER:
    case SEARCH_YOUNGER:
        return COST_INDEX;
    case SEARCH_SENTBEFORE:
    case SEARCH_SENTON:
    case SEARCH_SENTSINCE:
    case SEARCH_HEADER:
        return COST_HEADER;
    case SEARCH_BODY:
    case SEARCH_TEXT:
        return COST_BODY;
    default:
        return COST_ROW;
    }
}

static uint64_t
keyword_bit(const struct store_view *v, struct slice name)
{
    const char *k;

    for (size_t i = 0; i < STORE_KEYWORDS_MAX && (k = store_view_keyword(v, i)) != NULL; i++)
        if (sl_ieqz(name, k))
            return (uint64_t)1 << i;
    return 0;
}

static struct plan *make_plan(struct state *s, const struct search_node *n);

static void
add_kids(struct state *s, struct plan *p, const struct search_node *n)
{
    p->kids = arena_alloc(&s->plan_mem, sizeof(struct plan *) * n->n_kids);
    for (size_t i = 0; i < n->n_kids; i++) {
        struct plan *kid = make_plan(s, n->kids[i]);
        size_t at = p->n_kids++;

        for (; at > 0 && p->kids[at - 1]->cost > kid->cost;
             at--) /* stable: ties in the client's order */
            p->kids[at] = p->kids[at - 1];
        p->kids[at] = kid;
        if (kid->cost > p->cost)
            p->cost = kid->cost;
    }
}

static struct plan *
make_plan(struct state *s, const struct search_node *n)
{
    struct plan *p = ARENA_NEW(&s->plan_mem, struct plan);

    p->node = n;
    p->cost = cost_of(n->kind);
    if (n->kind == SEARCH_KEYWORD || n->kind == SEARCH_UNKEYWORD)
        p->keyword_bit = keyword_bit(s->view, n->text);
    if (n->kind == SEARCH_HEADER || n->kind == SEARCH_BODY || n->kind == SEARCH_TEXT) {
        buf_reset(&s->folded);
        fold_text(&s->folded, n->text);
        p->text = arena_dup(&s->plan_mem, buf_slice(&s->folded));
    }
    if (n->n_kids > 0)
        add_kids(s, p, n);
    return p;
}

/* ---- the message at hand ---- */

static void
forget_message(struct state *s)
{
    if (s->has_msg)
        store_msg_free(&s->msg);
    s->has_msg = false;
    store_file_close(&s->file);
    s->root = NULL;
    s->header = (struct slice){ 0 };
    arena_reset(&s->mime_mem);
}

/* 1 there, 0 the message is gone, -1 e. */
static int
judge(struct state *s, int rc)
{
    if (rc == 0)
        return 1;
    if (s->e->kind != ERR_NOTFOUND)
        return -1;
    s->is_gone = true;
    s->e->kind = ERR_NONE;
    return 0;
}

static int
need_msg(struct state *s)
{
    int rc;

    if (s->has_msg)
        return 1;
    rc = judge(s, store_fetch(s->view, s->seq, STORE_GET_SIZE | STORE_GET_DATE, &s->msg, s->e));
    s->has_msg = rc == 1;
    return rc;
}

static int
need_file(struct state *s, bool is_whole)
{
    int rc;

    if (s->file && (s->is_file_whole || !is_whole))
        return 1;
    s->was_file_opened = true;
    store_file_close(&s->file);
    s->is_file_whole = is_whole;
    rc = judge(s, is_whole ? store_file_open(s->view, s->seq, &s->file, s->e)
                           : store_header_open(s->view, s->seq, &s->file, s->e));
    if (rc == 1)
        s->header = mime_header_of(store_file_octets(s->file));
    return rc;
}

/* ---- text ---- */

static bool
has_text(struct state *s, struct slice utf8, struct slice needle)
{
    if (needle.n == 0)
        return true;
    buf_reset(&s->folded);
    fold_text(&s->folded, utf8);
    return s->folded.n >= needle.n &&
           memmem(s->folded.p + s->folded.off, s->folded.n, needle.p, needle.n) != NULL;
}

static bool
field_has(struct state *s, const struct mime_field *f, bool with_name, struct slice needle)
{
    buf_reset(&s->text);
    if (with_name) {
        buf_adds(&s->text, f->name);
        buf_addz(&s->text, ": ");
    }
    mime_decode_words(f->value, &s->text);
    return has_text(s, buf_slice(&s->text), needle);
}

static bool
header_has(struct state *s, struct slice header, struct slice needle)
{
    struct mime_field f;

    while (mime_next_field(&header, &f))
        if (field_has(s, &f, true, needle))
            return true;
    return false;
}

/* Any of the fields of that name; "" asks whether there is one (RFC 3501 §6.4.4). */
static bool
named_field_has(struct state *s, struct slice name, struct slice needle)
{
    struct slice header = s->header;
    struct mime_field f;

    while (mime_next_field(&header, &f))
        if (sl_ieq(f.name, name) && field_has(s, &f, false, needle))
            return true;
    return false;
}

/* Text parts, decoded, and whole messages that are attached. The header of a part counts for TEXT alone: BODY means what a
 * reader would take for the content. */
static bool
part_has(struct state *s, const struct mime_part *p, bool with_headers, struct slice needle)
{
    for (size_t i = 0; i < p->n_kids; i++) {
        const struct mime_part *kid = &p->kids[i];

        if ((with_headers || p->is_message) && header_has(s, kid->header, needle))
            return true;
        if (part_has(s, kid, with_headers, needle))
            return true;
    }
    if (p->n_kids > 0 || !sl_ieqz(p->type, "text"))
        return false;
    buf_reset(&s->text);
    mime_decode_text(p, &s->text);
    return has_text(s, buf_slice(&s->text), needle);
}

static bool
body_has(struct state *s, bool with_headers, struct slice needle)
{
    if (needle.n == 0 || (with_headers && header_has(s, s->header, needle)))
        return true;
    if (!s->root)
        s->root = mime_parse(store_file_octets(s->file), &s->mime_mem);
    return part_has(s, s->root, with_headers, needle);
}

/* ---- days ---- */

static bool
is_day(enum search_kind k, int64_t day, int64_t asked)
{
    switch (k) {
    case SEARCH_BEFORE:
    case SEARCH_SENTBEFORE:
        return day < asked;
    case SEARCH_ON:
    case SEARCH_SENTON:
        return day == asked;
    default:
        return day >= asked;
    }
}

/* The Date field as written, without its time and zone. A message without a date is on no day. */
static bool
is_sent(struct state *s, const struct search_node *n)
{
    struct slice raw = mime_get_field(s->header, "Date");
    int64_t unix_s;
    int16_t tz;

    return raw.p && mime_parse_date(raw, &unix_s, &tz) &&
           is_day(n->kind, mime_day_of_time(unix_s, tz), n->day);
}

/* ---- matching: 1 yes, 0 no, -1 e ---- */

static int
match_row(const struct state *s, const struct plan *p)
{
    const struct search_node *n = p->node;
    const struct store_row *r = &s->row;

    switch (n->kind) {
    case SEARCH_SEQS:
        return store_uids_has(&n->set, s->seq);
    case SEARCH_UIDS:
        return store_uids_has(&n->set, r->uid);
    case SEARCH_FLAG:
        return (r->flags.sys & n->sys) == n->sys;
    case SEARCH_UNFLAG:
        return (r->flags.sys & n->sys) == 0;
    case SEARCH_KEYWORD:
        return (r->flags.kw & p->keyword_bit) != 0;
    case SEARCH_UNKEYWORD:
        return (r->flags.kw & p->keyword_bit) == 0;
    case SEARCH_MODSEQ:
        return r->modseq >= n->number;
    default:
        return 1; /* SEARCH_ALL */
    }
}

static int
match_index(struct state *s, const struct search_node *n)
{
    int rc = need_msg(s);

    if (rc != 1)
        return rc;
    switch (n->kind) {
    case SEARCH_LARGER:
        return s->msg.size_octets > n->number;
    case SEARCH_SMALLER:
        return s->msg.size_octets < n->number;
    case SEARCH_OLDER: /* RFC 5032 §2 */
        return s->now_unix_s - s->msg.internaldate_unix_s >= (int64_t)n->number;
    case SEARCH_YOUNGER:
        return s->now_unix_s - s->msg.internaldate_unix_s <= (int64_t)n->number;
    default:
        return is_day(n->kind, mime_day_of_time(s->msg.internaldate_unix_s, s->msg.tz_minutes),
                      n->day);
    }
}

static int
match_file(struct state *s, const struct plan *p)
{
    int rc = need_file(s, p->cost == COST_BODY);

    if (rc != 1)
        return rc;
    switch (p->node->kind) {
    case SEARCH_HEADER:
        return named_field_has(s, p->node->field, p->text);
    case SEARCH_BODY:
        return body_has(s, false, p->text);
    case SEARCH_TEXT:
        return body_has(s, true, p->text);
    default:
        return is_sent(s, p->node);
    }
}

static int match(struct state *s, const struct plan *p);

static int
match_kids(struct state *s, const struct plan *p, int decides)
{
    for (size_t i = 0; i < p->n_kids; i++) {
        int rc = match(s, p->kids[i]);

        if (rc < 0 || rc == decides)
            return rc;
    }
    return !decides;
}

/* Depth is bounded by the parser (SEARCH_DEPTH_MAX). */
static int
match(struct state *s, const struct plan *p)
{
    int rc;

    switch (p->node->kind) {
    case SEARCH_AND:
        return match_kids(s, p, 0);
    case SEARCH_OR:
        return match_kids(s, p, 1);
    case SEARCH_NOT:
        rc = match_kids(s, p, 0);
        return rc < 0 ? rc : !rc;
    default:
        break;
    }
    if (p->cost == COST_ROW)
        return match_row(s, p);
    return p->cost == COST_INDEX ? match_index(s, p->node) : match_file(s, p);
}

/* ---- the search ---- */

static void
add_seq(uint32_t **seqs, size_t *n, uint32_t seq)
{
    if ((*n & (*n - 1)) == 0) /* full at each power of two: the caller knows no capacity */
        *seqs = mem_realloc(*seqs, sizeof **seqs * (*n ? *n * 2 : 1));
    (*seqs)[(*n)++] = seq;
}

static int
search(struct state *s, const struct plan *plan, uint32_t **seqs, size_t *n, uint32_t *at,
       bool (*yield)(void *), void *arg)
{
    unsigned since = 0;
    int rc;

    while (store_view_row(s->view, *at + 1, &s->row)) {
        s->seq = ++*at;
        s->is_gone = s->was_file_opened = false;
        rc = match(s, plan);
        forget_message(s);
        if (rc < 0)
            return -1;
        if (rc && !s->is_gone)
            add_seq(seqs, n, s->seq);
        if (!s->was_file_opened && ++since < CHEAP_A_TURN)
            continue;
        since = 0;
        if (yield && yield(arg))
            return 1;
    }
    return 0;
}

int
store_search(struct store_view *v, const struct search_node *program, uint32_t **seqs, size_t *n,
             uint32_t *at, bool (*yield)(void *), void *arg, struct err *e)
{
    struct err own = { 0 };
    struct state s = { .view = v, .now_unix_s = clock_unix_s(), .e = e ? e : &own };
    int rc = search(&s, make_plan(&s, program), seqs, n, at, yield, arg);

    buf_free(&s.text);
    buf_free(&s.folded);
    arena_free(&s.mime_mem);
    arena_free(&s.plan_mem);
    return rc;
}
