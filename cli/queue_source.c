/* cli/queue_source.c - see queue_source.h. */
#include "cli/queue_source.h"

#include "base/clock.h"
#include "base/mem.h"
#include "core/addr.h"
#include "core/chan.h"
#include "queue/listing.h"
#include "queue/qdb.h"
#include "session/queue_id.h"
#include "session/queue_proto.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { REPLY_WAIT_S = 60, OFFLINE_PAGE = 200, CONTENT_PAGE = 64 * 1024 };

struct queue_source {
    int fd;        /* qmgr, or -1 */
    struct qdb *q; /* the database, or NULL */
    uint64_t req;
};

int
queue_source_open(const struct conf *c, struct queue_source **out, struct err *e)
{
    struct queue_source *s = MEM_NEW(struct queue_source);
    struct timeval wait = { .tv_sec = REPLY_WAIT_S };
    char path[PATH_MAX];
    struct addr a;

    snprintf(path, sizeof path, "%s/private/queue", c->queue_directory);
    s->fd = -1;
    if (addr_unix(path, &a, e) != 0)
        goto bad;
    s->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    if (connect(s->fd, &a.u.sa, a.len) == 0) {
        *out = s;
        return 0;
    }
    close(s->fd);
    s->fd = -1;
    if (errno != ENOENT && errno != ECONNREFUSED) {
        err_sys(e, "cannot connect to %s", path);
        goto bad;
    }
    snprintf(path, sizeof path, "%s/queue", c->queue_directory);
    if (qdb_open_readonly(path, &s->q, e) == 0) {
        *out = s;
        return 0;
    }
bad:
    queue_source_close(&s);
    return -1;
}

void
queue_source_close(struct queue_source **ss)
{
    struct queue_source *s = *ss;

    if (s == NULL)
        return;
    *ss = NULL;
    if (s->fd >= 0)
        close(s->fd);
    qdb_close(&s->q);
    free(s);
}

/* ---- qmgr ---- */

static int
ask_qmgr(struct queue_source *s, const char *verb, const char *arg, struct queue_page *p,
         struct err *e)
{
    struct buf b = { 0 };
    char *octets = mem_alloc(CHAN_MSG_OCTETS);
    struct slice in, text;
    unsigned kind, more;
    uint64_t req;
    ssize_t n;
    int rc = -1;

    wire_add_u8(&b, 'A');
    wire_add_u64(&b, ++s->req);
    wire_add_str(&b, sl_z(verb));
    wire_add_str(&b, sl_z(arg));
    wire_add_u64(&b, p->after);
    wire_add_u32(&b, 0);
    if (send(s->fd, buf_slice(&b).p, b.n, MSG_NOSIGNAL) < 0) {
        err_sys(e, "cannot ask qmgr");
        goto out;
    }
    do {
        n = recv(s->fd, octets, CHAN_MSG_OCTETS, 0);
        if (n <= 0) {
            n < 0 ? err_sys(e, "no answer from qmgr") : err_set(e, ERR_TEMP, "qmgr has gone away");
            goto out;
        }
        in = sl_n(octets, (size_t)n);
    } while (!wire_take_u8(&in, &kind) || kind != 'a' || !wire_take_u64(&in, &req) ||
             req != s->req);
    if (!wire_take_u8(&in, &more) || !wire_take_u64(&in, &p->after) || !wire_take_str(&in, &text)) {
        err_set(e, ERR_BUG, "strange answer from qmgr");
        goto out;
    }
    p->more = more != 0;
    buf_reset(&p->text);
    buf_adds(&p->text, text);
    rc = 0;
out:
    buf_free(&b);
    free(octets);
    return rc;
}

/* ---- the database ---- */

struct reading {
    struct queue_page *p;
    const char *id;      /* must be this, or NULL */
    const char *account; /* must be by this login, or NULL */
    bool wants_content, is_there;
    struct {
        uint64_t n;
        char id[QUEUE_ID_TEXT_OCTETS];
        bool is_file;
    } touched[OFFLINE_PAGE];
    size_t n, n_seen;
    const struct qdb *q;
};

static void
take(void *arg, const struct qdb_message *m)
{
    struct reading *r = arg;
    char path[PATH_MAX];

    if (r->id && strcmp(r->id, m->id) != 0)
        return;
    r->n_seen++;
    if (r->account && !listing_is_by(m, r->account)) {
        r->p->after = m->n;
        return;
    }
    r->is_there = true;
    r->touched[r->n].n = m->n;
    r->touched[r->n].is_file = m->is_file;
    memcpy(r->touched[r->n++].id, m->id, strlen(m->id) + 1);
    if (!r->wants_content) {
        listing_add(&r->p->text, m, SIZE_MAX);
        r->p->after = m->n;
    } else if (m->is_file) {
        size_t before = r->p->text.n;

        listing_add_file(&r->p->text, qdb_file_path(r->q, m->id, path, sizeof path), r->p->after,
                         CONTENT_PAGE, &r->p->more);
        r->p->after += r->p->text.n - before;
    } else {
        buf_adds(&r->p->text, m->body);
    }
}

static int
change(struct queue_source *s, const char *verb, struct reading *r, uint64_t *count, struct err *e)
{
    if (qdb_begin(s->q, e) != 0)
        return -1;
    for (size_t i = 0; i < r->n; i++) {
        uint64_t changed = 0;
        bool was_there = false;
        int rc;

        if (strcmp(verb, "hold") == 0)
            rc = qdb_hold(s->q, r->touched[i].n, &changed, e);
        else if (strcmp(verb, "delete") == 0)
            rc = qdb_message_delete(s->q, r->touched[i].n, &was_there, e);
        else
            rc = qdb_set_due(s->q, r->touched[i].n, clock_unix_s(), strcmp(verb, "flush") != 0,
                             &changed, e);
        if (rc != 0) {
            qdb_rollback(s->q);
            return -1;
        }
        *count += changed + was_there;
    }
    if (qdb_commit(s->q, e) != 0)
        return -1;
    for (size_t i = 0; i < r->n; i++)
        if (strcmp(verb, "delete") == 0 && r->touched[i].is_file)
            qdb_remove_file(s->q, r->touched[i].id);
    return 0;
}

static int
ask_database(struct queue_source *s, const char *verb, const char *arg, struct queue_page *p,
             struct err *e)
{
    struct reading *r = MEM_NEW(struct reading);
    bool is_list = strcmp(verb, "list") == 0, is_all = strcmp(arg, "ALL") == 0,
         is_show = strcmp(verb, "show") == 0;
    uint64_t n = 0, count = 0;
    int rc = -1;

    buf_reset(&p->text);
    p->more = false;
    r->p = p;
    r->q = s->q;
    r->wants_content = strcmp(verb, "content") == 0;
    if (!is_list && !is_show && !r->wants_content && sl_has_prefix(sl_z(arg), SL("account=")))
        r->account = arg + strlen("account=");
    if (is_list || is_all || r->account) {
        rc = qdb_list(s->q, p->after, OFFLINE_PAGE, take, r, e);
        p->more = r->n_seen == OFFLINE_PAGE;
    } else if (!queue_id_parse(sl_z(arg), NULL, &n, NULL)) {
        err_set(e, ERR_CLIENT, "not a queue id: %s", arg);
    } else {
        r->id = arg;
        rc = qdb_get(s->q, n, r->wants_content, take, r, e);
        if (rc == 0 && !r->is_there)
            rc = err_set(e, ERR_NOTFOUND, "no such message in the queue");
    }
    if (rc == 0 && !is_list && !is_show && !r->wants_content) {
        rc = change(s, verb, r, &count, e);
        buf_reset(&p->text);
        buf_addf(&p->text, "N\t%llu\n", (unsigned long long)count);
    }
    free(r);
    return rc;
}

int
queue_source_ask(struct queue_source *s, const char *verb, const char *arg, struct queue_page *p,
                 struct err *e)
{
    struct slice in;
    int rc = s->fd >= 0 ? ask_qmgr(s, verb, arg, p, e) : ask_database(s, verb, arg, p, e);

    in = buf_slice(&p->text);
    /* Content may begin with anything. */
    if (rc == 0 && strcmp(verb, "content") != 0 && sl_take_prefix(&in, SL("E\t")))
        return err_set(e, ERR_NOTFOUND, "%.*s", SL_ARG(sl_trim(in)));
    return rc;
}
