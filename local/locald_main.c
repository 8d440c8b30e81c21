/* local/locald_main.c - commands and files that aliases(5) names. It does not outlive its work by long. */
#include "local/locald.h"

#include "base/log.h"
#include "core/daemon.h"
#include "core/loop.h"

#include <unistd.h>

static struct timer idle;
static bool is_leaving;

static bool
is_idle(void)
{
    return session_count() == 0 && session_jobs() == 0;
}

static void
on_idle(void *arg)
{
    static bool was_idle;

    (void)arg;
    if (is_idle() && (was_idle || is_leaving)) {
        loop_stop();
        return;
    }
    was_idle = is_idle();
    timer_start(&idle, is_leaving ? LOCAL_LEAVE_MS : LOCAL_IDLE_MS, on_idle, NULL);
}

/* Without the rights of default_privs nothing is done, and never with others. */
static int
init(struct err *e)
{
    static struct err why;

    (void)e;
    if (!daemon_has_default_privs(daemon_conf(), &why)) {
        log_error("local.rights", LOG_F(LF_Z("why", why.msg)),
                  "%s: commands and files out of aliases wait", why.msg);
        session_set_trouble(why.msg);
    }
    on_idle(NULL);
    return 0;
}

static void
on_accept(struct slice service, int fd, const struct addr *peer)
{
    (void)service;
    (void)peer;
    if (is_leaving)
        close(fd); /* qmgr comes again */
    else
        session_accept(fd);
}

/* Who it runs as cannot be changed: another one will, when qmgr comes again. */
static void
reload(void)
{
    struct err e;

    session_reload();
    if (daemon_has_default_privs(daemon_conf(), &e) && !session_has_trouble())
        return;
    is_leaving = true;
    session_drain_all();
    on_idle(NULL);
}

int
main(int argc, char **argv)
{
    static const struct daemon_def def = {
        .name = "locald",
        .log_ident = "postfix/local",
        .init = init,
        .accept = on_accept,
        .reload = reload,
        .is_idle = is_idle,
        .drain = session_drain_all,
    };

    return daemon_main(argc, argv, &def);
}
