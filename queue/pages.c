/* queue/pages.c - see pages.h. Numbers in the file are big-endian. */
#include "queue/pages.h"

#include "base/buf.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PAGE_OCTETS_DEFAULT = 4096, /* where neither header can tell; what we make ourselves */
    PAGE_OCTETS_MIN = 512,
    PAGE_OCTETS_MAX = 65536,
    FILE_HEADER_OCTETS = 100,
    LOG_HEADER_OCTETS = 32,
    FRAME_HEADER_OCTETS = 24,
    VARINT_OCTETS_MAX = 9,
    CELLS_MIN_OCTETS = 4,   /* no cell is smaller */
    LOG_MAGIC = 0x377f0682, /* and 1 more where its sums take big-endian words */
    PAGE_INDEX_INNER = 2,
    PAGE_INDEX_LEAF = 10,
    PAGE_TABLE_LEAF = 13
};

struct frame {
    uint32_t page;
    uint64_t at; /* of its content, in the log */
};

struct pages {
    int fd, log_fd;                          /* log_fd -1: there is none */
    uint32_t page_octets, usable, n, n_file; /* n_file: as long as the file is */
    struct frame *frames;                    /* by page */
    size_t n_frames, cap_frames;
    unsigned char *page; /* the one being looked at */
    unsigned char *more; /* one of a chain */
    struct buf payload;
    uint64_t n_unreadable;
    bool is_log_spoilt;
};

static uint32_t
be16(const unsigned char *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t
be32(const unsigned char *p)
{
    return be16(p) << 16 | be16(p + 2);
}

static uint32_t
le32(const unsigned char *p)
{
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static bool
read_at(int fd, void *to, size_t n, uint64_t at)
{
    size_t done = 0;

    while (done < n) {
        ssize_t got = pread(fd, (char *)to + done, n - done, (off_t)(at + done));

        if (got <= 0) {
            if (got < 0 && errno == EINTR)
                continue;
            return false;
        }
        done += (size_t)got;
    }
    return true;
}

/* ---- the log ---- */

static bool
is_page_size(uint32_t n)
{
    return n >= PAGE_OCTETS_MIN && n <= PAGE_OCTETS_MAX && (n & (n - 1)) == 0;
}

struct sums {
    uint32_t a, b;
};

static void
add_sums(struct sums *s, const unsigned char *p, size_t n, bool is_big)
{
    for (size_t i = 0; i + 8 <= n; i += 8) {
        s->a += (is_big ? be32(p + i) : le32(p + i)) + s->b;
        s->b += (is_big ? be32(p + i + 4) : le32(p + i + 4)) + s->a;
    }
}

static int
by_page(const void *a, const void *b)
{
    const struct frame *x = a, *y = b;

    if (x->page != y->page)
        return x->page < y->page ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* The last of each page's. */
static void
keep_latest(struct pages *p)
{
    size_t n = 0;

    if (p->n_frames > 0)
        qsort(p->frames, p->n_frames, sizeof *p->frames, by_page);
    for (size_t i = 0; i < p->n_frames; i++)
        if (i + 1 == p->n_frames || p->frames[i + 1].page != p->frames[i].page)
            p->frames[n++] = p->frames[i];
    p->n_frames = n;
}

/* A frame's sums go on from the ones before it, which stand in that one's header: so each can be checked though another is
 * spoilt, and a spoilt one costs one page. Frames behind the last commit belong to nobody: they count for nothing. A commit
 * is on disk before the next transaction writes. */
static void
read_log(struct pages *p)
{
    unsigned char h[LOG_HEADER_OCTETS], f[FRAME_HEADER_OCTETS];
    struct sums before;
    size_t n_committed = 0;
    bool is_big, is_header_good, has_bad, has_commit_behind = false;

    if (p->log_fd < 0 || !read_at(p->log_fd, h, sizeof h, 0) ||
        !read_at(p->log_fd, f, sizeof f, LOG_HEADER_OCTETS))
        return;
    is_header_good = (be32(h) & ~1U) == LOG_MAGIC && be32(h + 8) == p->page_octets;
    is_big = is_header_good && (be32(h) & 1U);
    if (!is_header_good) /* the frames name their generation, too */
        memcpy(h + 16, f + 8, 8);
    has_bad = !is_header_good;
    before = (struct sums){ be32(h + 24), be32(h + 28) };
    for (uint64_t at = LOG_HEADER_OCTETS; read_at(p->log_fd, f, sizeof f, at);
         at += sizeof f + p->page_octets) {
        struct sums s = before;
        bool is_good;

        if (!read_at(p->log_fd, p->page, p->page_octets, at + sizeof f))
            break;
        add_sums(&s, f, 8, is_big);
        add_sums(&s, p->page, p->page_octets, is_big);
        before = (struct sums){ be32(f + 16), be32(f + 20) };
        is_good =
            be32(f) > 0 && memcmp(f + 8, h + 16, 8) == 0 &&
            ((s.a == before.a && s.b == before.b) || (!is_header_good && at == LOG_HEADER_OCTETS));
        if (!is_good) {
            has_bad = true;
            continue;
        }
        p->is_log_spoilt = p->is_log_spoilt || has_commit_behind;
        p->frames = mem_grow(p->frames, &p->cap_frames, p->n_frames + 1, sizeof *p->frames);
        p->frames[p->n_frames++] = (struct frame){ be32(f), at + sizeof f };
        if (be32(f + 4) > 0) {
            n_committed = p->n_frames;
            p->n = be32(f + 4);
            has_commit_behind = has_bad;
        }
    }
    p->n_frames = n_committed;
    keep_latest(p);
}

/* ---- pages ---- */

static bool
read_page(struct pages *p, uint32_t n, unsigned char *to)
{
    size_t low = 0, high = p->n_frames;
    bool is_there;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (p->frames[mid].page < n)
            low = mid + 1;
        else
            high = mid;
    }
    if (low < p->n_frames && p->frames[low].page == n)
        is_there = read_at(p->log_fd, to, p->page_octets, p->frames[low].at);
    else
        is_there = read_at(p->fd, to, p->page_octets, (uint64_t)(n - 1) * p->page_octets);
    p->n_unreadable += !is_there;
    return is_there;
}

int
pages_open(const char *db_path, struct pages **out, struct err *e)
{
    struct pages *p = MEM_NEW(struct pages);
    unsigned char h[FILE_HEADER_OCTETS];
    struct buf log = { 0 };
    struct stat st;

    p->log_fd = -1;
    p->fd = open(db_path, O_RDONLY | O_CLOEXEC);
    if (p->fd < 0 || fstat(p->fd, &st) != 0) {
        err_sys(e, "open %s", db_path);
        pages_close(&p);
        return -1;
    }
    buf_addf(&log, "%s-wal", db_path);
    p->log_fd = open(buf_z(&log), O_RDONLY | O_CLOEXEC);
    buf_free(&log);
    if (read_at(p->fd, h, sizeof h, 0) && memcmp(h, "SQLite format 3", 16) == 0) {
        p->page_octets = be16(h + 16) == 1 ? PAGE_OCTETS_MAX : be16(h + 16);
        p->usable = p->page_octets - h[20];
    }
    if (!is_page_size(p->page_octets) || p->usable < 480) { /* the format's least */
        bool has = p->log_fd >= 0 && read_at(p->log_fd, h, LOG_HEADER_OCTETS, 0);

        p->page_octets = has && is_page_size(be32(h + 8)) ? be32(h + 8) : PAGE_OCTETS_DEFAULT;
        p->usable = p->page_octets;
    }
    p->n = p->n_file = (uint32_t)((uint64_t)st.st_size / p->page_octets);
    p->page = mem_alloc(p->page_octets);
    p->more = mem_alloc(p->page_octets);
    p->payload.max = PAGES_PAYLOAD_OCTETS;
    read_log(p);
    *out = p;
    return 0;
}

void
pages_close(struct pages **pp)
{
    struct pages *p = *pp;

    if (p == NULL)
        return;
    *pp = NULL;
    if (p->fd >= 0)
        close(p->fd);
    if (p->log_fd >= 0)
        close(p->log_fd);
    free(p->frames);
    free(p->page);
    free(p->more);
    buf_free(&p->payload);
    free(p);
}

uint32_t
pages_count(const struct pages *p)
{
    return p->n;
}

bool
pages_log_is_spoilt(const struct pages *p)
{
    return p->is_log_spoilt;
}

uint64_t
pages_unreadable(const struct pages *p)
{
    return p->n_unreadable;
}

/* ---- cells and records ---- */

static bool
take_varint(struct slice *in, uint64_t *v)
{
    uint64_t r = 0;

    for (size_t i = 0; i < in->n && i < VARINT_OCTETS_MAX; i++) {
        unsigned char c = (unsigned char)in->p[i];

        if (i == VARINT_OCTETS_MAX - 1)
            r = r << 8 | c;
        else
            r = r << 7 | (c & 0x7fU);
        if (i == VARINT_OCTETS_MAX - 1 || c < 0x80) {
            *in = sl_from(*in, i + 1);
            *v = r;
            return true;
        }
    }
    return false;
}

static const unsigned char int_octets[] = { 0, 1, 2, 3, 4, 6, 8, 8, 0, 0 };

static struct pages_value
value_of(uint64_t type, struct slice s)
{
    struct pages_value v = { .kind = PAGES_NULL };
    uint64_t r = 0;

    if (type >= 12)
        return (struct pages_value){ .kind = PAGES_BYTES, .s = s };
    if (type == 0 || type == 7)
        return v;
    v.kind = PAGES_INT;
    if (s.n > 0 && (s.p[0] & 0x80))
        r = UINT64_MAX;
    for (size_t i = 0; i < s.n; i++)
        r = r << 8 | (unsigned char)s.p[i];
    v.i = type == 9 ? 1 : (int64_t)r;
    return v;
}

/* A record: the length of its header, the type of each column, then their values. */
static bool
take_record(struct slice in, struct pages_row *row)
{
    struct slice types = in, values;
    uint64_t header, type;

    row->n = 0;
    if (!take_varint(&types, &header) || header > in.n || header < in.n - types.n)
        return false;
    values = sl_from(in, (size_t)header);
    types = sl_head(types, (size_t)header - (in.n - types.n));
    while (types.n > 0 && row->n < PAGES_COLUMNS_MAX) {
        uint64_t octets;

        if (!take_varint(&types, &type) || type == 10 || type == 11)
            return false;
        octets = type >= 12 ? (type - 12) / 2 : int_octets[type];
        if (octets > values.n) {
            if (row->is_whole)
                return false;
            if (type < 12) /* a number that is not all there is none */
                return true;
            octets = values.n;
        }
        row->v[row->n++] = value_of(type, sl_head(values, (size_t)octets));
        values = sl_from(values, (size_t)octets);
    }
    return true;
}

/* How much of a payload stands on the page. */
static size_t
local_octets(const struct pages *p, bool is_table, uint64_t payload)
{
    uint64_t u = p->usable, most = is_table ? u - 35 : (u - 12) * 64 / 255 - 23,
             least = (u - 12) * 32 / 255 - 23, k;

    if (payload <= most)
        return (size_t)payload;
    k = least + (payload - least) % (u - 4);
    return (size_t)(k <= most ? k : least);
}

struct cell {
    uint64_t payload;
    struct slice local;
    uint32_t next; /* page that has the rest; 0: none */
};

/* Where the header of a b-tree page begins, and what kind it is; false: none that has rows. */
static bool
page_kind(const struct pages *p, uint32_t n, size_t *at, unsigned *kind, size_t *n_cells)
{
    *at = n == 1 ? FILE_HEADER_OCTETS : 0;
    *kind = p->page[*at];
    if (*kind != PAGE_TABLE_LEAF && *kind != PAGE_INDEX_LEAF && *kind != PAGE_INDEX_INNER)
        return false;
    *n_cells = be16(p->page + *at + 3);
    *at += *kind == PAGE_INDEX_INNER ? 12 : 8;
    return *n_cells <= (p->usable - *at) / CELLS_MIN_OCTETS;
}

static bool
take_cell(const struct pages *p, unsigned kind, size_t pointers, size_t i, struct cell *c,
          struct pages_row *row)
{
    size_t at = be16(p->page + pointers + 2 * i), n;
    struct slice in;

    if (at < pointers || at >= p->usable)
        return false;
    in = sl_n((const char *)p->page + at, p->usable - at);
    if (kind == PAGE_INDEX_INNER) {
        if (in.n < 4)
            return false;
        in = sl_from(in, 4);
    }
    row->is_table = kind == PAGE_TABLE_LEAF;
    row->rowid = 0;
    if (!take_varint(&in, &c->payload) || (row->is_table && !take_varint(&in, &row->rowid)) ||
        c->payload > PAGES_PAYLOAD_OCTETS)
        return false;
    n = local_octets(p, row->is_table, c->payload);
    if (n > in.n || (n < c->payload && in.n - n < 4))
        return false;
    c->local = sl_head(in, n);
    c->next = n < c->payload ? be32((const unsigned char *)in.p + n) : 0;
    row->is_whole = c->next == 0;
    return true;
}

static void
scan_page(struct pages *p, uint32_t n, void (*fn)(void *arg, const struct pages_row *row),
          void *arg)
{
    size_t at, n_cells;
    unsigned kind;

    if (!read_page(p, n, p->page) || !page_kind(p, n, &at, &kind, &n_cells))
        return;
    for (size_t i = 0; i < n_cells; i++) {
        struct pages_row row = { .place = { n, (uint16_t)i } };
        struct cell c;

        if (take_cell(p, kind, at, i, &c, &row) && take_record(c.local, &row))
            fn(arg, &row);
    }
}

/* How many pages there are is what a frame of the log says, which may be damaged: behind the file's end only those are
 * looked for that the log has. */
void
pages_scan(struct pages *p, void (*fn)(void *arg, const struct pages_row *row), void *arg)
{
    uint32_t n = p->n < p->n_file ? p->n : p->n_file;
    uint64_t n_missing = p->n - n;

    for (uint64_t i = 1; i <= n; i++)
        scan_page(p, (uint32_t)i, fn, arg);
    for (size_t i = 0; i < p->n_frames; i++)
        if (p->frames[i].page > n && p->frames[i].page <= p->n) {
            n_missing--;
            scan_page(p, p->frames[i].page, fn, arg);
        }
    p->n_unreadable += n_missing;
}

bool
pages_read(struct pages *p, struct pages_place at, struct pages_row *row)
{
    size_t pointers, n_cells, most = p->usable - 4;
    unsigned kind;
    struct cell c;

    *row = (struct pages_row){ .place = at };
    if (at.page == 0 || at.page > p->n || !read_page(p, at.page, p->page) ||
        !page_kind(p, at.page, &pointers, &kind, &n_cells) || at.cell >= n_cells ||
        !take_cell(p, kind, pointers, at.cell, &c, row))
        return false;
    buf_reset(&p->payload);
    buf_adds(&p->payload, c.local);
    while (p->payload.n < c.payload) { /* each turn adds something, so a ring of pages ends */
        size_t left = (size_t)c.payload - p->payload.n;

        if (c.next == 0 || c.next > p->n || !read_page(p, c.next, p->more))
            return false;
        c.next = be32(p->more);
        buf_add(&p->payload, (const char *)p->more + 4, left < most ? left : most);
    }
    row->is_whole = true;
    return take_record(buf_slice(&p->payload), row);
}
