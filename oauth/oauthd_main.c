/* oauth/oauthd_main.c - oauthd: what OAuth tokens are worth. It parses what strangers send as tokens and what a provider
 * answers, and has the network for that; it has no mail, no users and no database. Started when authd first asks. */
#include "auth/oauth_client.h"
#include "base/log.h"
#include "core/daemon.h"
#include "core/loop.h"
#include "oauth/check.h"
#include "oauth/server.h"

/* What is wrong is told to whoever asks: a provider's trouble must not keep those out who have passwords. */
static void
set(void)
{
    struct err e = { 0 };

    if (check_set(daemon_conf(), &e) != 0)
        log_error("oauth.config", LOG_F(LF_Z("why", e.msg)),
                  "%s: no token is good until that is mended", e.msg);
}

static int
init(struct err *e)
{
    (void)e;
    check_init();
    set();
    return 0;
}

static void
on_accept(struct slice service, int fd, const struct addr *peer)
{
    (void)service;
    (void)peer;
    oauth_serve(fd);
}

static void
reload(void)
{
    set();
    if (!oauth_is_configured(daemon_conf())) {
        oauth_serve_end();
        loop_stop();
    }
}

int
main(int argc, char **argv)
{
    static const struct daemon_def def = {
        .name = "oauthd",
        .log_ident = "dovecot",
        .log_prefix = "oauth: ",
        .init = init,
        .accept = on_accept,
        .reload = reload,
    };

    return daemon_main(argc, argv, &def);
}
