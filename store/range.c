/* store/range.c - some octets out of the middle of a message. Clients that ask for a long message piece by piece get each for
 * about what reading that piece costs: where the file has CRLFs it is read in place, else line ends are counted on
 * from where the last piece was. */
#include "store/cache.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RANGE_BLOCK_OCTETS = 64 * 1024 };

static ssize_t
read_at(int fd, char *to, size_t n, uint64_t at)
{
    ssize_t got;

    do
        got = pread(fd, to, n, (off_t)at);
    while (got < 0 && errno == EINTR);
    return got;
}

/* Line ends are as they shall be. */
static int
read_in_place(int fd, uint64_t first, uint64_t count, struct buf *out, struct err *e)
{
    while (out->n < count) {
        size_t want = (size_t)(count - out->n);
        char *to = buf_reserve(out, want);
        ssize_t got = read_at(fd, to, want, first + out->n);

        if (got < 0)
            return err_sys(e, "cannot read a message");
        if (got == 0)
            break;
        buf_commit(out, (size_t)got);
    }
    return 0;
}

/* LFs without a CR before them. */
static size_t
count_bare(struct slice in, char last)
{
    const char *at = in.p, *end = in.p + in.n, *lf;
    size_t n = 0;

    while (at < end && (lf = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        n += (lf > in.p ? lf[-1] : last) != '\r';
        at = lf + 1;
    }
    return n;
}

/* The octets of a block from the place `at` of the message on that lie in [first, end). */
static void
add_between(struct buf *out, struct slice in, char last, uint64_t at, uint64_t first, uint64_t end)
{
    struct buf crlf = { 0 };
    struct slice s;

    add_crlf(&crlf, in, &last);
    s = buf_slice(&crlf);
    if (first > at)
        s = sl_from(s, (size_t)(first - at));
    else
        first = at;
    buf_adds(out, sl_head(s, (size_t)(end - first)));
    buf_free(&crlf);
}

static int
read_converted(struct store_view *v, uint32_t uid, int fd, uint64_t first, uint64_t count,
               struct buf *out, struct err *e)
{
    char *block = mem_alloc(RANGE_BLOCK_OCTETS);
    uint64_t raw = 0, crlf = 0, end = first + count;
    char last = '\0';
    int rc = 0;

    if (v->range.uid == uid && v->range.crlf <= first) {
        raw = v->range.raw;
        crlf = v->range.crlf;
        last = v->range.last;
    }
    while (crlf < end) {
        ssize_t got = read_at(fd, block, RANGE_BLOCK_OCTETS, raw);
        struct slice in = sl_n(block, got > 0 ? (size_t)got : 0);
        uint64_t next = crlf + in.n + count_bare(in, last);

        if (got < 0)
            rc = err_sys(e, "cannot read a message");
        if (got <= 0)
            break;
        /* The last block whose front is not wanted again: the next piece begins in it, or after it. */
        v->range.uid = uid;
        v->range.raw = raw;
        v->range.crlf = crlf;
        v->range.last = last;
        if (next > first)
            add_between(out, in, last, crlf, first, end);
        last = in.p[in.n - 1];
        raw += in.n;
        crlf = next;
    }
    free(block);
    return rc;
}

static int
read_range(struct store_view *v, const struct msg_row *m, int fd, uint64_t first, uint64_t count,
           struct store_file **out, struct err *e)
{
    struct buf octets = { 0 };
    struct stat st;
    int rc;

    if (fstat(fd, &st))
        return err_sys(e, "cannot read a message");
    rc = m->crlf >= 0 && st.st_size == m->crlf
             ? read_in_place(fd, first, count, &octets, e)
             : read_converted(v, m->uid, fd, first, count, &octets, e);
    if (rc)
        buf_free(&octets);
    else
        *out = file_of(&octets);
    return rc;
}

int
store_file_range(struct store_view *v, uint32_t seq, uint64_t first, uint64_t count,
                 struct store_file **out, struct err *e)
{
    struct store_file *kept = NULL;
    struct buf octets = { 0 };
    struct msg_row m;
    int fd = -1, rc;

    *out = NULL;
    if (first > INT64_MAX / 2) /* no message is that long */
        first = INT64_MAX / 2;
    if (user_lock(v->u, e))
        return -1;
    rc = file_find_seq(v, seq, false, &m, &fd, &kept, e);
    user_unlock(v->u);
    if (rc)
        return rc;
    if (kept != NULL) {
        buf_adds(&octets, sl_head(sl_from(store_file_octets(kept), (size_t)first), (size_t)count));
        *out = file_of(&octets);
        store_file_close(&kept);
        return 0;
    }
    rc = read_range(v, &m, fd, first, count, out, e);
    close(fd);
    return rc;
}
