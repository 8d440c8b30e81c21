/* queue/listing.c - see listing.h. */
#include "queue/listing.h"

#include "base/utf8.h"
#include "queue/select.h"

#include <fcntl.h>
#include <unistd.h>

/* U+0080 to U+009F are controls, too, as characters and, to terminals that know no UTF-8, as octets. to: s.n octets. */
static void
hide_c1(char *to, struct slice s)
{
    const char *begin = s.p;

    while (s.n > 0) {
        char *at = to + (s.p - begin);
        bool is_octet = (unsigned char)s.p[0] >= 0x80 && (unsigned char)s.p[0] < 0xa0;
        size_t n = s.n;
        int32_t cp = utf8_take(&s);

        if (cp < 0) {
            s = sl_from(s, 1);
            *at = is_octet ? '?' : *at;
        } else if (cp >= 0x80 && cp < 0xa0) {
            memset(at, '?', n - s.n);
        }
    }
}

void
listing_add_field(struct buf *out, struct slice s)
{
    char *to = buf_reserve(out, s.n + 1);

    to[0] = '\t';
    for (size_t i = 0; i < s.n; i++)
        to[i + 1] = (unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f ? '?' : s.p[i];
    if (!utf8_is_ascii(s))
        hide_c1(to + 1, s);
    buf_commit(out, s.n + 1);
}

static const char *
state_of(int64_t due)
{
    return due == INT64_MIN ? "active" : due == QDB_DUE_HELD ? "hold" : "deferred";
}

static void
add_rcpt(struct buf *out, const struct qdb_rcpt *row, const struct queue_env *env)
{
    const struct queue_rcpt *r = &env->rcpts[row->i];

    buf_addf(out, "R\t%u\t%s\t%lld\t%u", row->i, state_of(row->due),
             (long long)(row->due == INT64_MIN ? 0 : row->due), row->attempts);
    listing_add_field(out, row->status);
    listing_add_field(out, r->addr);
    listing_add_field(out, r->orig);
    /* Before the first try a message is on hold for what it was accepted with. */
    listing_add_field(out, row->due == QDB_DUE_HELD && row->why.n == 0 ? env->hold : row->why);
    listing_add_field(out, !r->has_sender ? SL("") : r->sender.n > 0 ? r->sender : SL("<>"));
    buf_addf(out, "\t%s%s%s", row->flags & QDB_BY_HAND ? "h" : "",
             row->flags & QDB_EXPIRED ? "e" : "", row->flags & QDB_REPEAT ? "r" : "");
    listing_add_field(out, row->hop);
    buf_addc(out, '\n');
}

uint32_t
listing_add(struct buf *out, const struct qdb_message *m, int64_t now_s, uint32_t from, size_t most)
{
    struct arena a = { 0 };
    struct queue_env env = { .sender = SL("") };
    int64_t us = 0;
    bool is_ok = m->is_env_ok && queue_env_unpack(m->env, &a, &env, &us, NULL) == 0;
    size_t start = out->n;
    uint32_t next = LISTING_ALL;
    bool has_one = false;

    if (from == 0) {
        buf_addf(out, "M\t%s\t%s\t%llu\t%lld", m->id, is_ok ? select_state(m) : "damaged",
                 (unsigned long long)m->size, (long long)(is_ok ? us / 1000000 : m->arrived_s));
        listing_add_field(out, is_ok ? env.sender : SL(""));
        listing_add_field(out, is_ok ? env.sasl_user : SL(""));
        listing_add_field(out, is_ok ? env.hold : SL(""));
        buf_addf(out, "\t%s\t%lld\n", select_is_expired(m) ? "e" : "",
                 (long long)(now_s - m->arrived_s));
    }
    for (size_t k = 0; is_ok && k < m->n_rcpts; k++) {
        if (m->rcpts[k].i < from || m->rcpts[k].i >= env.n_rcpts)
            continue;
        if (has_one && out->n - start > most) {
            next = m->rcpts[k].i;
            break;
        }
        add_rcpt(out, &m->rcpts[k], &env);
        has_one = true; /* or it would never come to an end */
    }
    arena_free(&a);
    return next;
}

void
listing_add_file(struct buf *out, const char *path, uint64_t from, size_t most, bool *more)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *to = buf_reserve(out, most + 1);
    ssize_t n = fd < 0 || to == NULL ? 0 : pread(fd, to, most + 1, (off_t)from);

    if (fd >= 0)
        close(fd);
    *more = n > (ssize_t)most;
    buf_commit(out, n <= 0 ? 0 : *more ? most : (size_t)n);
}
