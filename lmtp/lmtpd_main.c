/* lmtp/lmtpd_main.c - final delivery: LMTP on private/dovecot-lmtp into the users' Maildirs. */
#include "lmtp/lmtpd.h"

#include "core/daemon.h"

static int
init(struct err *e)
{
    const struct conf *c = daemon_conf();
    char path[256];

    lmtpd_env.conf = conf_ref(c);
    lmtpd_env.auth =
        auth_master_new(daemon_socket_path(c, "private/auth-master", path, sizeof(path)));
    return deliverer_new(c, &lmtpd_env.deliverer, e);
}

static void
on_accept(struct slice service, int fd, const struct addr *peer)
{
    (void)service;
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
    return lmtpd_sessions() == 0;
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
        .drain = lmtpd_drain_all,
    };

    return daemon_main(argc, argv, &def);
}
