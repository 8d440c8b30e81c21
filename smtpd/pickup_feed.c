/* smtpd/pickup_feed.c - the client at the other end of a private session. The session lives in this process, too: both ends
 * take turns on the loop. Content is read from the file on a thread, a piece at a time. */
#include "smtpd/pickup_int.h"
#include "smtpd/smtpd.h"

#include "base/mem.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct pickup_feed {
    struct pickup_file *f;
    struct work_pool *pool;
    struct work_job job;
    struct smtp_client *client;
    void (*done)(void *arg, enum feed_rc rc, struct slice text);
    void *arg;
    size_t n_sent, n_refused;
    bool is_over, is_reading, wants_body, has_ended;
    bool read_failed;
    struct err read_why;
    struct buf text; /* of the first that was not sent */
};

static void
free_feed(struct pickup_feed *p)
{
    buf_free(&p->text);
    free(p);
}

/* When the client has gone and no thread reads any more. */
static void
finish(struct pickup_feed *p)
{
    size_t n = p->f->tx.n_rcpts;
    enum feed_rc rc = p->n_sent == n      ? FEED_QUEUED
                      : p->n_sent > 0     ? FEED_PARTLY
                      : p->n_refused == n ? FEED_REFUSED
                                          : FEED_AGAIN;

    if (p->client || p->is_reading)
        return;
    p->done(p->arg, rc, buf_slice(&p->text));
    free_feed(p);
}

/* ---- content ---- */

static void push(struct pickup_feed *p);

static enum work_rc
read_piece(struct work_job *j)
{
    struct pickup_feed *p = CONTAINER_OF(j, struct pickup_feed, job);

    p->read_failed = pickup_file_read(p->f, &p->read_why) != 0;
    return WORK_DONE;
}

static void
piece_read(struct work_job *j)
{
    struct pickup_feed *p = CONTAINER_OF(j, struct pickup_feed, job);

    p->is_reading = false;
    if (p->client == NULL) {
        finish(p);
    } else if (p->read_failed) {
        smtp_client_body_fail(p->client, p->read_why.msg);
    } else {
        smtp_client_body(p->client, buf_slice(&p->f->piece));
        buf_reset(&p->f->piece);
        push(p);
    }
}

static void
push(struct pickup_feed *p)
{
    if (!p->wants_body || p->is_reading || p->has_ended || smtp_client_is_full(p->client))
        return;
    if (p->f->is_end) {
        p->has_ended = true;
        smtp_client_body_end(p->client);
        return;
    }
    p->is_reading = true;
    p->job = (struct work_job){ .run = read_piece, .done = piece_read };
    work_submit(p->pool, &p->job);
}

/* ---- the client ---- */

static void
on_body(struct smtp_client *c, void *arg)
{
    struct pickup_feed *p = arg;

    (void)c;
    p->wants_body = true;
    push(p);
}

static void
on_drain(struct smtp_client *c, void *arg)
{
    (void)c;
    push(arg);
}

static void
on_ready(struct smtp_client *c, void *arg)
{
    struct pickup_feed *p = arg;

    if (smtp_client_send(c, &p->f->tx))
        on_body(c, p);
}

/* What smtpd itself said, without "host X said". */
static void
keep_text(struct pickup_feed *p, const struct smtp_result *r)
{
    struct slice reply = r->reply, line;

    if (p->text.n > 0)
        return;
    if (!sl_take_until(&reply, '\n', &line))
        line = r->reply;
    line = sl_trim(sl_from(line, 4)); /* behind the code */
    if (line.n == 0)
        buf_adds(&p->text, r->text);
    else if (line.p[0] >= '2' && line.p[0] <= '5' && line.n > 2 && line.p[1] == '.')
        buf_adds(&p->text, line);
    else
        buf_addf(&p->text, "%s %.*s", r->dsn, SL_ARG(line));
}

static void
on_rcpt(struct smtp_client *c, void *arg, size_t i, const struct smtp_result *r)
{
    struct pickup_feed *p = arg;

    (void)c;
    (void)i;
    p->n_sent += r->outcome == SMTP_SENT;
    p->n_refused += r->outcome == SMTP_FAILED;
    if (r->outcome != SMTP_SENT)
        keep_text(p, r);
}

static void
on_done(struct smtp_client *c, void *arg)
{
    (void)arg;
    smtp_client_quit(c);
}

static void
on_closed(struct smtp_client *c, void *arg, const struct smtp_result *why)
{
    struct pickup_feed *p = arg;

    (void)c;
    if (p->text.n == 0 && why)
        buf_adds(&p->text, why->text);
    p->client = NULL;
    finish(p);
}

static const struct smtp_client_ops ops = { .on_ready = on_ready,
                                            .on_body = on_body,
                                            .on_drain = on_drain,
                                            .on_rcpt = on_rcpt,
                                            .on_done = on_done,
                                            .on_closed = on_closed };

static void
fail_now(void *arg)
{
    struct pickup_feed *p = arg;

    buf_addz(&p->text, "no socketpair for a session");
    finish(p);
}

void
pickup_feed(struct work_pool *pool, struct pickup_file *f,
            void (*done)(void *arg, enum feed_rc rc, struct slice text), void *arg)
{
    /* The session's own limits hold; these are beyond them. */
    static const struct smtp_times times = { .greeting = 300000,
                                             .helo = 300000,
                                             .mail = 300000,
                                             .rcpt = 300000,
                                             .data_init = 300000,
                                             .data_xfer = 300000,
                                             .data_done = 1200000,
                                             .rset = 20000,
                                             .quit = 20000 };
    struct smtp_client_opts o = { .always_ehlo = true,
                                  .wants_bdat = true,
                                  .helo_name = "localhost",
                                  .peer = "pickup",
                                  .times = times,
                                  .skip_quit_reply = true };
    struct pickup_feed *p = MEM_NEW(struct pickup_feed);
    int pair[2];

    p->f = f;
    p->pool = pool;
    p->done = done;
    p->arg = arg;
    f->at = (off_t)strlen(DROP_MAGIC);
    f->is_end = false;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        loop_defer(fail_now, p);
        return;
    }
    smtpd_begin_pickup(pair[0], &f->from);
    p->client = smtp_client_on_fd(pair[1], &o, &ops, p);
}
