/* pop3d/pop3d_main.c - the daemon `pop3d`: POP3 after login, over private/pop3d. */
#include "pop3d/pop3d.h"

#include "auth/auth_client.h"
#include "core/daemon.h"
#include "session/handoff.h"
#include "session/quota_tell.h"
#include "session/userip.h"
#include "store/quota.h"

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
    const struct conf *c = daemon_conf();
    char path[512];

    list_init(&pop3d.sessions);
    if (store_new(c, &pop3d.store, e) != 0)
        return -1;
    if (quota_is_on(c)) {
        quota_tell_init(c);
        quota_on_change(pop3d.store, on_quota, NULL);
    }
    pop3d.auth = auth_master_new(daemon_socket_path(c, "private/auth-master", path, sizeof path));
    pop3d.userips =
        userips_new("pop3", daemon_socket_path(c, "private/sessions", path, sizeof path));
    pop3d.pool = work_pool_new("pop3", POP3D_THREADS, 0);
    work_pool_share(pop3d.pool, POP3D_THREADS_USER);
    return 0;
}

static void
on_accept(struct slice service, int fd, const struct addr *peer)
{
    (void)service;
    (void)peer;
    handoff_serve(fd, pop3_adopt);
}

static bool
is_idle(void)
{
    return pop3d.n_sessions == 0;
}

static const struct daemon_def def = {
    .name = "pop3d",
    .log_ident = "dovecot",
    .init = init,
    .accept = on_accept,
    .is_idle = is_idle,
    .drain = pop3_drain,
};

int
main(int argc, char **argv)
{
    return daemon_main(argc, argv, &def);
}
