/* queue/listing.c - see listing.h. */
#include "queue/listing.h"

#include <fcntl.h>
#include <unistd.h>

static void
add_field(struct buf *out, struct slice s)
{
    buf_addc(out, '\t');
    for (size_t i = 0; i < s.n; i++)
        buf_addc(out, (unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f ? '?' : s.p[i]);
}

static const char *
state_of(int64_t due)
{
    return due == INT64_MIN ? "active" : due == QDB_DUE_HELD ? "hold" : "deferred";
}

/* Of a message: what the most urgent of its recipients has. */
static int64_t
least_due(const struct qdb_message *m)
{
    int64_t due = QDB_DUE_HELD;

    for (size_t k = 0; k < m->n_rcpts; k++)
        due = m->rcpts[k].due < due ? m->rcpts[k].due : due;
    return due;
}

void
listing_add(struct buf *out, const struct qdb_message *m, size_t most)
{
    struct arena a = { 0 };
    struct queue_env env;
    int64_t us = 0;
    struct err e = { 0 };
    bool is_ok = m->is_env_ok && queue_env_unpack(m->env, &a, &env, &us, &e) == 0;
    size_t start = out->n;

    buf_addf(out, "M\t%s\t%s\t%llu\t%lld", m->id, is_ok ? state_of(least_due(m)) : "damaged",
             (unsigned long long)m->size, (long long)m->arrived_s);
    add_field(out, is_ok ? env.sender : SL(""));
    buf_addc(out, '\n');
    for (size_t k = 0; is_ok && k < m->n_rcpts; k++) {
        const struct qdb_rcpt *r = &m->rcpts[k];

        if (r->i >= env.n_rcpts)
            continue;
        if (out->n - start > most) {
            buf_addf(out, "R\t+%zu\n", m->n_rcpts - k);
            break;
        }
        buf_addf(out, "R\t%u\t%s\t%lld\t%u", r->i, state_of(r->due),
                 (long long)(r->due == INT64_MIN ? 0 : r->due), r->attempts);
        add_field(out, r->status);
        add_field(out, env.rcpts[r->i].addr);
        add_field(out, env.rcpts[r->i].orig);
        /* Before the first try a message is on hold for what it was accepted with. */
        add_field(out, r->due == QDB_DUE_HELD && r->why.n == 0 ? env.hold : r->why);
        if (env.rcpts[r->i].has_sender) { /* its own: "<>" or an address */
            struct slice own = env.rcpts[r->i].sender;

            add_field(out, own.n > 0 ? own : SL("<>"));
        }
        buf_addc(out, '\n');
    }
    arena_free(&a);
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

bool
listing_is_by(const struct qdb_message *m, const char *account)
{
    struct arena a = { 0 };
    struct queue_env env;
    int64_t us;
    bool is = m->is_env_ok && queue_env_unpack(m->env, &a, &env, &us, NULL) == 0 &&
              sl_ieqz(env.sasl_user, account);

    arena_free(&a);
    return is;
}
