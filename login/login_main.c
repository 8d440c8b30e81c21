/* login/login_main.c - the daemon `login`: ports 143, 993, 110 and 995. */
#include "login/login.h"

#include "core/daemon.h"

#include <stdio.h>

static struct login_setup setup;

/* One certificate for IMAP and POP3; each has its own context, for ALPN. */
static int
take_tls(struct slice name, struct slice pem_chain, struct slice pem_key, struct err *e)
{
    const struct conf *c = daemon_conf();
    char protocols[64];
    struct tls_server_opts o = { .tickets = true, .protocols = protocols, .alpn = "imap" };
    struct tls_ctx *imap, *pop3;

    (void)name;
    snprintf(protocols, sizeof protocols, ">=%s", c->ssl_min_protocol);
    if (tls_server_new(pem_chain, pem_key, &o, &imap, e) != 0)
        return -1;
    o.alpn = "pop3";
    if (tls_server_new(pem_chain, pem_key, &o, &pop3, e) != 0) {
        tls_unref(&imap);
        return -1;
    }
    tls_unref(&setup.tls_imap);
    tls_unref(&setup.tls_pop3);
    setup.tls_imap = imap;
    setup.tls_pop3 = pop3;
    if (setup.auth)
        login_set(&setup);
    return 0;
}

static void
reload(void)
{
    setup.conf = daemon_conf();
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
