/* imapd/imapd_main.c - imapd: IMAP sessions of users whom login handed over. Listens on private/imapd-N only; other
 * processes tell of changed mailboxes by datagrams on private/imapd-notify-N. Runs as the owner of the mail. */
#include "imapd/imapd.h"

#include "auth/auth_client.h"
#include "base/log.h"
#include "core/daemon.h"
#include "session/quota_tell.h"
#include "session/userip.h"
#include "store/quota.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DATAGRAM_MAX = 16 * 1024, DATAGRAMS_A_TURN = 64 };

static int notify_fd = -1;

static void
on_datagram(void *arg)
{
    char msg[DATAGRAM_MAX];
    ssize_t n;

    (void)arg;
    for (int i = 0; i < DATAGRAMS_A_TURN; i++) {
        n = recv(notify_fd, msg, sizeof(msg), MSG_DONTWAIT);
        if (n < 0)
            return;
        store_notified(imapd.store, sl_n(msg, (size_t)n));
    }
}

/* Without it a session hears of new mail from inotify or at its next command: so a failure is a warning. */
static void
listen_notify(void)
{
    char name[64], path[PATH_MAX];
    struct addr a;
    struct err e = { 0 };

    snprintf(name, sizeof(name), "private/imapd-notify-%u", daemon_worker());
    daemon_socket_path(daemon_conf(), name, path, sizeof(path));
    notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (addr_unix(path, &a, &e) < 0 || notify_fd < 0 || (unlink(path) < 0 && errno != ENOENT) ||
        bind(notify_fd, &a.u.sa, a.len) < 0 || chmod(path, 0660) < 0) {
        log_warn("imapd.notify", LOG_NONE, "imap: %s: cannot listen: %s", path,
                 e.msg[0] ? e.msg : strerror(errno));
        if (notify_fd >= 0)
            close(notify_fd);
        notify_fd = -1;
        return;
    }
    loop_watch_fd(notify_fd, on_datagram, NULL);
}

/* From any thread. lmtpd writes to the user. */
static void
on_quota(void *arg, const struct quota_change *c)
{
    (void)arg;
    if (quota_warning_due(c->rules, &c->was, &c->now))
        quota_tell(c->user);
}

static int
init(struct err *e)
{
    char path[PATH_MAX];

    list_init(&imapd.sessions);
    if (store_new(daemon_conf(), &imapd.store, e) < 0)
        return -1;
    if (quota_is_on(daemon_conf())) {
        quota_tell_init(daemon_conf());
        quota_on_change(imapd.store, on_quota, NULL);
    }
    store_fill_ahead(imapd.store);
    imapd.pool = work_pool_new("imap", IMAPD_THREADS, 0);
    work_pool_share(imapd.pool, IMAPD_THREADS_USER);
    imap_auth = auth_master_new(
        daemon_socket_path(daemon_conf(), "private/auth-master", path, sizeof(path)));
    imap_userips = userips_new(
        "imap", daemon_socket_path(daemon_conf(), "private/sessions", path, sizeof(path)));
    listen_notify();
    return 0;
}

static void
on_accept(struct slice service, int fd, const struct addr *peer)
{
    (void)service;
    (void)peer;
    handoff_serve(fd, imap_adopt);
}

static bool
is_idle(void)
{
    return list_is_empty(&imapd.sessions);
}

int
main(int argc, char **argv)
{
    static const struct daemon_def def = {
        .name = "imapd",
        .log_ident = "dovecot",
        .init = init,
        .accept = on_accept,
        .is_idle = is_idle,
        .drain = imap_sess_drain,
    };

    return daemon_main(argc, argv, &def);
}
