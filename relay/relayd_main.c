/* relay/relayd_main.c - relayd: the only daemon that talks to other hosts' mail servers. It keeps nothing: qmgr streams one
 * message for one destination at a time. */
#include "relay/relay_int.h"

#include "base/log.h"
#include "core/daemon.h"

#include <string.h>
#include <unistd.h>

struct dns *relay_dns;
struct own_addrs relay_own;
struct lookup_client *relay_content;

static int
open_dns(struct err *e)
{
    struct dns *d = NULL;

    if (dns_new(&daemon_conf()->dns_resolvers, &d, e) != 0)
        return -1;
    relay_dns = d;
    return 0;
}

static int
init(struct err *e)
{
    char path[256];

    if (open_dns(e) != 0)
        return -1;
    relay_content =
        lookup_client_new(daemon_socket_path(daemon_conf(), "private/content", path, sizeof path));
    own_addrs_init(&relay_own, daemon_conf());
    tls_policy_reload();
    content_reload();
    return 0;
}

static void
on_accept(struct slice service, int fd, const struct addr *peer)
{
    (void)peer;
    if (sl_eqz(service, "relay"))
        server_accept(fd);
    else
        close(fd);
}

/* Resolvers may have changed; questions that are out stay with the old ones, which are left to the process's end. */
static void
reload(void)
{
    struct err e = { 0 };

    if (open_dns(&e) != 0)
        log_warn("relay.dns", LOG_NONE, "%s: the resolvers stay as they were", e.msg);
    own_addrs_free(&relay_own);
    own_addrs_init(&relay_own, daemon_conf());
    tls_policy_reload();
    content_reload();
    pool_flush();
}

static bool
is_idle(void)
{
    return server_busy() == 0;
}

static const struct daemon_def def = {
    .name = "relayd",
    .log_ident = "postfix/smtp",
    .init = init,
    .accept = on_accept,
    .reload = reload,
    .is_idle = is_idle,
};

int
main(int argc, char **argv)
{
    return daemon_main(argc, argv, &def);
}
