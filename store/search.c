/* store/search.c - SEARCH. A program is evaluated in three values, yes, no and not known yet, at three levels: with the
 * view's rows alone, with what the index has, with the file. A block of messages passes a level before the next, and only
 * what is not decided goes on; so a file is opened only when nothing cheaper decides. */
#include "store/search_int.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    ROWS_A_BLOCK = 4096,        /* looked at for one block */
    FILE_KEEP_OCTETS = 1 << 20, /* a longer buffer is given back after each message */
    FILE_HEADER_OCTETS = 8192   /* read at a time where the header is enough */
};

/* ---- rows ---- */

static void
look_at_row(struct store_search *s, uint32_t seq)
{
    struct message m = { .seq = seq };
    enum tri is;

    if (!store_view_row(s->view, seq, &m.row))
        return;
    is = search_match(s, &m);
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
    c->is = search_match(s, &m);
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

/* With the octets of its file. False: there are keys left to look for, in the next turn. */
static bool
match_file(struct store_search *s, struct candidate *c, struct slice octets)
{
    struct message m = { .seq = c->seq, .index = c->index, .has_file = true };
    bool is_done;

    if (!store_view_row(s->view, c->seq, &m.row)) {
        c->is = NO;
        s->key_at = 0;
        return true;
    }
    m.header = mime_header_of(octets);
    if (s->must_read_body)
        m.root = mime_parse(octets, &s->mime_mem);
    is_done = search_some_keys(s, &m, octets.n);
    if (is_done)
        c->is = search_match(s, &m);
    arena_reset(&s->mime_mem);
    return is_done;
}

/* Not where the index said: renamed meanwhile, or gone, or not readable. The usual way finds out. As look_into(). */
static int
match_elsewhere(struct store_search *s, struct candidate *c, struct err *e)
{
    struct store_file *f;
    int rc = s->must_read_body ? store_file_open(s->view, c->seq, &f, e)
                               : store_header_open(s->view, c->seq, &f, e);

    if (rc == 0) {
        bool is_done = match_file(s, c, store_file_octets(f));

        store_file_close(&f);
        return is_done ? 0 : 1;
    }
    if (e->kind != ERR_NOTFOUND)
        return -1;
    *e = (struct err){ 0 };
    c->is = NO;
    s->key_at = 0;
    return 0;
}

/* 0; 1: not done, call again; -1. */
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
    return match_file(s, c, buf_slice(&s->octets)) ? 0 : 1;
}

static int
run_files(struct store_search *s, bool (*yield)(void *), void *arg, struct err *e)
{
    while (s->at_file < s->n_block && (is_all(s) || !is_enough(s))) {
        struct candidate *c = block_at(s, s->at_file);
        bool must_look = c->is == MAYBE;
        int rc = must_look ? look_into(s, c, e) : 0;

        if (rc < 0)
            return -1;
        if (rc == 0) {
            s->at_file++;
            s->n_yes += c->is == YES;
        }
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
    s->plan = search_make_plan(s, program);
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
