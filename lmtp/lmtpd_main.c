/* lmtp/lmtpd_main.c - final delivery: LMTP on private/dovecot-lmtp into the users' Maildirs. */
#include "lmtp/lmtpd.h"

#include "core/daemon.h"
#include "lmtp/warner.h"
#include "store/quota.h"

static int
init(struct err *e)
{
    const struct conf *c = daemon_conf();
    char path[256];

    lmtpd_env.conf = conf_ref(c);
    lmtpd_env.auth =
        auth_master_new(daemon_socket_path(c, "private/auth-master", path, sizeof(path)));
    lmtpd_env.pool = work_pool_new("quota", LMTPD_QUOTA_THREADS, 0);
    if (deliverer_new(c, &lmtpd_env.deliverer, e) < 0)
        return -1;
    if (quota_is_on(c))
        warner_start();
    return 0;
}

static void
on_accept(struct slice service, int fd, const struct addr *peer)
{
    if (sl_eqz(service, "quota"))
        quota_status_accept(fd);
    else
        lmtpd_accept(fd, peer);
}

static void
reload(void)
{
    conf_unref(&lmtpd_env.conf);
    lmtpd_env.conf = conf_ref(daemon_conf());
}

static bool
is_idle(void)
{
    return lmtpd_sessions() == 0 && quota_status_count() == 0;
}

static void
drain(void)
{
    lmtpd_drain_all();
    quota_status_drain();
}

int
main(int argc, char **argv)
{
    static const struct daemon_def def = {
        .name = "lmtpd",
        .log_ident = "dovecot",
        .init = init,
        .accept = on_accept,
        .reload = reload,
        .is_idle = is_idle,
        .drain = drain,
    };

    return daemon_main(argc, argv, &def);
}
