/* store/deliver_msg.c - see deliver.h: the content of a message on its way, in memory or in a file without a name. */
#include "store/deliver_int.h"

#include "base/fs.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { DELIVER_READY_OCTETS = 64 * 1024 }; /* a backlog below this wakes the writer */

struct deliver_msg *
deliver_msg_new(struct deliverer *d)
{
    struct deliver_msg *m = MEM_NEW(struct deliver_msg);

    m->d = d;
    d->refs++;
    m->refs = 1;
    m->fd = -1;
    list_init(&m->waiting);
    return m;
}

void
deliver_msg_unref(struct deliver_msg *m)
{
    struct deliverer *d = m->d;

    if (--m->refs > 0)
        return;
    if (m->fd >= 0)
        close(m->fd);
    buf_free(&m->mem);
    buf_free(&m->flight);
    free(m);
    deliverer_unref(d);
}

void
deliver_msg_free(struct deliver_msg **m)
{
    if (*m == NULL)
        return;
    (*m)->on_ready = NULL;
    deliver_msg_unref(*m);
    *m = NULL;
}

/* A file for a large message where the mail is, so that it is no tmpfs; it has no name and goes with its descriptor. */
static int
spool_open(const struct deliverer *d, struct err *e)
{
    int fd = -1;

    if (d->spool_dir != NULL) {
        fd = open(d->spool_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (fd < 0 && errno == ENOENT && fs_mkdirs(d->spool_dir, 0700, NULL) == 0)
            fd = open(d->spool_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    }
    if (fd < 0 &&
        (d->spool_dir == NULL || errno == EACCES || errno == EOPNOTSUPP || errno == ENOENT))
        fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        err_sys(e, "cannot make a file for a large message in %s",
                d->spool_dir == NULL ? "/var/tmp" : d->spool_dir);
    return fd;
}

static enum work_rc
spool_run(struct work_job *j)
{
    struct deliver_msg *m = CONTAINER_OF(j, struct deliver_msg, job);

    if (m->fd < 0)
        m->fd = spool_open(m->d, &m->err);
    if (m->fd >= 0 && fs_write_all(m->fd, buf_slice(&m->flight), &m->err) && err_is_full(&m->err))
        reserve_release(m->d->reserve);
    return WORK_DONE;
}

static void spool_done(struct work_job *j);

static void
spool_start(struct deliver_msg *m)
{
    struct buf was = m->flight;

    if (m->is_writing || m->mem.n == 0)
        return;
    if (m->err.kind != ERR_NONE) { /* it is lost already; each recipient will be told */
        buf_free(&m->mem);
        return;
    }
    buf_reset(&was);
    m->flight = m->mem;
    m->mem = was;
    m->is_writing = true;
    m->refs++;
    m->job.run = spool_run;
    m->job.done = spool_done;
    work_submit(m->d->pool, &m->job);
}

static void
spool_done(struct work_job *j)
{
    struct deliver_msg *m = CONTAINER_OF(j, struct deliver_msg, job);

    m->is_writing = false;
    buf_free(&m->flight);
    spool_start(m);
    if (!m->is_writing && m->is_ended)
        deliver_start(m);
    if (m->on_ready != NULL && deliver_msg_backlog(m) < DELIVER_READY_OCTETS) {
        void (*fn)(uint64_t) = m->on_ready;

        m->on_ready = NULL;
        fn(m->on_ready_id);
    }
    deliver_msg_unref(m);
}

void
deliver_msg_write(struct deliver_msg *m, struct slice s)
{
    size_t was = m->mem.n;

    BUG_ON(m->is_ended);
    maildir_lf(&m->mem, s, &m->cr, &m->crlf_octets);
    m->lf_octets += m->mem.n - was;
    if (m->lf_octets > DELIVER_INLINE_OCTETS) {
        spool_start(m);
    }
}

size_t
deliver_msg_backlog(const struct deliver_msg *m)
{
    return m->lf_octets > DELIVER_INLINE_OCTETS ? m->mem.n + m->flight.n : 0;
}

void
deliver_msg_on_ready(struct deliver_msg *m, void (*fn)(uint64_t id), uint64_t id)
{
    m->on_ready = fn;
    m->on_ready_id = id;
}

bool
deliver_msg_end(struct deliver_msg *m)
{
    if (!m->is_ended) {
        size_t was = m->mem.n;

        m->is_ended = true;
        maildir_lf_end(&m->mem, &m->cr, &m->crlf_octets);
        m->lf_octets += m->mem.n - was;
        if (m->lf_octets > DELIVER_INLINE_OCTETS) {
            spool_start(m);
        }
    }
    return !m->is_writing;
}
