/* login/login_back.c - UNAUTHENTICATE (RFC 8437): imapd hands a session back, and it goes on as one that nobody knows yet. With
 * TLS what comes back is imapd's end of the socketpair: whichever login process relays goes on doing so, and the next
 * hand-over passes that end on as it is. */
#include "login/login_int.h"

#include "base/log.h"
#include "core/chan.h"
#include "core/daemon.h"
#include "session/handoff.h"

#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

static void
on_session(uint64_t key, const struct handoff *h, int fd)
{
    struct upstream_client c = { .peer = h->remote, .local = h->local, .unread = h->input };
    struct sess *s;

    if (!handoff_adopted(key, h->session.n > 0)) {
        close(fd);
        return;
    }
    s = login_new(&login_imap, fd, &c);
    if (h->is_tls)
        s->is_tls = s->is_tls_ready = s->is_secured = true;
    snprintf(s->sid, sizeof s->sid, "%.*s", SL_ARG(h->session));
    if (h->reply.n > 0)
        conn_writes(s->conn, h->reply);
    else
        login_imap_welcome_back(s, h->tag);
}

static bool
is_user(const char *name, unsigned uid)
{
    const struct passwd *pw = name[0] ? getpwnam(name) : NULL;

    return pw && pw->pw_uid == uid;
}

/* Whoever writes to the socket can say of a client that it is somebody else, or has TLS: smtpd, which strangers talk to, is in
 * its folder too and not to be believed. Where daemons have no users of their own, all are one. */
static bool
is_imapd(int fd)
{
    unsigned uid;
    int pid;

    if (chan_peer_ids(fd, &pid, &uid) != 0)
        return false;
    if (uid == 0) /* may all anyway; imapd, where store_user is nobody */
        return true;
    if (is_user(daemon_user_of(daemon_conf(), "imapd"), uid))
        return true;
    return uid == geteuid() && !is_user(daemon_user_of(daemon_conf(), "login"), uid);
}

void
login_serve_back(int fd)
{
    if (!is_imapd(fd)) {
        log_warn("login.back", LOG_NONE, "private/login: only imapd may hand sessions back");
        close(fd);
        return;
    }
    handoff_serve(fd, on_session);
}
