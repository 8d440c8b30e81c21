/* smtpd/pickup_file.c - a file of maildrop/ is an unprivileged user's: nothing in it is believed before it was looked at, and
 * what it is itself is looked at on its descriptor, so that it cannot change meanwhile. */
#include "smtpd/pickup_int.h"

#include "base/mem.h"
#include "proto/smtp_addr.h"
#include "session/queue_proto.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PASSWD_OCTETS = 16 * 1024 };
_Static_assert((int)DROP_RCPTS_MAX < (int)QUEUE_RCPTS_MAX, "what is dropped can be queued");

static enum pickup_rc
check_file(struct pickup_file *f, struct err *e)
{
    struct stat st;

    if (fstat(f->fd, &st) != 0) {
        err_sys(e, "fstat");
        return PICKUP_AGAIN;
    }
    if (!S_ISREG(st.st_mode) || st.st_nlink > 1) {
        err_set(e, ERR_PERM, S_ISREG(st.st_mode) ? "the file has other names" : "no plain file");
        return PICKUP_WRECK;
    }
    if (st.st_nlink == 0)
        return PICKUP_GONE;
    f->from.uid = st.st_uid;
    f->from.dropped_s = st.st_mtim.tv_sec;
    return PICKUP_OK;
}

static void
find_user(struct pickup_file *f)
{
    char *room = mem_alloc(PASSWD_OCTETS);
    struct passwd pw, *found = NULL;

    if (getpwuid_r(f->from.uid, &pw, room, PASSWD_OCTETS, &found) == 0 && found)
        f->user = mem_dupz(pw.pw_name);
    free(room);
}

static void
add_rcpt(struct pickup_file *f, struct slice addr)
{
    f->rcpts = mem_grow(f->rcpts, &f->cap, f->tx.n_rcpts + 1, sizeof *f->rcpts);
    f->rcpts[f->tx.n_rcpts++] = (struct smtp_tx_rcpt){ .addr = addr };
    f->tx.rcpts = f->rcpts;
}

static void
take_record(struct pickup_file *f, enum drop_kind kind, struct slice octets, unsigned *notify)
{
    struct slice v = kind == DROP_CONTENT ? SL("") : arena_dup(&f->mem, octets);

    switch (kind) {
    case DROP_SENDER:
        f->tx.sender = v;
        break;
    case DROP_RECIPIENT:
        add_rcpt(f, v);
        break;
    case DROP_FULL_NAME:
        f->from.full_name = v;
        break;
    case DROP_NOTIFY:
        *notify = (unsigned)drop_notify_bits(v);
        break;
    case DROP_RET:
        f->tx.ret = sl_eqz(v, "FULL") ? RET_FULL : RET_HDRS;
        break;
    case DROP_ENVID:
        f->tx.envid = v;
        break;
    case DROP_BODY:
        f->tx.is_8bit = sl_eqz(v, "8BITMIME");
        break;
    case DROP_UTF8:
        f->tx.is_utf8 = true;
        break;
    case DROP_GATEWAY:
        f->from.is_gateway = true;
        break;
    default:
        break;
    }
}

/* -1 trouble, else octets read. */
static ssize_t
read_at(const struct pickup_file *f, char *room, size_t n, off_t at, struct err *e)
{
    ssize_t got;

    do
        got = pread(f->fd, room, n, at);
    while (got < 0 && errno == EINTR);
    return got < 0 ? err_sys(e, "read") : got;
}

/* From f->at on, until `in` is full of whole records or the file ends. */
static enum pickup_rc
each_record(struct pickup_file *f, struct buf *in, struct slice *whole, struct err *e)
{
    size_t want = PICKUP_PIECE_OCTETS;
    char *room;
    ssize_t n;

    buf_reset(in);
    room = buf_reserve(in, want);
    n = read_at(f, room, want, f->at, e);
    if (n < 0)
        return PICKUP_AGAIN;
    buf_commit(in, (size_t)n);
    *whole = buf_slice(in);
    return PICKUP_OK;
}

static enum pickup_rc
read_all(struct pickup_file *f, struct err *e)
{
    struct buf in = { 0 };
    enum pickup_rc rc = PICKUP_OK;
    unsigned notify = 0;
    bool has_magic = false;

    while (rc == PICKUP_OK && !f->seen.is_over) {
        enum parse_rc p = PARSE_OK;
        struct slice at, all, octets;
        enum drop_kind kind;

        rc = each_record(f, &in, &all, e);
        if (rc != PICKUP_OK)
            break;
        at = all;
        if (!has_magic)
            has_magic = (p = drop_take_magic(&at, e)) == PARSE_OK;
        while (p == PARSE_OK && !f->seen.is_over)
            if ((p = drop_take(&at, &kind, &octets, e)) == PARSE_OK &&
                (p = drop_check(&f->seen, kind, octets, e)) == PARSE_OK)
                take_record(f, kind, octets, &notify);
        if (p == PARSE_MORE && at.n == all.n) {
            p = PARSE_BAD;
            err_set(e, ERR_CLIENT, "the message has no end");
        }
        if (p == PARSE_BAD)
            rc = PICKUP_WRECK;
        f->at += (off_t)(all.n - at.n);
    }
    buf_free(&in);
    f->tx.sender = smtp_addr_quote(f->tx.sender, &f->mem);
    for (size_t i = 0; i < f->tx.n_rcpts; i++) {
        f->rcpts[i].addr = smtp_addr_quote(f->rcpts[i].addr, &f->mem);
        f->rcpts[i].notify = notify;
    }
    f->tx.size = f->seen.content_octets;
    return rc;
}

enum pickup_rc
pickup_file_open(const char *dir, struct pickup_file *f, struct err *e)
{
    struct buf path = { 0 };
    enum pickup_rc rc = PICKUP_OK;

    buf_addf(&path, "%s/%s", dir, f->name);
    f->fd = open(buf_z(&path), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (f->fd < 0) {
        rc = errno == ENOENT ? PICKUP_GONE : errno == ELOOP ? PICKUP_WRECK : PICKUP_AGAIN;
        err_sys(e, "open");
    }
    buf_free(&path);
    if (rc == PICKUP_OK)
        rc = check_file(f, e);
    if (rc == PICKUP_OK) {
        find_user(f);
        rc = read_all(f, e);
    }
    f->at = (off_t)strlen(DROP_MAGIC);
    return rc;
}

int
pickup_file_read(struct pickup_file *f, struct err *e)
{
    struct buf in = { 0 };
    struct slice at, all = SL(""), octets;
    enum drop_kind kind;
    int rc = 0;

    buf_reset(&f->piece);
    while (rc == 0 && f->piece.n == 0 && !f->is_end) {
        if (each_record(f, &in, &all, e) != PICKUP_OK)
            rc = -1;
        at = all;
        while (rc == 0 && !f->is_end && drop_take(&at, &kind, &octets, e) == PARSE_OK) {
            if (kind == DROP_CONTENT)
                buf_adds(&f->piece, octets);
            f->is_end = kind == DROP_END;
        }
        if (rc == 0 && !f->is_end && at.n == all.n)
            rc = err_set(e, ERR_TEMP, "the file has changed while it was read");
        f->at += (off_t)(all.n - at.n);
    }
    buf_free(&in);
    return rc;
}

void
pickup_file_close(struct pickup_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    free(f->user);
    free(f->rcpts);
    buf_free(&f->piece);
    arena_free(&f->mem);
}
