/* imapd/cmd_unauthenticate.c - UNAUTHENTICATE (RFC 8437): the session goes back the way it came, to login, which answers the
 * command; all that was the user's ends here. The RFC knows no NO for it: where login cannot take the session the connection
 * is closed. With compression both streams end at the command and its reply (§4.1). */
#include "imapd/rows.h"

#include "base/log.h"
#include "base/mem.h"
#include "core/daemon.h"
#include "session/userip.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    RETRY_MS = 50,    /* the client has not taken all that was said before, */
    RETRIES_MAX = 100 /* or the end of its compressed command has not come yet: so often */
};

/* Addresses are 130 octets each at most, and mostly 16: a session that waits keeps what there is. */
struct imap_origin {
    bool is_tls;
    unsigned char remote_octets, local_octets;
    char addrs[];
};

struct imap_origin *
imap_origin_new(const struct imap_adopted *a)
{
    struct imap_origin *o;

    if (!a->remote)
        return NULL;
    o = mem_zalloc(sizeof *o + a->remote->len + a->local->len);
    o->is_tls = a->is_tls;
    o->remote_octets = (unsigned char)a->remote->len;
    o->local_octets = (unsigned char)a->local->len;
    memcpy(o->addrs, &a->remote->u, a->remote->len);
    memcpy(o->addrs + a->remote->len, &a->local->u, a->local->len);
    return o;
}

struct leave {
    enum { LEAVE_NO, LEAVE_WAITS, LEAVE_GONE, LEAVE_FAILED } state;
    struct timer retry;
    unsigned retries; /* for want of input */
    int spare_fd;     /* to say BYE on where login does not take the session */
    struct imap_cmd *c;
};

static void
on_taken(uint64_t id, int pid)
{
    struct imap_sess *s = id_get(id);
    struct leave *l;

    BUG_ON(!s || !s->cmd); /* the command waits for this */
    l = s->cmd->run_state;
    l->state = pid > 0 ? LEAVE_GONE : LEAVE_FAILED;
    imap_cmd_resume(s->cmd);
}

static void
hand_back(struct leave *l, int fd, struct slice input, struct slice reply)
{
    struct imap_sess *s = l->c->s;
    const struct imap_origin *o = s->origin;
    struct handoff h = { .tag = l->c->tag,
                         .input = input,
                         .session = sl_z(s->name),
                         .reply = reply,
                         .is_tls = o->is_tls };
    char path[PATH_MAX];

    memcpy(&h.remote.u, o->addrs, o->remote_octets);
    h.remote.len = o->remote_octets;
    memcpy(&h.local.u, o->addrs + o->remote_octets, o->local_octets);
    h.local.len = o->local_octets;
    l->spare_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    l->state = LEAVE_WAITS;
    userip_leave(
        imap_userips,
        s->userip); /* whatever comes of it; the client may log in again before we have ended */
    s->userip = NULL;
    handoff_send(daemon_socket_path(s->conf, "private/login", path, sizeof path), &h, fd, on_taken,
                 s->id);
}

static void
fail(struct leave *l)
{
    l->state = LEAVE_FAILED;
    imap_cmd_resume(l->c);
}

/* Ends compression. -1: not now. */
static int
end_compression(struct leave *l, struct buf *reply)
{
    struct buf last = { 0 };
    int rc = 0;

    if (conn_is_deflated(l->c->s->conn)) {
        buf_addf(&last, "%.*s OK Unauthenticate completed.\r\n", SL_ARG(l->c->tag));
        rc = conn_end_deflate(l->c->s->conn, buf_slice(&last), reply);
    }
    buf_free(&last);
    return rc;
}

static void
try_to_leave(void *arg)
{
    struct leave *l = arg;
    struct imap_sess *s = l->c->s;
    struct buf input = { 0 }, reply = { 0 };
    int fd;

    if (!s->conn) /* on_close has said so, or will */
        return;
    if (conn_input(s->conn).n > HANDOFF_INPUT_MAX ||
        (conn_is_deflated(s->conn) && conn_has_input(s->conn))) {
        fail(l); /* too much, or compressed still: nobody could take it */
        return;
    }
    if (conn_out_pending(s->conn) > 0)
        conn_uncork(s->conn);
    fd = conn_out_pending(s->conn) > 0 || end_compression(l, &reply) < 0
             ? -1
             : conn_detach(s->conn, &input);
    if (fd >= 0) {
        s->conn = NULL;
        hand_back(l, fd, buf_slice(&input), buf_slice(&reply));
    } else if (conn_out_pending(s->conn) == 0 && ++l->retries > RETRIES_MAX) {
        fail(l);
    } else {
        timer_start(&l->retry, RETRY_MS, try_to_leave, l);
    }
    buf_free(&input);
    buf_free(&reply);
}

static void
ask_login(struct imap_cmd *c)
{
    try_to_leave(c->run_state);
}

enum cmd_rc
imap_run_unauthenticate(struct imap_cmd *c)
{
    struct leave *l = c->run_state;

    if (!l) {
        if (!c->s->origin) {
            imap_bad(c, "BAD This session cannot go back.");
            return CMD_DONE;
        }
        l = ARENA_NEW(&c->mem, struct leave);
        l->c = c;
        l->spare_fd = -1;
        c->run_state = l;
        c->ask = ask_login;
        return CMD_ASK;
    }
    return CMD_DONE;
}

void
imap_done_unauthenticate(struct imap_cmd *c)
{
    static const char farewell[] = "* BYE Internal error: the session cannot go on.\r\n";
    struct leave *l = c->run_state;
    struct imap_sess *s = c->s;

    if (!l)
        return;
    timer_stop(&l->retry);
    if (l->state == LEAVE_GONE) {
        s->why = "Unauthenticated";
    } else if (l->state == LEAVE_FAILED) {
        log_error("imap.back", LOG_F(LF_Z("user", s->user), LF_Z("sid", s->name)),
                  "imap(%s)<%s>: Error: UNAUTHENTICATE: login did not take the session", s->user,
                  s->name);
        if (s->conn)
            imap_sess_bye(s, "Internal error: the session cannot go on.",
                          "Disconnected: UNAUTHENTICATE failed");
        else if (l->spare_fd >= 0 &&
                 send(l->spare_fd, farewell, sizeof farewell - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            log_debug("imap.back", LOG_NONE, "imap: the farewell could not be sent");
        s->why = "Disconnected: UNAUTHENTICATE failed";
    }
    if (l->spare_fd >= 0)
        close(l->spare_fd);
    s->is_closing = s->is_closing || l->state != LEAVE_NO;
}
