/* store/search.c - SEARCH. A program is evaluated in three values, yes, no and not known yet, at three levels: with the
 * view's rows alone, with what the index has, with the file. A block of messages passes a level before the next, and only
 * what is not decided goes on; so a file is opened only when nothing cheaper decides. */
#include "store/search.h"

#include "base/clock.h"
#include "base/mem.h"
#include "store/bulk.h"
#include "store/search_text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum level { LEVEL_ROW, LEVEL_INDEX, LEVEL_FILE };
enum tri { NO, YES, MAYBE };
enum {
    ROWS_A_BLOCK = 4096,        /* looked at for one block */
    FILE_KEEP_OCTETS = 1 << 20, /* a longer buffer is given back after each message */
    FILE_HEADER_OCTETS = 8192   /* read at a time where the header is enough */
};

struct plan {
    const struct search_node *node;
    enum level level;
    struct plan **kids; /* cheapest first */
    size_t n_kids;
    struct needle needle; /* HEADER */
    size_t key;           /* BODY, TEXT: in the search's keys */
    uint64_t keyword_bit; /* 0: the mailbox has no such keyword */
    int64_t id;           /* EMAILID, THREADID; 0: none that is ours */
};

struct candidate {
    uint32_t seq;
    enum tri is;
    struct bulk_row *
        index; /* in block_mem, without texts but for the file's name: what is MAYBE after LEVEL_INDEX */
};

enum phase { PHASE_ROWS, PHASE_INDEX, PHASE_FILES };

struct store_search {
    struct store_view *view;
    struct arena plan_mem, block_mem, mime_mem;
    const struct plan *plan;
    unsigned need;           /* BULK_* */
    bool must_read_body;     /* where a file is opened at all */
    struct search_key *keys; /* of all BODY and TEXT */
    size_t n_keys, cap_keys;
    bool are_keys_known; /* of the message at hand, each found or not */
    int64_t now_unix_s;
    uint32_t *seqs; /* what was found, upwards and then from the end down */
    size_t n, cap;
    size_t most_first, most_last; /* as many are enough; 0, 0: all */
    bool has_among;
    struct store_uids among; /* only these sequence numbers */
    size_t range;            /* of among, where at is */
    uint32_t exists, at;     /* at: last sequence number looked at */
    bool is_down;            /* from the end now: */
    size_t n_up;             /* found before */
    uint32_t top, floor;     /* next to look at, and where to stop before */
    enum phase phase;
    struct candidate block[BULK_BLOCK];
    size_t n_block, at_file,
        n_yes; /* of the block those that are decided, in the direction of the search */
    uint32_t maybe[BULK_BLOCK];
    struct bulk bulk;
    struct search_scratch scratch;
    int dir_fd[2]; /* new/ and cur/, once one is needed; -1 */
    struct buf octets;
};

/* The message at hand; at LEVEL_FILE header and root are of its file. */
struct message {
    uint32_t seq;
    struct store_row row;
    const struct bulk_row *index; /* NULL: not read yet */
    bool has_file;
    struct slice header; /* of the file */
    const struct mime_part *root;
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

static struct plan *make_plan(struct store_search *s, const struct search_node *n);

static void
add_kids(struct store_search *s, struct plan *p, const struct search_node *n)
{
    p->kids = arena_alloc(&s->plan_mem, sizeof(struct plan *) * n->n_kids);
    for (size_t i = 0; i < n->n_kids; i++) {
        struct plan *kid = make_plan(s, n->kids[i]);
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
static struct plan *
make_plan(struct store_search *s, const struct search_node *n)
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

static enum tri
match_all(struct store_search *s, const struct message *m)
{
    s->are_keys_known = false;
    return match(s, m, s->plan);
}

/* ---- rows ---- */

static void
look_at_row(struct store_search *s, uint32_t seq)
{
    struct message m = { .seq = seq };
    enum tri is;

    if (!store_view_row(s->view, seq, &m.row))
        return;
    is = match_all(s, &m);
    if (is != NO)
        s->block[s->n_block++] = (struct candidate){ .seq = seq, .is = is };
}

/* The next one upwards; 0: no more. */
static uint32_t
next_up(struct store_search *s)
{
    uint32_t seq = s->at + 1;

    if (s->has_among) {
        while (s->range < s->among.n && s->among.v[s->range].last < seq)
            s->range++;
        if (s->range == s->among.n)
            return 0;
        if (s->among.v[s->range].first > seq)
            seq = s->among.v[s->range].first;
    }
    return seq <= s->exists ? seq : 0;
}

static bool
next_block_up(struct store_search *s)
{
    uint32_t seq = 0;

    for (unsigned n = 0; n < ROWS_A_BLOCK && s->n_block < BULK_BLOCK && (seq = next_up(s)) != 0;
         n++) {
        s->at = seq;
        look_at_row(s, seq);
    }
    return s->n_block > 0 || seq != 0;
}

/* So few that all may be candidates; within the block they go upwards as ever. */
static bool
next_block_down(struct store_search *s)
{
    uint32_t lo = s->top > s->floor + BULK_BLOCK ? s->top - BULK_BLOCK + 1 : s->floor + 1;

    if (s->top <= s->floor)
        return false;
    for (uint32_t seq = lo; seq <= s->top; seq++)
        if (!s->has_among || store_uids_has(&s->among, seq))
            look_at_row(s, seq);
    s->top = lo - 1;
    return true;
}

/* Have as many been found as were asked for, in this direction? Those of the block that are decided count. */
static bool
is_enough(const struct store_search *s)
{
    if (s->is_down)
        return s->n - s->n_up + s->n_yes >= s->most_last;
    return s->most_first > 0 ? s->n + s->n_yes >= s->most_first : s->most_last > 0;
}

static bool
is_all(const struct store_search *s)
{
    return s->most_first == 0 && s->most_last == 0;
}

/* The block's i-th in the direction of the search. */
static struct candidate *
block_at(struct store_search *s, size_t i)
{
    return &s->block[s->is_down ? s->n_block - 1 - i : i];
}

static void
reverse(uint32_t *v, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        uint32_t t = v[i];

        v[i] = v[n - 1 - i];
        v[n - 1 - i] = t;
    }
}

/* One direction is done. False: and so is the search. */
static bool
turn_around(struct store_search *s)
{
    if (s->is_down)
        reverse(s->seqs + s->n_up, s->n - s->n_up);
    if (s->is_down || s->most_last == 0)
        return false;
    s->floor = s->most_first == 0 ? 0 : is_enough(s) ? s->seqs[s->n - 1] : s->exists;
    s->is_down = true;
    s->n_up = s->n;
    s->top = s->exists;
    return true;
}

/* The next block of messages that may match. False: there are no more, and it is empty. */
static bool
next_block(struct store_search *s)
{
    s->n_block = s->n_yes = 0;
    if ((is_all(s) || !is_enough(s)) && (s->is_down ? next_block_down(s) : next_block_up(s)))
        return true;
    return turn_around(s) && next_block_down(s);
}

static void
begin_index(struct store_search *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n_block; i++)
        if (s->block[i].is == MAYBE)
            s->maybe[n++] = s->block[i].seq;
    s->bulk = (struct bulk){ .v = s->view, .need = s->need, .seqs = s->maybe, .n = n };
    s->phase = PHASE_INDEX;
}

/* ---- the index ---- */

static struct candidate *
candidate_of(struct store_search *s, uint32_t seq)
{
    size_t lo = 0, hi = s->n_block - 1;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (s->block[mid].seq < seq)
            lo = mid + 1;
        else
            hi = mid;
    }
    return &s->block[lo];
}

static void
take_index(void *to, const struct bulk_row *r)
{
    struct store_search *s = to;
    struct candidate *c = candidate_of(s, r->seq);
    struct message m = { .seq = r->seq, .index = r };

    if (!r->is_there || !store_view_row(s->view, r->seq, &m.row)) {
        c->is = NO;
        return;
    }
    c->is = match_all(s, &m);
    if (c->is != MAYBE)
        return;
    c->index = ARENA_NEW(&s->block_mem, struct bulk_row);
    *c->index = *r;
    c->index->has_headers = false;
    c->index->file = arena_dup(&s->block_mem, r->file);
}

/* ---- files ---- */

/* Its descriptor, or -1. */
static int
open_file(struct store_search *s, const struct bulk_row *r)
{
    int part = r->dir == MAILDIR_NEW ? 0 : 1, fd;

    if (s->dir_fd[part] < 0) {
        char *path = path_join(s->view->dir, part == 0 ? "new" : "cur", NULL);

        s->dir_fd[part] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        free(path);
        if (s->dir_fd[part] < 0)
            return -1;
    }
    fd = openat(s->dir_fd[part], r->file.p, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOATIME);
    if (fd < 0 && errno == EPERM)
        fd = openat(s->dir_fd[part], r->file.p, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return fd;
}

/* Is the header whole? */
static bool
has_header(struct slice octets)
{
    return mime_header_of(octets).n < octets.n;
}

/* As it is on disk. false: errno. */
static bool
read_file(struct store_search *s, int fd)
{
    off_t size = s->must_read_body ? lseek(fd, 0, SEEK_END) : FILE_HEADER_OCTETS;
    size_t room = size > 0 ? (size_t)size + 1 : FILE_HEADER_OCTETS;
    ssize_t got;

    if (s->octets.cap > FILE_KEEP_OCTETS)
        buf_free(&s->octets);
    buf_reset(&s->octets);
    do {
        char *to = buf_reserve(&s->octets, room);

        got = pread(fd, to, room, (off_t)s->octets.n);
        if (got > 0)
            buf_commit(&s->octets, (size_t)got);
        if (got > 0 && (size_t)got < room && s->must_read_body)
            room -= (size_t)got; /* mostly what is left is nothing: one more call says so */
        if (got > 0 && !s->must_read_body) {
            if (has_header(buf_slice(&s->octets)))
                break;
            room = s->octets.n; /* twice as much each time: it is looked at from its beginning */
        }
    } while (got > 0 || (got < 0 && errno == EINTR));
    return got >= 0;
}

/* With the octets of its file. */
static void
match_file(struct store_search *s, struct candidate *c, struct slice octets)
{
    struct message m = { .seq = c->seq, .index = c->index, .has_file = true };

    if (!store_view_row(s->view, c->seq, &m.row)) {
        c->is = NO;
        return;
    }
    m.header = mime_header_of(octets);
    if (s->must_read_body)
        m.root = mime_parse(octets, &s->mime_mem);
    c->is = match_all(s, &m);
    arena_reset(&s->mime_mem);
}

/* Not where the index said: renamed meanwhile, or gone, or not readable. The usual way finds out. */
static int
match_elsewhere(struct store_search *s, struct candidate *c, struct err *e)
{
    struct store_file *f;
    int rc = s->must_read_body ? store_file_open(s->view, c->seq, &f, e)
                               : store_header_open(s->view, c->seq, &f, e);

    if (rc == 0) {
        match_file(s, c, store_file_octets(f));
        store_file_close(&f);
        return 0;
    }
    if (e->kind != ERR_NOTFOUND)
        return -1;
    *e = (struct err){ 0 };
    c->is = NO;
    return 0;
}

static int
look_into(struct store_search *s, struct candidate *c, struct err *e)
{
    int fd = open_file(s, c->index);
    bool is_read;

    if (fd < 0)
        return match_elsewhere(s, c, e);
    is_read = read_file(s, fd);
    close(fd);
    if (!is_read)
        return match_elsewhere(s, c, e);
    match_file(s, c, buf_slice(&s->octets));
    return 0;
}

static int
run_files(struct store_search *s, bool (*yield)(void *), void *arg, struct err *e)
{
    while (s->at_file < s->n_block && (is_all(s) || !is_enough(s))) {
        struct candidate *c = block_at(s, s->at_file++);
        bool must_look = c->is == MAYBE;

        if (must_look && look_into(s, c, e))
            return -1;
        s->n_yes += c->is == YES;
        if (must_look && yield && yield(arg))
            return 1;
    }
    return 0;
}

/* ---- the search ---- */

static void
take_found(struct store_search *s)
{
    for (size_t i = 0; i < s->at_file; i++)
        if (block_at(s, i)->is == YES) {
            s->seqs = mem_grow(s->seqs, &s->cap, s->n + 1, sizeof(s->seqs[0]));
            s->seqs[s->n++] = block_at(s, i)->seq;
        }
    s->n_block = s->n_yes = 0;
    arena_reset(&s->block_mem);
    s->phase = PHASE_ROWS;
}

/* Sequence numbers of a set of UIDs. */
static void
seqs_of(const struct store_view *v, const struct store_uids *uids, struct store_uids *seqs)
{
    for (size_t i = 0; i < uids->n; i++) {
        uint32_t first = store_view_seq_at_least(v, uids->v[i].first);
        uint32_t last = uids->v[i].last == UINT32_MAX
                            ? UINT32_MAX
                            : store_view_seq_at_least(v, uids->v[i].last + 1) - 1;

        if (first <= last)
            store_uids_add(seqs, first, last);
    }
}

/* Of a program that asks for a set and more, nothing but the set need be looked at. */
static void
find_range(struct store_search *s, const struct search_node *root)
{
    const struct search_node *set = NULL;

    for (size_t i = 0; i < root->n_kids && !set && root->kind == SEARCH_AND; i++)
        if (root->kids[i]->kind == SEARCH_SEQS || root->kids[i]->kind == SEARCH_UIDS)
            set = root->kids[i];
    if (!set)
        return;
    s->has_among = true;
    if (set->kind == SEARCH_UIDS)
        seqs_of(s->view, &set->set, &s->among);
    for (size_t i = 0; i < set->set.n && set->kind == SEARCH_SEQS; i++)
        store_uids_add(&s->among, set->set.v[i].first, set->set.v[i].last);
}

struct store_search *
store_search_new(struct store_view *v, const struct search_node *program)
{
    struct store_search *s = MEM_NEW(struct store_search);
    struct store_box box;

    store_view_box(v, &box);
    s->exists = box.exists;
    s->view = v;
    s->now_unix_s = clock_unix_s();
    s->dir_fd[0] = s->dir_fd[1] = -1;
    s->plan = make_plan(s, program);
    find_range(s, program);
    return s;
}

void
store_search_limit(struct store_search *s, size_t first, size_t last)
{
    s->most_first = first;
    s->most_last = last;
}

void
store_search_range(const struct store_search *s, struct store_uids *seqs)
{
    *seqs = (struct store_uids){ 0 };
    for (size_t i = 0; i < s->among.n && s->among.v[i].first <= s->exists; i++) {
        struct store_uid_range r = s->among.v[i];

        store_uids_add(seqs, r.first, r.last < s->exists ? r.last : s->exists);
    }
    if (!s->has_among && s->exists > 0)
        store_uids_add(seqs, 1, s->exists);
}

void
store_search_among(struct store_search *s, const struct store_uids *seqs)
{
    store_uids_free(&s->among);
    for (size_t i = 0; i < seqs->n; i++)
        store_uids_add(&s->among, seqs->v[i].first, seqs->v[i].last);
    s->has_among = true;
}

int
store_search_run(struct store_search *s, bool (*yield)(void *), void *arg, struct err *e)
{
    struct err own = { 0 };
    int rc = 0;

    if (!e)
        e = &own;
    for (;;) {
        switch (s->phase) {
        case PHASE_ROWS:
            if (!next_block(s))
                return 0;
            begin_index(s);
            break;
        case PHASE_INDEX:
            rc = bulk_run(&s->bulk, take_index, s, yield, arg, e);
            if (rc == 0) {
                s->phase = PHASE_FILES;
                s->at_file = 0;
            }
            break;
        case PHASE_FILES:
            rc = run_files(s, yield, arg, e);
            if (rc == 0) {
                take_found(s);
                rc = yield && yield(arg);
            }
            break;
        }
        if (rc != 0)
            return rc;
    }
}

const uint32_t *
store_search_result(const struct store_search *s, size_t *n)
{
    *n = s->n;
    return s->seqs;
}

uint32_t
store_search_done(const struct store_search *s)
{
    size_t i = s->phase == PHASE_INDEX ? 0 : s->phase == PHASE_FILES ? s->at_file : s->n_block;

    if (s->is_down)
        return s->exists - s->top;
    return i < s->n_block ? s->block[i].seq - 1 : s->at;
}

void
store_search_free(struct store_search **sp)
{
    struct store_search *s = *sp;

    if (!s)
        return;
    *sp = NULL;
    for (int i = 0; i < 2; i++)
        if (s->dir_fd[i] >= 0)
            close(s->dir_fd[i]);
    bulk_end(&s->bulk);
    search_scratch_free(&s->scratch);
    buf_free(&s->octets);
    arena_free(&s->plan_mem);
    arena_free(&s->block_mem);
    arena_free(&s->mime_mem);
    store_uids_free(&s->among);
    free(s->keys);
    free(s->seqs);
    free(s);
}
