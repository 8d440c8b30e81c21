/* smtpd/smtpd_main.c - the SMTP server: ports 25, 587 and 465. */
#include "smtpd/smtpd.h"

#include "auth/anvil_client.h"
#include "base/log.h"
#include "core/daemon.h"

static int
init(struct err *e)
{
    const struct conf *c = daemon_conf();
    char path[256], incoming[256];

    smtpd_env.auth = auth_client_new(daemon_socket_path(c, c->smtpd_sasl_path, path, sizeof(path)));
    smtpd_env.lookup =
        lookup_client_new(daemon_socket_path(c, "private/lookup", path, sizeof(path)));
    smtpd_env.lines = lookup_client_new(path);
    smtpd_env.queue =
        queue_client_new(daemon_socket_path(c, "private/queue", path, sizeof(path)),
                         daemon_socket_path(c, "incoming", incoming, sizeof(incoming)));
    queue_client_set_limit(smtpd_env.queue, (uint64_t)c->queue_answer_timeout);
    smtpd_env.anvil = anvil_client_new(daemon_socket_path(c, "private/anvil", path, sizeof(path)));
    if (dns_new(&c->dns_resolvers, &smtpd_env.dns, e))
        return -1;
    smtpd_env.policy = policy_client_new(smtpd_env.dns);
    if (c->smtpd_sasl_auth_enable)
        auth_client_connect(smtpd_env.auth);
    if (smtpd_set_conf(c, e))
        return -1;
    if (daemon_worker() == 0)
        pickup_start(c);
    return 0;
}

static void
on_accept(struct slice service, int fd, const struct addr *peer)
{
    enum smtpd_service s = SMTPD_MX;

    if (sl_eqz(service, "submission"))
        s = SMTPD_SUBMISSION;
    else if (sl_eqz(service, "submissions"))
        s = SMTPD_SUBMISSIONS;
    smtpd_accept(s, fd, peer);
}

static void
reload(void)
{
    struct err e = { 0 };

    queue_client_set_limit(smtpd_env.queue, (uint64_t)daemon_conf()->queue_answer_timeout);
    if (smtpd_set_conf(daemon_conf(), &e))
        log_error("conf.refused", LOG_F(LF_Z("why", e.msg)), "new configuration is not used: %s",
                  e.msg);
    else if (daemon_worker() == 0)
        pickup_start(daemon_conf());
}

static void
drain(void)
{
    pickup_stop();
    smtpd_drain_all();
}

static bool
is_idle(void)
{
    return smtpd_sessions() == 0;
}

int
main(int argc, char **argv)
{
    static const struct daemon_def def = {
        .name = "smtpd",
        .log_ident = "postfix/smtpd",
        .init = init,
        .accept = on_accept,
        .reload = reload,
        .tls = smtpd_set_tls,
        .is_idle = is_idle,
        .drain = drain,
    };

    return daemon_main(argc, argv, &def);
}
