/* cli/check.c - what only the whole can tell of a configuration: listeners, certificates, places, maps, restrictions, and
 * whether postmaster and root reach a mailbox. */
#include "cli/check_int.h"
#include "cli/cli.h"

#include "auth/auth_check.h"
#include "base/mem.h"
#include "cli/serve_listen.h"
#include "queue/bounce_template.h"
#include "smtpd/restrict.h"
#include "store/names.h"

#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

enum { SOCKET_NAME_ROOM = 32 };

static void
problem(const struct conf *c, struct conf_problems *ps, bool is_error, const char *param,
        const char *text)
{
    conf_problem_add(ps, is_error, conf_file_of(c), conf_line_of(c, param), "%s: %s", param, text);
}

/* ---- places ---- */

/* Files of Postfix may say where its own daemons are. */
static void
check_programs(const struct conf *c, struct conf_problems *ps)
{
    struct buf path = { 0 };

    buf_addf(&path, "%s/authd", c->daemon_directory);
    if (c->daemon_directory[0] && access(buf_z(&path), X_OK) != 0)
        conf_problem_add(ps, true, conf_file_of(c), conf_line_of(c, "daemon_directory"),
                         "daemon_directory: there is no %s: if these are Postfix's programs, "
                         "remove the line; Postern finds its own",
                         buf_z(&path));
    buf_free(&path);
}

static void
check_places(const struct conf *c, struct conf_problems *ps)
{
    struct sockaddr_un un;
    struct err e = { 0 };
    struct location where;

    if (c->queue_directory[0] != '/')
        problem(c, ps, true, "queue_directory", "an absolute path is wanted");
    else if (strlen(c->queue_directory) + SOCKET_NAME_ROOM > sizeof(un.sun_path))
        problem(c, ps, true, "queue_directory",
                "the path is too long for the unix sockets below it (76 octets at most)");
    check_programs(c, ps);
    if (c->data_directory[0] != '/')
        problem(c, ps, true, "data_directory", "an absolute path is wanted");
    if (location_resolve(c, SL("user@example.com"), SL(""), &where, &e) < 0)
        problem(c, ps, true, "mail_location", e.msg);
    location_free(&where);
}

static void
check_restrictions(const struct conf *c, struct conf_problems *ps)
{
    static const char *const services[] = { "submission", "submissions" };

    restrict_check_conf(c, NULL, ps);
    for (size_t i = 0; i < COUNT_OF(services); i++) {
        struct conf *view = conf_for_service(c, services[i]);

        restrict_check_conf(view, services[i], ps);
        conf_unref(&view);
    }
}

/* What is wrong with them costs nobody a report. */
static void
check_templates(const struct conf *c, struct conf_problems *ps)
{
    struct bounce_templates *t = bounce_templates_load(c, ps);

    bounce_templates_unref(&t);
}

void
check_config(const struct conf *c, struct conf_problems *ps)
{
    check_listeners(c, ps);
    check_values(c, ps);
    check_tls(c, ps);
    check_places(c, ps);
    check_restrictions(c, ps);
    check_speakers(c, ps);
    check_local(c, ps);
    check_quota(c, ps);
    check_oauth(c, ps);
    check_pop3(c, ps);
    check_manners(c, ps);
    check_templates(c, ps);
    auth_check(c, ps);
}
