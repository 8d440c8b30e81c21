/* cli/queue_source.c - see queue_source.h. */
#include "cli/queue_source.h"

#include "base/mem.h"
#include "cli/drop_helper.h"
#include "core/addr.h"
#include "core/chan.h"
#include "queue/operate.h"
#include "session/queue_proto.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { REPLY_WAIT_S = 60, OFFLINE_PAGE = 256 * 1024 };

struct queue_source {
    int fd;        /* qmgr, or -1 */
    struct qdb *q; /* the database, or NULL */
    uint64_t req;
    char *octets; /* a message of qmgr's */
    struct {      /* a question that was asked ahead; req 0: none */
        uint64_t req, after;
    } ahead;
};

static int
connect_private(const struct conf *c, struct err *e)
{
    char path[PATH_MAX];
    struct addr a;
    int fd;

    snprintf(path, sizeof path, "%s/private/queue", c->queue_directory);
    if (addr_unix(path, &a, e) != 0)
        return -1;
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (connect(fd, &a.u.sa, a.len) == 0)
        return fd;
    err_sys(e, "cannot connect to %s", path);
    close(fd);
    return -1;
}

int
queue_source_open(const struct conf *c, struct queue_source **out, struct err *e)
{
    struct queue_source *s = MEM_NEW(struct queue_source);
    struct timeval wait = { .tv_sec = REPLY_WAIT_S };
    char path[PATH_MAX];

    s->fd = connect_private(c, e);
    if (s->fd < 0 && (e->sys == EACCES || e->sys == EPERM)) {
        *e = (struct err){ 0 };
        s->fd = drop_helper_queue(c, e);
        if (s->fd < 0 && e->kind != ERR_NOTFOUND && e->kind != ERR_TEMP)
            goto bad;
    } else if (s->fd < 0 && e->sys != ENOENT && e->sys != ECONNREFUSED) {
        goto bad;
    }
    if (s->fd >= 0) {
        setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
        s->octets = mem_alloc(CHAN_MSG_OCTETS);
        *out = s;
        return 0;
    }
    *e = (struct err){ 0 };
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
    free(s->octets);
    free(s);
}

bool
queue_source_is_offline(const struct queue_source *s)
{
    return s->q != NULL;
}

size_t
queue_source_dropped(const struct conf *c)
{
    char path[PATH_MAX];
    struct dirent *de;
    size_t n = 0;
    DIR *d;

    snprintf(path, sizeof path, "%s/maildrop", c->queue_directory);
    d = opendir(path);
    while (d && (de = readdir(d)) != NULL)
        n += de->d_name[0] != '.' && !sl_has_prefix(sl_z(de->d_name), SL("new."));
    if (d)
        closedir(d);
    return n;
}

/* ---- qmgr ---- */

static int
send_question(struct queue_source *s, const char *verb, const char *words, uint64_t after,
              struct err *e)
{
    struct buf b = { 0 };
    int rc = 0;

    wire_add_u8(&b, 'A');
    wire_add_u64(&b, ++s->req);
    wire_add_str(&b, sl_z(verb));
    wire_add_str(&b, sl_z(words));
    wire_add_u64(&b, after);
    wire_add_u32(&b, 0);
    if (send(s->fd, buf_slice(&b).p, b.n, MSG_NOSIGNAL) < 0)
        rc = err_sys(e, "cannot ask qmgr");
    buf_free(&b);
    return rc;
}

static int
take_answer(struct queue_source *s, uint64_t wanted, struct queue_page *p, struct err *e)
{
    struct slice in, text;
    unsigned kind, more;
    uint64_t req;

    do {
        ssize_t n = recv(s->fd, s->octets, CHAN_MSG_OCTETS, 0);

        if (n < 0)
            return err_sys(e, "no answer from qmgr");
        if (n == 0)
            return err_set(e, ERR_TEMP, "qmgr has gone away");
        in = sl_n(s->octets, (size_t)n);
    } while (!wire_take_u8(&in, &kind) || kind != 'a' || !wire_take_u64(&in, &req) ||
             req != wanted);
    if (!wire_take_u8(&in, &more) || !wire_take_u64(&in, &p->after) || !wire_take_str(&in, &text))
        return err_set(e, ERR_BUG, "strange answer from qmgr");
    p->more = more != 0;
    buf_reset(&p->text);
    buf_adds(&p->text, text);
    return 0;
}

/* Of a listing the next page is asked for before this one is shown: qmgr reads while we write. */
static int
ask_qmgr(struct queue_source *s, const char *verb, const char *words, struct queue_page *p,
         struct err *e)
{
    uint64_t wanted = s->ahead.req;
    bool is_list = strcmp(verb, "list") == 0;

    s->ahead.req = 0;
    if (!is_list || wanted == 0 || s->ahead.after != p->after) {
        if (send_question(s, verb, words, p->after, e) != 0)
            return -1;
        wanted = s->req;
    }
    if (take_answer(s, wanted, p, e) != 0)
        return -1;
    if (is_list && p->more) {
        if (send_question(s, verb, words, p->after, e) != 0)
            return -1;
        s->ahead.req = s->req;
        s->ahead.after = p->after;
    }
    return 0;
}

/* ---- the database ---- */

static int
ask_database(struct queue_source *s, const char *verb, const char *words, struct queue_page *p,
             struct err *e)
{
    struct operate o;
    int rc;

    buf_reset(&p->text);
    p->more = false;
    if (strcmp(verb, "memory") == 0) /* nobody has any */
        return 0;
    rc = operate_begin(&o, sl_z(verb), sl_z(words), p->after, OFFLINE_PAGE, e);
    if (rc == 0)
        rc = qdb_begin(s->q, e);
    if (rc == 0) {
        rc = operate_run(&o, s->q, e);
        if (rc != 0)
            qdb_rollback(s->q);
        else
            rc = qdb_commit(s->q, e);
    }
    if (rc == 0) {
        operate_after(&o, s->q);
        buf_adds(&p->text, buf_slice(&o.text));
        p->more = o.more;
        p->after = o.next;
    }
    operate_free(&o);
    return rc;
}

int
queue_source_ask(struct queue_source *s, const char *verb, const char *words, struct queue_page *p,
                 struct err *e)
{
    struct slice in;
    int rc = s->fd >= 0 ? ask_qmgr(s, verb, words, p, e) : ask_database(s, verb, words, p, e);

    in = buf_slice(&p->text);
    /* Content may begin with anything. */
    if (rc == 0 && strcmp(verb, "content") != 0 && strcmp(verb, "envelope") != 0 &&
        sl_take_prefix(&in, SL("E\t")))
        return err_set(e, sl_has_prefix(in, SL("not allowed")) ? ERR_PERM : ERR_NOTFOUND, "%.*s",
                       SL_ARG(sl_trim(in)));
    return rc;
}
