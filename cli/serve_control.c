/* cli/serve_control.c - the supervisor's end of `postern reload|status|stop`: one SEQPACKET message each way.
 * The reply's first line is "ok" or "error"; the rest is for people (reload) or words and numbers (status). */
#include "cli/serve_int.h"

#include "base/mem.h"
#include "core/chan.h"
#include "core/listener.h"
#include "core/loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS_MAX = 32, CONTROL_MODE = 0600 };

static struct {
    struct listener *l;
    unsigned n_clients;
} ctl;

struct client {
    struct chan *ch;
    uint64_t id;
};

void
serve_control_path(const struct conf *c, char *out, size_t out_octets)
{
    snprintf(out, out_octets, "%s/private/control", c->queue_directory);
}

static void
reply(struct client *k, struct slice text)
{
    chan_send(k->ch, sl_head(text, CHAN_MSG_OCTETS), NULL, 0);
}

static void
on_status(struct slice lines, void *arg)
{
    uint64_t *id = arg;
    struct client *k = id_get(*id);
    struct buf text = { 0 };

    free(id);
    if (!k)
        return;
    buf_addf(&text, "ok\nstate %s\npid %ld\nuptime %llu\nconf %s\n%.*s",
             sv.state == SERVE_STOPPING   ? "stopping"
             : serve_are_children_ready() ? "ready"
                                          : "starting",
             (long)getpid(), (unsigned long long)((loop_now_ms() - sv.started_ms) / 1000),
             sv.conf_path, SL_ARG(lines));
    serve_tls_status(&text);
    reply(k, buf_slice(&text));
    buf_free(&text);
}

static void
do_reload(struct client *k)
{
    struct conf_problems ps = { 0 };
    struct buf text = { 0 };
    int rc = serve_reload(&ps);

    buf_addz(&text, rc == 0 ? "ok\n" : "error\n");
    for (size_t i = 0; i < ps.n; i++) {
        const char *level = ps.v[i].is_error ? "error" : "warning";

        if (ps.v[i].line > 0)
            buf_addf(&text, "%s:%u: %s: %s\n", ps.v[i].file, ps.v[i].line, level, ps.v[i].text);
        else
            buf_addf(&text, "%s: %s: %s\n", ps.v[i].file, level, ps.v[i].text);
    }
    reply(k, buf_slice(&text));
    buf_free(&text);
    conf_problems_free(&ps);
}

static void
on_msg(struct chan *c, void *arg, struct slice msg, const int *fds, size_t n_fds)
{
    struct client *k = arg;

    (void)c;
    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]);
    if (sl_eqz(msg, "status")) {
        serve_children_status(on_status, mem_dup(&k->id, sizeof k->id));
    } else if (sl_eqz(msg, "reload")) {
        do_reload(k);
    } else if (sl_eqz(msg, "stop")) {
        reply(k, SL("ok\n"));
        serve_stop(0);
    } else {
        reply(k, SL("error\nunknown request\n"));
    }
}

static void
on_close(struct chan *c, void *arg)
{
    struct client *k = arg;

    (void)c;
    id_del(k->id);
    chan_free(&k->ch);
    free(k);
    ctl.n_clients--;
}

static const struct chan_ops ops = { .on_msg = on_msg, .on_close = on_close };

static void
on_accept(struct listener *l, void *arg, int fd, const struct addr *peer)
{
    struct client *k;

    (void)l;
    (void)arg;
    (void)peer;
    if (ctl.n_clients >= CLIENTS_MAX) {
        close(fd);
        return;
    }
    ctl.n_clients++;
    k = MEM_NEW(struct client);
    k->id = id_add(k);
    k->ch = chan_new(fd, &ops, k);
}

int
serve_control_open(const struct conf *c, struct err *e)
{
    char path[512];
    struct addr a;
    int fd;

    serve_control_path(c, path, sizeof path);
    if (addr_unix(path, &a, e) != 0)
        return -1;
    fd = listener_bind(&a, SOCK_SEQPACKET, CONTROL_MODE, e);
    if (fd < 0)
        return -1;
    ctl.l = listener_new(fd, on_accept, NULL);
    return 0;
}

void
serve_control_close(const struct conf *c)
{
    char path[512];

    if (!ctl.l)
        return;
    listener_free(&ctl.l);
    serve_control_path(c, path, sizeof path);
    unlink(path);
}
