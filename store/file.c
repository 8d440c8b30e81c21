/* store/file.c - the octets of a message, with CRLF line ends.
 *
 * A file is read and never mapped: another program may cut it short under us. What is too long for memory is written, with
 * its CRs, into a file without a name and mapped from there: its pages are clean soon and the kernel may take them back. */
#include "store/cache.h"

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "mime/mime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FILE_BLOCK_OCTETS = 64 * 1024,
    FILE_HEADER_OCTETS = 8 * 1024,       /* read at a time where only the header is wanted */
    FILE_MEMORY_MAX_OCTETS = 1024 * 1024 /* a longer message is mapped */
};

struct store_file {
    unsigned refs; /* a view may keep it; all in jobs of that view */
    struct buf octets;
    void *map; /* else NULL */
    size_t map_octets;
    struct mime_part *tree; /* NULL until it is asked for */
    struct arena tree_mem;
};

void
add_crlf(struct buf *out, struct slice in, char *last)
{
    while (in.n > 0) {
        const char *lf = memchr(in.p, '\n', in.n);
        size_t n = lf == NULL ? in.n : (size_t)(lf - in.p);

        buf_add(out, in.p, n);
        if (lf != NULL) {
            if ((n > 0 ? in.p[n - 1] : *last) != '\r')
                buf_addc(out, '\r');
            buf_addc(out, '\n');
            n++;
        }
        *last = in.p[n - 1];
        in = sl_from(in, n);
    }
}

/* Is the empty line after a header there? Looked for from an octet on. */
static bool
has_header(struct slice crlf, size_t from)
{
    return sl_has_prefix(crlf, SL("\r\n")) ||
           sl_find(sl_from(crlf, from > 2 ? from - 2 : 0), SL("\n\r\n")) != SL_NPOS;
}

/* The next block of the source, as CRLF. Its octets, 0 at the end, -1. */
static ssize_t
read_block(int fd, char *block, size_t octets, char *last, struct buf *out, struct err *e)
{
    ssize_t got;

    do
        got = read(fd, block, octets);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return err_sys(e, "cannot read a message");
    add_crlf(out, sl_n(block, (size_t)got), last);
    return got;
}

/* ---- in memory ---- */

/* Up to the bound: 1, there is more. file_octets: of a file that is read whole; 0 not known. */
static int
read_memory(int fd, bool only_header, size_t file_octets, struct buf *out, char *last,
            struct err *e)
{
    size_t block_octets = only_header                                          ? FILE_HEADER_OCTETS
                          : file_octets > 0 && file_octets < FILE_BLOCK_OCTETS ? file_octets
                                                                               : FILE_BLOCK_OCTETS;
    char *block = mem_alloc(block_octets);
    size_t done = 0;
    ssize_t rc;

    for (;;) {
        size_t was = out->n;

        rc = read_block(fd, block, block_octets, last, out, e);
        if (rc < 1 || (only_header && has_header(buf_slice(out), was)))
            break;
        if (out->n > FILE_MEMORY_MAX_OCTETS) {
            free(block);
            return 1;
        }
        done += (size_t)rc;
        if (done == file_octets)
            break;
    }
    free(block);
    return rc < 0 ? -1 : 0;
}

/* ---- mapped ---- */

static int
nameless_file(const struct place *p)
{
    char *tmp = path_join(p->dir, "tmp", NULL);
    int fd = open(tmp, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    free(tmp);
    return fd;
}

/* What is in `front` and the rest of the source into `to`. */
static int
spill(int from, int to, struct buf *front, char last, bool only_header, size_t *octets,
      struct err *e)
{
    char *block = mem_alloc(FILE_BLOCK_OCTETS);
    struct buf tail = { 0 }; /* of the block before: an empty line may lie across */
    ssize_t rc = 1;

    *octets = 0;
    while (rc > 0) {
        rc = fs_write_all(to, buf_slice(front), e);
        if (rc)
            break;
        *octets += front->n;
        if (only_header) {
            buf_consume(front, front->n > 2 ? front->n - 2 : 0);
            buf_reset(&tail);
            buf_adds(&tail, buf_slice(front));
        }
        buf_reset(front);
        rc = read_block(from, block, FILE_BLOCK_OCTETS, &last, front, e);
        if (rc > 0 && only_header) {
            buf_adds(&tail, buf_slice(front));
            if (sl_find(buf_slice(&tail), SL("\n\r\n")) != SL_NPOS) {
                rc = fs_write_all(to, buf_slice(front), e);
                *octets += front->n;
                break;
            }
        }
    }
    free(block);
    buf_free(&tail);
    return (int)rc;
}

static int
map(struct store_file *f, int fd, size_t octets, struct err *e)
{
    f->map = mmap(NULL, octets, PROT_READ, MAP_PRIVATE, fd, 0);
    if (f->map == MAP_FAILED) {
        f->map = NULL;
        return err_sys(e, "cannot map a message");
    }
    f->map_octets = octets;
    return 0;
}

/* The user's file system first; where it is full, or has no such files, what the machine has of memory. */
static int
read_mapped(const struct place *p, int from, bool only_header, struct store_file *f, char last,
            struct err *e)
{
    struct err why = { 0 };
    size_t octets;
    int to = nameless_file(p), rc = -1;

    if (to >= 0)
        rc = spill(from, to, &f->octets, last, only_header, &octets, &why);
    if (rc) {
        if (to >= 0)
            close(to);
        to = memfd_create("message", MFD_CLOEXEC);
        if (to < 0)
            return err_sys(e, "cannot make room for a message");
        buf_reset(&f->octets);
        rc = lseek(from, 0, SEEK_SET) < 0
                 ? err_sys(e, "cannot read a message")
                 : spill(from, to, &f->octets, '\0', only_header, &octets, e);
    }
    if (rc == 0)
        rc = map(f, to, octets, e);
    buf_free(&f->octets);
    close(to);
    return rc;
}

int
file_read(const struct place *p, int fd, bool only_header, struct store_file **out, struct err *e)
{
    struct store_file *f = MEM_NEW(struct store_file);
    char last = '\0';
    size_t octets = 0;
    struct stat st;
    int rc;

    f->refs = 1;
    /* Room for all of it and its CRs at once, by a guess of line lengths. */
    if (!only_header && fstat(fd, &st) == 0 && st.st_size > 0 &&
        st.st_size <= FILE_MEMORY_MAX_OCTETS) {
        octets = (size_t)st.st_size;
        buf_reserve(&f->octets, octets + octets / 32 + 64);
    }
    rc = read_memory(fd, only_header, octets, &f->octets, &last, e);
    if (rc == 1)
        rc = read_mapped(p, fd, only_header, f, last, e);
    if (rc)
        store_file_close(&f);
    *out = f;
    return rc;
}

struct slice
store_file_octets(const struct store_file *f)
{
    return f->map != NULL ? sl_n(f->map, f->map_octets) : buf_slice(&f->octets);
}

void
store_file_close(struct store_file **fp)
{
    struct store_file *f = *fp;

    *fp = NULL;
    if (f == NULL || --f->refs > 0)
        return;
    if (f->map != NULL)
        munmap(f->map, f->map_octets);
    buf_free(&f->octets);
    arena_free(&f->tree_mem);
    free(f);
}

const struct mime_part *
store_file_tree(struct store_file *f)
{
    if (f->tree == NULL)
        f->tree = mime_parse(store_file_octets(f), &f->tree_mem);
    return f->tree;
}

struct store_file *
file_of(struct buf *octets)
{
    struct store_file *f = MEM_NEW(struct store_file);

    f->refs = 1;
    f->octets = *octets;
    *octets = (struct buf){ 0 };
    return f;
}

/* ---- which file ---- */

struct place
place_of(const struct store_view *v)
{
    return (struct place){ .u = v->u, .mailbox = v->mailbox, .name = v->name, .dir = v->dir };
}

int
file_gone(struct err *e)
{
    return err_set(e, ERR_NOTFOUND, "Message was expunged");
}

int
file_open(const struct place *p, const struct msg_row *m, int *fd, struct err *e)
{
    char *path = path_join(p->dir, m->dir == MAILDIR_NEW ? "new" : "cur", m->file);
    int rc = 1;

    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOATIME);
    if (*fd < 0 && errno == EPERM)
        *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (*fd < 0)
        rc = errno == ENOENT ? 0 : err_sys(e, "cannot open %s", path);
    free(path);
    return rc;
}

/* Scan because a file was not found, and load the row again. */
static int
look_again(const struct place *p, uint32_t uid, struct msg_row *m, struct err *e)
{
    struct mbox mb;
    int rc = mbox_load_named(p->u, p->mailbox, sl_z(p->name), &mb, e);

    if (rc == 1)
        rc = mbox_scan(p->u, sl_z(p->name), &mb, false, true, e)
                 ? -1
                 : msg_load(p->u, p->mailbox, uid, m, e);
    return rc < 0 ? -1 : rc == 0 ? file_gone(e) : 0;
}

int
file_find(const struct place *p, struct msg_row *m, int *fd, struct err *e)
{
    int rc = file_open(p, m, fd, e);

    if (rc == 0) {
        if (look_again(p, m->uid, m, e))
            return -1;
        rc = file_open(p, m, fd, e);
        if (rc == 0)
            return file_gone(e);
    }
    return rc < 0 ? -1 : 0;
}

/* ---- for others ---- */

void
view_drop_kept(struct store_view *v)
{
    store_file_close(&v->kept);
}

/* A long message is often asked for piece by piece, by one command after the other. */
static void
keep(struct store_view *v, uint32_t uid, struct store_file *f)
{
    if (f->map == NULL)
        return;
    view_drop_kept(v);
    v->kept = f;
    v->kept_uid = uid;
    f->refs++;
}

int
file_find_seq(struct store_view *v, uint32_t seq, bool only_header, struct msg_row *m, int *fd,
              struct store_file **out, struct err *e)
{
    struct place p = place_of(v);
    int rc;

    if (seq == 0 || seq > v->n || v->is_gone || v->is_asleep)
        return file_gone(e);
    rc = msg_load(v->u, v->mailbox, view_uid_at(v, seq - 1), m, e);
    if (rc < 1)
        return rc < 0 ? -1 : file_gone(e);
    if (v->kept == NULL || v->kept_uid != m->uid || only_header)
        return file_find(&p, m, fd, e);
    *out = v->kept;
    v->kept->refs++;
    return 0;
}

static int
open_seq(struct store_view *v, uint32_t seq, bool only_header, struct store_file **out,
         struct err *e)
{
    struct place p = place_of(v);
    struct msg_row m;
    int fd = -1, rc;

    *out = NULL;
    if (!view_open_next(v, seq, &fd)) {
        if (user_lock(v->u, e))
            return -1;
        rc = file_find_seq(v, seq, only_header, &m, &fd, out, e);
        user_unlock(v->u);
        if (rc || *out != NULL)
            return rc;
    }
    rc = file_read(&p, fd, only_header, out, e);
    close(fd);
    if (rc == 0 && !only_header)
        keep(v, view_uid_at(v, seq - 1), *out);
    return rc;
}

int
store_file_open(struct store_view *v, uint32_t seq, struct store_file **out, struct err *e)
{
    return open_seq(v, seq, false, out, e);
}

int
store_header_open(struct store_view *v, uint32_t seq, struct store_file **out, struct err *e)
{
    return open_seq(v, seq, true, out, e);
}
