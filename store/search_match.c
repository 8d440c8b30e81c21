/* store/search_match.c - see search_int.h: which messages a program matches, in three values and at three levels. */
#include "store/search_int.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

enum { /* of a message so much is held against keys before it is others' turn: octets times keys */
       KEYS_TURN_OCTETS = 256 * 1024 * 1024,
       KEYS_TURN_MIN = 32 /* its texts are decoded each time */
};

/* ---- the plan ---- */

static enum level
level_of(const struct search_node *n)
{
    switch (n->kind) {
    case SEARCH_BEFORE:
    case SEARCH_ON:
    case SEARCH_SINCE:
    case SEARCH_SENTBEFORE:
    case SEARCH_SENTON:
    case SEARCH_SENTSINCE:
    case SEARCH_SAVEDBEFORE:
    case SEARCH_SAVEDON:
    case SEARCH_SAVEDSINCE:
    case SEARCH_LARGER:
    case SEARCH_SMALLER:
    case SEARCH_OLDER:
    case SEARCH_YOUNGER:
    case SEARCH_EMAILID:
    case SEARCH_THREADID:
        return LEVEL_INDEX;
    case SEARCH_HEADER:
        return store_caches_field(n->field) ? LEVEL_INDEX : LEVEL_FILE;
    case SEARCH_BODY:
    case SEARCH_TEXT:
        return LEVEL_FILE;
    default:
        return LEVEL_ROW;
    }
}

static unsigned
need_of(const struct search_node *n)
{
    switch (n->kind) {
    case SEARCH_LARGER:
    case SEARCH_SMALLER:
        return BULK_SIZE;
    case SEARCH_SENTBEFORE:
    case SEARCH_SENTON:
    case SEARCH_SENTSINCE:
        return BULK_SORT;
    case SEARCH_THREADID:
        return BULK_THREAD;
    case SEARCH_HEADER:
        return store_caches_field(n->field) ? BULK_HEADERS : 0;
    default:
        return 0;
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

/* "M0123456789abcdef", as store_fetch() writes it. */
static int64_t
object_id(struct slice text, char letter)
{
    char z[18], again[18];
    unsigned long long v;

    if (text.n != 17)
        return 0;
    memcpy(z, text.p, 17);
    z[17] = '\0';
    v = strtoull(z + 1, NULL, 16);
    snprintf(again, sizeof(again), "%c%016llx", letter, v);
    return strcmp(z, again) == 0 ? (int64_t)v : 0;
}

static void
add_kids(struct store_search *s, struct plan *p, const struct search_node *n)
{
    p->kids = arena_alloc(&s->plan_mem, sizeof(struct plan *) * n->n_kids);
    for (size_t i = 0; i < n->n_kids; i++) {
        struct plan *kid = search_make_plan(s, n->kids[i]);
        size_t at = p->n_kids++;

        for (; at > 0 && p->kids[at - 1]->level > kid->level;
             at--) /* stable: ties in the client's order */
            p->kids[at] = p->kids[at - 1];
        p->kids[at] = kid;
        if (kid->level > p->level)
            p->level = kid->level;
    }
}

/* Depth is bounded by the parser (SEARCH_DEPTH_MAX). */
struct plan *
search_make_plan(struct store_search *s, const struct search_node *n)
{
    struct plan *p = ARENA_NEW(&s->plan_mem, struct plan);

    p->node = n;
    p->level = level_of(n);
    s->need |= need_of(n);
    switch (n->kind) {
    case SEARCH_KEYWORD:
    case SEARCH_UNKEYWORD:
        p->keyword_bit = keyword_bit(s->view, n->text);
        break;
    case SEARCH_EMAILID:
    case SEARCH_THREADID:
        p->id = object_id(n->text, n->kind == SEARCH_EMAILID ? 'M' : 'T');
        break;
    case SEARCH_BODY:
    case SEARCH_TEXT:
        s->must_read_body = true;
        p->key = s->n_keys++;
        s->keys = mem_grow(s->keys, &s->cap_keys, s->n_keys, sizeof(s->keys[0]));
        s->keys[p->key] = (struct search_key){ .in_headers = n->kind == SEARCH_TEXT };
        needle_init(&s->keys[p->key].needle, n->text, &s->plan_mem);
        break;
    case SEARCH_HEADER:
        needle_init(&p->needle, n->text, &s->plan_mem);
        break;
    default:
        break;
    }
    if (n->n_kids > 0)
        add_kids(s, p, n);
    return p;
}

/* ---- matching ---- */

static enum tri
tri_of(bool is)
{
    return is ? YES : NO;
}

static bool
is_day(enum search_kind k, int64_t day, int64_t asked)
{
    switch (k) {
    case SEARCH_BEFORE:
    case SEARCH_SENTBEFORE:
    case SEARCH_SAVEDBEFORE:
        return day < asked;
    case SEARCH_ON:
    case SEARCH_SENTON:
    case SEARCH_SAVEDON:
        return day == asked;
    default:
        return day >= asked;
    }
}

static bool
match_row(const struct message *m, const struct plan *p)
{
    const struct search_node *n = p->node;
    const struct store_row *r = &m->row;

    switch (n->kind) {
    case SEARCH_SEQS:
        return store_uids_has(&n->set, m->seq);
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
        return true; /* SEARCH_ALL */
    }
}

/* The Date field as written, without its time and zone. A message without a date is on no day. */
static enum tri
match_sent(const struct message *m, const struct search_node *n)
{
    int64_t unix_s;
    int16_t tz;

    if (m->index && m->index->has_sort)
        return tri_of(
            m->index->has_sent &&
            is_day(n->kind, mime_day_of_time(m->index->sent_s, m->index->sent_tz_minutes), n->day));
    if (!m->has_file)
        return MAYBE;
    return tri_of(mime_parse_date(mime_get_field(m->header, "Date"), &unix_s, &tz) &&
                  is_day(n->kind, mime_day_of_time(unix_s, tz), n->day));
}

static enum tri
match_header(struct store_search *s, const struct message *m, const struct plan *p)
{
    struct slice header = m->header;

    if (!m->has_file) {
        if (p->level > LEVEL_INDEX || !m->index->has_headers || !m->index->headers.p)
            return MAYBE;
        header = m->index->headers;
    }
    return tri_of(search_field_has(&s->scratch, header, p->node->field, &p->needle));
}

/* All keys at once when the first is asked for: each text is decoded once. With the index alone: TEXT in headers. */
static enum tri
match_text(struct store_search *s, const struct message *m, const struct plan *p)
{
    const struct search_key *key = &s->keys[p->key];

    if (key->needle.folded.n == 0)
        return YES;
    if (!s->are_keys_known) {
        for (size_t i = 0; i < s->n_keys; i++)
            s->keys[i].is_found = false;
        if (!m->has_file && m->index->has_headers && m->index->headers.p)
            search_header_keys(&s->scratch, m->index->headers, s->keys, s->n_keys);
        if (m->has_file) {
            search_header_keys(&s->scratch, m->header, s->keys, s->n_keys);
            search_body_keys(&s->scratch, m->root, s->keys, s->n_keys);
        }
        s->are_keys_known = true;
    }
    return key->is_found ? YES : m->has_file ? NO : MAYBE;
}

static enum tri
match_leaf(struct store_search *s, const struct message *m, const struct plan *p)
{
    const struct search_node *n = p->node;
    const struct bulk_row *i = m->index;

    if (p->level == LEVEL_ROW)
        return tri_of(match_row(m, p));
    if (!i && !m->has_file)
        return MAYBE;
    switch (n->kind) {
    case SEARCH_HEADER:
        return match_header(s, m, p);
    case SEARCH_BODY:
    case SEARCH_TEXT:
        return match_text(s, m, p);
    case SEARCH_SENTBEFORE:
    case SEARCH_SENTON:
    case SEARCH_SENTSINCE:
        return match_sent(m, n);
    default:
        break;
    }
    switch (n->kind) {
    case SEARCH_LARGER: /* of a message that cannot be read it stays open, and is not found under NOT either */
        return i->crlf < 0 ? MAYBE : tri_of((uint64_t)i->crlf > n->number);
    case SEARCH_SMALLER:
        return i->crlf < 0 ? MAYBE : tri_of((uint64_t)i->crlf < n->number);
    case SEARCH_OLDER: /* RFC 5032 §2 */
        return tri_of(s->now_unix_s - i->date_s >= (int64_t)n->number);
    case SEARCH_YOUNGER:
        return tri_of(s->now_unix_s - i->date_s <= (int64_t)n->number);
    case SEARCH_EMAILID:
        return tri_of(p->id != 0 && i->email == p->id);
    case SEARCH_THREADID:
        return p->id != 0 && i->thread == 0 ? MAYBE : tri_of(p->id != 0 && i->thread == p->id);
    case SEARCH_SAVEDBEFORE:
    case SEARCH_SAVEDON:
    case SEARCH_SAVEDSINCE:
        return tri_of(is_day(n->kind,
                             mime_day_of_time(i->savedate_s, mime_local_tz_minutes(i->savedate_s)),
                             n->day));
    default: /* BEFORE, ON, SINCE */
        return tri_of(is_day(n->kind,
                             mime_day_of_time(i->date_s, i->tz_minutes == TZ_LOCAL
                                                             ? mime_local_tz_minutes(i->date_s)
                                                             : (int16_t)i->tz_minutes),
                             n->day));
    }
}

static enum tri match(struct store_search *s, const struct message *m, const struct plan *p);

/* AND ends with the first NO, OR with the first YES; else one MAYBE makes it MAYBE. */
static enum tri
match_kids(struct store_search *s, const struct message *m, const struct plan *p, enum tri decides)
{
    enum tri is = decides == NO ? YES : NO;

    for (size_t i = 0; i < p->n_kids; i++) {
        enum tri kid = match(s, m, p->kids[i]);

        if (kid == decides)
            return decides;
        if (kid == MAYBE)
            is = MAYBE;
    }
    return is;
}

static enum tri
match(struct store_search *s, const struct message *m, const struct plan *p)
{
    enum tri is;

    switch (p->node->kind) {
    case SEARCH_AND:
        return match_kids(s, m, p, NO);
    case SEARCH_OR:
        return match_kids(s, m, p, YES);
    case SEARCH_NOT:
        is = match_kids(s, m, p, NO);
        return is == MAYBE ? MAYBE : tri_of(is == NO);
    default:
        return match_leaf(s, m, p);
    }
}

bool
search_some_keys(struct store_search *s, const struct message *m, size_t octets)
{
    size_t most = KEYS_TURN_OCTETS / (octets + 1), n = s->n_keys - s->key_at;

    most = most < KEYS_TURN_MIN ? KEYS_TURN_MIN : most;
    if (s->key_at == 0 && s->n_keys <= most)
        return true; /* search_match() looks for them if it must */
    n = n < most ? n : most;
    for (size_t i = s->key_at; i < s->key_at + n; i++)
        s->keys[i].is_found = false;
    search_header_keys(&s->scratch, m->header, s->keys + s->key_at, n);
    search_body_keys(&s->scratch, m->root, s->keys + s->key_at, n);
    s->key_at += n;
    return s->key_at == s->n_keys;
}

enum tri
search_match(struct store_search *s, const struct message *m)
{
    s->are_keys_known = s->key_at > 0; /* search_some_keys() */
    s->key_at = 0;
    return match(s, m, s->plan);
}
