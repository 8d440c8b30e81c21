/* base/deflate.c - see deflate.h. */
#include "base/deflate.h"

#include "base/mem.h"

#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <zlib.h>

enum {
    WINDOW_BITS = -15, /* raw, 32 KiB: a peer may use all of it */
    MEM_LEVEL = 8,
    CHUNK_OCTETS = 16 * 1024,
    WINDOW_OCTETS = 32 * 1024,
    DEFLATE_POOL_OCTETS = 272 * 1024, /* of zlib: 268 KiB and its state; */
    INFLATE_POOL_OCTETS = 44 * 1024,  /* 32 KiB and its state */
    BLOCK_ENDED = 128,                /* of z_stream.data_type: see inflate() in zlib.h */
    LAST_BLOCK = 64,
    UNUSED_BITS = 63
};

/* What a stream takes for as long as it is awake, in one mapping: hundreds of streams wake and rest beside what stays, and would
 * leave a heap full of holes. */
struct pool {
    char *p;
    size_t used, octets;
    size_t beyond; /* what found no room, from the heap */
};

static void
pool_open(struct pool *o, size_t octets)
{
    void *p = mmap(NULL, octets, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    *o = (struct pool){ .p = p == MAP_FAILED ? NULL : p, .octets = p == MAP_FAILED ? 0 : octets };
}

static void
pool_close(struct pool *o)
{
    if (o->p)
        munmap(o->p, o->octets);
    *o = (struct pool){ 0 };
}

static size_t
pool_octets(const struct pool *o)
{
    return o->octets + o->beyond;
}

static void *
pool_alloc(void *pool, unsigned n, unsigned size)
{
    struct pool *o = pool;
    size_t octets = ((size_t)n * size + 63) & ~(size_t)63;
    void *p;

    if (octets <= o->octets - o->used) {
        p = o->p + o->used;
        o->used += octets;
        return p;
    }
    p = mem_alloc(octets);
    o->beyond += malloc_usable_size(p);
    return p;
}

static void
pool_free(void *pool, void *p)
{
    struct pool *o = pool;

    if (o->p && (char *)p >= o->p && (char *)p < o->p + o->octets)
        return; /* all at once */
    o->beyond -= malloc_usable_size(p);
    free(p);
}

/* ---- out ---- */

struct deflater {
    z_stream z;
    struct pool pool;
};

struct deflater *
deflater_new(int level)
{
    struct deflater *d = MEM_NEW(struct deflater);

    pool_open(&d->pool, DEFLATE_POOL_OCTETS);
    d->z.zalloc = pool_alloc;
    d->z.zfree = pool_free;
    d->z.opaque = &d->pool;
    BUG_ON(deflateInit2(&d->z, level, Z_DEFLATED, WINDOW_BITS, MEM_LEVEL, Z_DEFAULT_STRATEGY) !=
           Z_OK);
    return d;
}

void
deflater_free(struct deflater **d)
{
    if (!*d)
        return;
    deflateEnd(&(*d)->z);
    pool_close(&(*d)->pool);
    free(*d);
    *d = NULL;
}

static void
deflate_chunk(struct deflater *d, struct slice plain, int flush, struct buf *out)
{
    size_t room;

    d->z.next_in = (unsigned char *)(uintptr_t)plain.p;
    d->z.avail_in = (unsigned)plain.n;
    do {
        room = plain.n / 2 + 64 < CHUNK_OCTETS ? plain.n / 2 + 64 : CHUNK_OCTETS;
        d->z.next_out = (unsigned char *)buf_reserve(out, room);
        d->z.avail_out = (unsigned)room;
        BUG_ON(deflate(&d->z, flush) == Z_STREAM_ERROR);
        buf_commit(out, room - d->z.avail_out);
    } while (d->z.avail_out == 0);
}

void
deflater_add(struct deflater *d, struct slice plain, bool is_last, struct buf *out)
{
    while (plain.n > INT32_MAX) {
        deflate_chunk(d, sl_head(plain, INT32_MAX), Z_NO_FLUSH, out);
        plain = sl_from(plain, INT32_MAX);
    }
    deflate_chunk(d, plain, is_last ? Z_FINISH : Z_SYNC_FLUSH, out);
}

size_t
deflater_octets(const struct deflater *d)
{
    return d ? sizeof *d + pool_octets(&d->pool) : 0;
}

/* ---- in ---- */

struct inflater {
    z_stream *z;   /* NULL: at rest */
    char *window;  /* at rest: the last octets that came */
    unsigned kept; /* of the window */
    bool is_over;
    struct pool pool;
};

static void
wake(struct inflater *i)
{
    i->z = MEM_NEW(z_stream);
    pool_open(&i->pool, INFLATE_POOL_OCTETS);
    i->z->zalloc = pool_alloc;
    i->z->zfree = pool_free;
    i->z->opaque = &i->pool;
    BUG_ON(inflateInit2(i->z, WINDOW_BITS) != Z_OK);
    if (i->window)
        BUG_ON(inflateSetDictionary(i->z, (const unsigned char *)i->window, i->kept) != Z_OK);
    free(i->window);
    i->window = NULL;
    i->kept = 0;
}

struct inflater *
inflater_new(void)
{
    return MEM_NEW(struct inflater);
}

static void
sleep_off(struct inflater *i)
{
    if (i->z)
        inflateEnd(i->z);
    pool_close(&i->pool);
    free(i->z);
    i->z = NULL;
}

void
inflater_free(struct inflater **i)
{
    if (!*i)
        return;
    sleep_off(*i);
    free((*i)->window);
    free(*i);
    *i = NULL;
}

enum inflate_rc
inflater_run(struct inflater *i, struct slice *in, size_t room, struct buf *plain, bool *has_more)
{
    size_t chunk;
    int rc;

    *has_more = false;
    if (i->is_over)
        return INFLATE_END;
    if (!i->z)
        wake(i);
    do {
        chunk = room < CHUNK_OCTETS ? room : CHUNK_OCTETS;
        if (chunk == 0)
            return INFLATE_OK;
        i->z->next_in = (unsigned char *)(uintptr_t)in->p;
        i->z->avail_in = in->n < INT32_MAX ? (unsigned)in->n : INT32_MAX;
        i->z->next_out = (unsigned char *)buf_reserve(plain, chunk);
        i->z->avail_out = (unsigned)chunk;
        rc = inflate(i->z, Z_SYNC_FLUSH);
        *in = sl_from(*in, in->n - i->z->avail_in);
        buf_commit(plain, chunk - i->z->avail_out);
        room -= chunk - i->z->avail_out;
        if (rc == Z_STREAM_END) {
            *has_more = false;
            i->is_over = true;
            return INFLATE_END;
        }
        if (rc != Z_OK && rc != Z_BUF_ERROR) /* Z_BUF_ERROR: nothing to do */
            return INFLATE_BAD;
        *has_more = i->z->avail_out == 0;
    } while (*has_more && room > 0);
    return INFLATE_OK;
}

void
inflater_rest(struct inflater *i)
{
    unsigned char *window;
    unsigned n = WINDOW_OCTETS;

    if (!i->z || !(i->z->data_type & BLOCK_ENDED) || (i->z->data_type & LAST_BLOCK) ||
        (i->z->data_type & UNUSED_BITS) != 0)
        return;
    window = mem_alloc(n);
    BUG_ON(inflateGetDictionary(i->z, window, &n) != Z_OK);
    sleep_off(i);
    i->window = n > 0 ? mem_realloc(window, n) : NULL;
    if (n == 0)
        free(window);
    i->kept = n;
}

bool
inflater_is_amid(const struct inflater *i)
{
    return i->z && !i->is_over && !(i->z->data_type & BLOCK_ENDED);
}

size_t
inflater_octets(const struct inflater *i)
{
    if (!i)
        return 0;
    return sizeof *i + pool_octets(&i->pool) + (i->z ? sizeof *i->z : 0) +
           (i->window ? malloc_usable_size(i->window) : 0);
}
