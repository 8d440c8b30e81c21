/* login/login_main.c - the daemon `login`: ports 143, 993, 110 and 995. */
#include "login/login.h"

#include "base/log.h"
#include "core/daemon.h"

static struct login_setup setup;
static struct tls_bundle certificates;

static int
make_contexts(const struct tls_bundle *from, struct err *e)
{
    struct login_tls fresh = { { NULL } };

    if (login_tls_make(daemon_conf(), from, &fresh, e) != 0)
        return -1;
    login_tls_unref(&setup.tls);
    setup.tls = fresh;
    return 0;
}

static int
take_tls(struct slice name, struct slice text, struct err *e)
{
    struct tls_bundle fresh;

    if (sl_eqz(name, "tickets"))
        return tls_set_ticket_keys(text, e);
    if (tls_bundle_read(text, &fresh, e) != 0)
        return -1;
    if (make_contexts(&fresh, e) != 0) {
        tls_bundle_free(&fresh);
        return -1;
    }
    tls_bundle_free(&certificates);
    certificates = fresh;
    if (setup.auth)
        login_set(&setup);
    return 0;
}

static void
reload(void)
{
    struct err e = { 0 };

    setup.conf = daemon_conf();
    if (make_contexts(&certificates, &e) != 0)
        log_error("conf.refused", LOG_F(LF_Z("why", e.msg)),
                  "TLS of the new configuration is not used: %s", e.msg);
    login_set(&setup);
}

static int
init(struct err *e)
{
    char path[512];

    (void)e;
    setup.conf = daemon_conf();
    setup.imapd_workers = daemon_workers("imapd");
    setup.auth = auth_client_new(daemon_socket_path(setup.conf, "private/auth", path, sizeof path));
    auth_client_connect(setup.auth);
    login_set(&setup);
    return 0;
}

static void
on_accept(struct slice service, int fd, const struct addr *peer)
{
    if (sl_eqz(service, "login"))
        login_serve_back(fd);
    else
        login_accept(service, fd, peer);
}

static bool
is_idle(void)
{
    return login_count() == 0;
}

static const struct daemon_def def = {
    .name = "login",
    .log_ident = "dovecot",
    .init = init,
    .accept = on_accept,
    .reload = reload,
    .tls = take_tls,
    .is_idle = is_idle,
    .drain = login_drain,
};

int
main(int argc, char **argv)
{
    return daemon_main(argc, argv, &def);
}
