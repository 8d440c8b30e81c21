/* cli/serve.c - `postern serve`: the supervisor. It starts every daemon from one file, keeps them running, and does
 * nothing else; strangers' octets never come near it. */
#include "cli/cli.h"
#include "cli/serve_int.h"

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/daemon.h"
#include "core/daemon_proto.h"
#include "core/loop.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TLS_LOOK_MS = 3 * 1000, LINE_OCTETS = 16 };

struct serve sv;
static struct timer tls_look;

/* ---- reading the configuration ---- */

/* Parse and check the file. The text is what the daemons will be given. */
static struct conf *
load(const char *path, struct buf *text, struct conf_problems *ps)
{
    struct err e = { 0 };
    struct conf *c;

    text->max = DAEMON_CONF_MAX_OCTETS;
    if (fs_read_file(path, text, &e) != 0) {
        conf_problem_add(ps, true, path, 0, "%s", e.msg);
        return NULL;
    }
    c = conf_parse(buf_slice(text), path, ps);
    if (c)
        check_config(c, ps);
    if (c && ps->errors > 0)
        conf_unref(&c);
    return c;
}

static void
log_problems(const struct conf_problems *ps)
{
    for (size_t i = 0; i < ps->n; i++) {
        const struct conf_problem *p = &ps->v[i];
        char line[LINE_OCTETS] = "";

        if (p->line > 0)
            snprintf(line, sizeof line, ":%u", p->line);
        log_event(p->is_error ? LOG_LV_ERROR : LOG_LV_WARN, NULL, "serve.config",
                  LOG_F(LF_Z("file", p->file), LF_N("line", p->line)), "%s%s: %s", p->file, line,
                  p->text);
    }
}

/* ---- reload ---- */

static int
refuse_moved(const struct conf *now, struct conf_problems *ps)
{
    if (strcmp(now->queue_directory, sv.conf->queue_directory) == 0 &&
        strcmp(now->data_directory, sv.conf->data_directory) == 0)
        return 0;
    conf_problem_add(ps, true, sv.conf_path, 0,
                     "queue_directory and data_directory cannot change while running: stop, "
                     "then serve");
    return -1;
}

static void
take_over(struct conf *now, struct buf *text, struct serve_sockets *sockets)
{
    struct serve_sockets before = sv.sockets;

    conf_unref(&sv.conf);
    sv.conf = now;
    buf_free(&sv.conf_text);
    sv.conf_text = *text;
    sv.sockets = *sockets;
    daemon_set_log(now, "postern", "postfix/master", NULL);
    serve_children_reload();
    serve_children_tls();
    serve_children_sockets(&sv.sockets, &before);
    serve_sockets_free(&before);
}

int
serve_reload(struct conf_problems *ps)
{
    struct buf text = { 0 };
    struct serve_sockets sockets = { 0 };
    struct conf *now = load(sv.conf_path, &text, ps);

    if (now && sv.state == SERVE_STOPPING) /* a daemon that drains must not listen again */
        conf_problem_add(ps, true, sv.conf_path, 0, "the server is stopping");
    if (!now || ps->errors > 0 || refuse_moved(now, ps) != 0)
        goto refuse;
    serve_tell_fixed(now, ps);
    serve_wanted_sockets(now, &sockets, ps);
    if (ps->errors > 0)
        goto refuse;
    serve_inherit(&sockets, &sv.sockets);
    if (serve_bind(now, &sockets, ps) != 0 || serve_tls_load(now, ps) != 0) {
        serve_inherit(&sv.sockets, &sockets);
        goto refuse;
    }
    take_over(now, &text, &sockets);
    log_problems(ps);
    log_info("serve.reload", LOG_F(LF_Z("conf", sv.conf_path)),
             "reload -- version %s, configuration %s", sv.conf->mail_version, sv.conf_path);
    malloc_trim(0);
    return 0;

refuse:
    log_problems(ps);
    log_error("serve.reload.refused", LOG_F(LF_Z("conf", sv.conf_path)),
              "reload refused, nothing was changed: %s", sv.conf_path);
    serve_sockets_free(&sockets);
    buf_free(&text);
    conf_unref(&now);
    return -1;
}

/* Certificates are renewed by other programs that do not know of us. */
static void
on_tls_look(void *arg)
{
    (void)arg;
    if (serve_tls_look(sv.conf))
        serve_children_tls();
    if (serve_tls_turn_tickets())
        serve_children_tickets();
    serve_tls_tell_expiry();
    timer_start(&tls_look, TLS_LOOK_MS, on_tls_look, NULL);
}

/* ---- stop ---- */

void
serve_stop(int exit_code)
{
    if (sv.state == SERVE_STOPPING) {
        serve_children_kill();
        return;
    }
    log_info("serve.stop", LOG_NONE, "terminating");
    sv.state = SERVE_STOPPING;
    sv.exit_code = exit_code;
    timer_stop(&tls_look);
    serve_children_drain();
}

void
serve_children_gone(void)
{
    loop_stop();
}

void
serve_children_ready(void)
{
    if (sv.state != SERVE_STARTING)
        return;
    sv.state = SERVE_READY;
    log_info("serve.ready", LOG_F(LF_Z("conf", sv.conf_path)),
             "daemon started -- version %s, configuration %s", sv.conf->mail_version, sv.conf_path);
    malloc_trim(0);
}

static void
on_signal(int signo, void *arg)
{
    struct conf_problems ps = { 0 };

    (void)arg;
    switch (signo) {
    case SIGHUP:
        if (sv.state == SERVE_READY) {
            serve_reload(&ps);
            conf_problems_free(&ps);
        }
        break;
    case SIGUSR1:
        log_reopen();
        serve_children_log();
        break;
    default:
        serve_stop(0);
        break;
    }
}

/* ---- start ---- */

static int
fail(const struct err *e)
{
    fprintf(stderr, "postern: error: %s\n", e->msg);
    return e->kind == ERR_CONFIG ? EXIT_CONFIG_ERROR : EXIT_FAILED;
}

/* Everything that can be wrong is found before the first process is started. */
static int
prepare(void)
{
    struct conf_problems ps = { 0 };
    struct err e = { 0 };
    int rc = EXIT_OK;

    sv.conf = load(sv.conf_path, &sv.conf_text, &ps);
    if (sv.conf && serve_tls_load(sv.conf, &ps) == 0)
        serve_wanted_sockets(sv.conf, &sv.sockets, &ps);
    if (!sv.conf || ps.errors > 0)
        rc = EXIT_CONFIG_ERROR;
    else if (serve_programs_find(sv.conf, &e) != 0 || serve_make_dirs(sv.conf, &e) != 0 ||
             serve_lock(sv.conf, &e) != 0)
        rc = fail(&e);
    else if (serve_bind(sv.conf, &sv.sockets, &ps) != 0)
        rc = EXIT_FAILED;
    cli_print_problems(&ps, true);
    conf_problems_free(&ps);
    return rc;
}

static void
clean_up(void)
{
    serve_control_close(sv.conf);
    serve_sockets_free(&sv.sockets);
    serve_tls_free();
    if (sv.conf)
        serve_unlock(sv.conf);
    buf_free(&sv.conf_text);
    conf_unref(&sv.conf);
}

static int
run(const struct cli_args *a)
{
    static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1 };
    struct err e = { 0 };
    char *path;
    int rc;

    if (a->argc > 1)
        return cli_usage_error(&cmd_serve, "no argument %s", a->argv[1]);
    path = realpath(a->conf_path, NULL); /* also after somebody's chdir */
    sv.conf_path = path ? path : a->conf_path;
    umask(077);
    signal(SIGPIPE, SIG_IGN);
    rc = prepare();
    if (rc != EXIT_OK)
        goto out;
    daemon_set_log(sv.conf, "postern", "postfix/master", NULL);
    loop_init();
    sv.started_ms = loop_now_ms();
    if (serve_control_open(sv.conf, &e) != 0) {
        rc = fail(&e);
        goto out;
    }
    serve_warn_users(sv.conf);
    for (size_t i = 0; i < COUNT_OF(signals); i++)
        loop_on_signal(signals[i], on_signal, NULL);
    loop_on_signal(SIGCHLD, serve_on_sigchld, NULL);
    serve_tls_turn_tickets();
    serve_tls_tell_expiry();
    timer_start(&tls_look, TLS_LOOK_MS, on_tls_look, NULL);
    serve_fix_workers(sv.conf);
    serve_children_start();
    loop_run();
    rc = sv.exit_code;
out:
    clean_up();
    free(path);
    return rc;
}

const struct cli_command cmd_serve = {
    .name = "serve",
    .usage = "serve",
    .summary = "run the mail server in the foreground",
    .help =
        "DESCRIPTION\n"
        "    Checks the configuration, binds every port, starts every daemon and keeps them "
        "running, as the\n"
        "    user who calls it and from this one file. Logs go to standard error, or to "
        "maillog_file. When\n"
        "    all is ready the log says \"daemon started\" and `postern status` exits with 0.\n\n"
        "    Started by root, each daemon becomes a user of its own where that user exists "
        "(front_user,\n"
        "    store_user, queue_user, relay_user, auth_user, oauth_user).\n\n"
        "SIGNALS\n"
        "    TERM, INT  stop: sessions are ended politely within ten seconds; a second signal ends "
        "at once\n"
        "    HUP        reload, as `postern reload`\n"
        "    USR1       open the log file again, after it was rotated\n\n"
        "EXIT STATUS\n"
        "    0 stopped as asked; 1 a port could not be bound, or another `serve` runs on this\n"
        "    queue_directory; 64 wrong usage; 78 the configuration has errors. In the last three "
        "nothing\n"
        "    was started.\n",
    .run = run,
};
