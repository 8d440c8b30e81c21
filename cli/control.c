/* cli/control.c - `postern reload|status|stop`: asking the supervisor. */
#include "cli/cli.h"
#include "cli/queue_source.h"
#include "cli/serve_int.h"
#include "cli/status_certs.h"

#include "base/mem.h"
#include "core/chan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { REPLY_WAIT_S = 30, STOP_WAIT_MS = 30 * 1000, STOP_LOOK_MS = 50 };

static int
connect_control(const struct conf *c, struct err *e)
{
    struct timeval wait = { .tv_sec = REPLY_WAIT_S };
    struct addr a;
    char path[512];
    int fd;

    serve_control_path(c, path, sizeof path);
    if (addr_unix(path, &a, e) != 0)
        return -1;
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_sys(e, "socket");
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    if (connect(fd, &a.u.sa, a.len) == 0)
        return fd;
    if (errno == ENOENT || errno == ECONNREFUSED)
        err_set(e, ERR_NOTFOUND, "no postern serve runs on %s", c->queue_directory);
    else
        err_sys(e, "cannot connect to %s", path);
    close(fd);
    return -1;
}

/* Ask and return the reply without its first line; *is_ok: that line was "ok". */
static int
ask(int fd, const char *request, struct buf *reply, bool *is_ok, struct err *e)
{
    struct slice text, first;
    char *at = buf_reserve(reply, CHAN_MSG_OCTETS);
    ssize_t n;

    if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0)
        return err_sys(e, "cannot ask the supervisor");
    n = recv(fd, at, CHAN_MSG_OCTETS, 0);
    if (n <= 0)
        return n < 0 ? err_sys(e, "no answer from the supervisor")
                     : err_set(e, ERR_TEMP, "no answer from the supervisor");
    buf_commit(reply, (size_t)n);
    text = buf_slice(reply);
    if (!sl_take_until(&text, '\n', &first))
        return err_set(e, ERR_BUG, "strange answer from the supervisor");
    *is_ok = sl_eqz(first, "ok");
    buf_consume(reply, first.n + 1);
    return 0;
}

static int
complain(const struct cli_command *k, const struct err *e)
{
    fprintf(stderr, "postern %s: %s\n", k->name, e->msg);
    return e->kind == ERR_NOTFOUND ? EXIT_UNAVAILABLE : EXIT_FAILED;
}

/* ---- status ---- */

static const char *const daemon_columns[] = { "name",  "worker",   "pid",
                                              "state", "sessions", "restarts" };

static void
print_daemon(struct slice line, bool is_json, bool is_first)
{
    struct slice word;
    bool is_text;

    if (is_json)
        printf("%s\n    {", is_first ? "" : ",");
    for (size_t i = 0; i < COUNT_OF(daemon_columns) && sl_take_word(&line, " ", &word); i++) {
        is_text = i == 0 || i == 3;
        if (!is_json) {
            printf(is_text ? "%-9.*s" : "%8.*s ", SL_ARG(word));
            continue;
        }
        printf("%s\"%s\": ", i ? ", " : "", daemon_columns[i]);
        if (is_text)
            cli_json_string(word);
        else
            printf("%.*s", SL_ARG(word));
    }
    fputs(is_json ? "}" : "\n", stdout);
}

/* Bounces that nobody takes (queue/report.c). -1: they cannot be counted, by this user or now. */
static long long
count_undeliverable(const struct conf *c)
{
    struct queue_page p = { .after = 0 };
    struct queue_source *s = NULL;
    struct err e = { 0 };
    struct slice in, word;
    uint64_t n = 0;
    long long count = -1;
    unsigned field = 0;

    if (queue_source_open(c, &s, &e) != 0)
        return -1;
    if (queue_source_ask(s, "stat", "", &p, &e) == 0) {
        in = sl_trim(buf_slice(&p.text));
        while (sl_take_word(&in, "\t", &word))
            if (field++ == 6 && sl_to_u64(word, &n))
                count = (long long)n;
    }
    buf_free(&p.text);
    queue_source_close(&s);
    return count;
}

static void
print_undeliverable(long long count, bool is_json)
{
    if (is_json && count >= 0)
        printf(",\n  \"undeliverable_notices\": %lld", count);
    else if (!is_json && count > 0)
        printf("\n%lld %s that nobody takes %s on hold. Make the address deliverable that\n"
               "`postern queue list` names (postmaster: 2bounce_notice_recipient, "
               "virtual_alias_maps,\nalias_maps), then `postern queue release ID`; or `postern "
               "queue delete ID`\n",
               count, count == 1 ? "notice" : "notices", count == 1 ? "is" : "are");
}

/* Lines "key value" first, then the daemons, then what the queue says: last, for it may take its time. Returns whether the
 * state is ready. */
static bool
print_status(const struct conf *c, struct slice text, bool is_json)
{
    struct slice all = text, line, key, value;
    bool is_ready = false, in_daemons = false;

    if (is_json)
        puts("{");
    while (sl_take_until(&text, '\n', &line)) {
        value = line;
        sl_take_word(&value, " ", &key);
        value = sl_trim(value);
        if (sl_eqz(key, "state"))
            is_ready = sl_eqz(value, "ready");
        if (sl_eqz(key, "cert") || sl_eqz(key, "more_certificates"))
            continue; /* below */
        if (sl_eqz(key, "daemon")) {
            if (!in_daemons)
                printf(is_json ? "  \"daemons\": ["
                               : "name       worker      pid state    sessions restarts\n");
            print_daemon(value, is_json, !in_daemons);
            in_daemons = true;
        } else if (is_json) {
            printf("  \"%.*s\": ", SL_ARG(key));
            if (sl_eqz(key, "pid") || sl_eqz(key, "uptime"))
                printf("%.*s", SL_ARG(value));
            else
                cli_json_string(value);
            puts(",");
        } else {
            printf("%-7.*s %.*s%s\n", SL_ARG(key), SL_ARG(value),
                   sl_eqz(key, "uptime") ? " s" : "");
        }
    }
    if (is_json)
        fputs(in_daemons ? "\n  ]" : "  \"daemons\": []", stdout);
    status_print_certs(all, is_json);
    fflush(stdout);
    if (is_ready) /* else qmgr may be about to open its database */
        print_undeliverable(count_undeliverable(c), is_json);
    if (is_json)
        puts("\n}");
    return is_ready;
}

/* The supervisor's place is all that is needed of the file, so its warnings are not told again. */
static int
run_status(const struct cli_args *a)
{
    bool is_json = a->argc > 1 && strcmp(a->argv[1], "--json") == 0, is_ok = false;
    struct buf reply = { 0 };
    struct err e = { 0 };
    struct conf *c;
    int fd, rc;

    if (a->argc > 1 + is_json)
        return cli_usage_error(&cmd_status, "no argument %s", a->argv[1 + is_json]);
    c = cli_load_conf(a, false);
    if (!c)
        return EXIT_CONFIG_ERROR;
    fd = connect_control(c, &e);
    if (fd < 0 || ask(fd, "status", &reply, &is_ok, &e) != 0) {
        rc = complain(&cmd_status, &e);
        if (is_json)
            puts("{\n  \"state\": \"stopped\"\n}");
    } else {
        rc = print_status(c, buf_slice(&reply), is_json) && is_ok ? EXIT_OK : EXIT_TEMPFAIL;
    }
    if (fd >= 0)
        close(fd);
    buf_free(&reply);
    conf_unref(&c);
    return rc;
}

/* ---- reload and stop ---- */

/* The running supervisor is found by the file as it is now; when that is broken, it still says why. */
static int
run_reload(const struct cli_args *a)
{
    struct buf reply = { 0 };
    struct err e = { 0 };
    struct conf *c;
    bool is_ok = false;
    int fd, rc;

    if (a->argc > 1)
        return cli_usage_error(&cmd_reload, "no argument %s", a->argv[1]);
    c = cli_load_conf(a, false);
    if (!c) {
        fputs("postern reload: nothing was changed\n", stderr);
        return EXIT_CONFIG_ERROR;
    }
    fd = connect_control(c, &e);
    if (fd < 0 || ask(fd, "reload", &reply, &is_ok, &e) != 0) {
        rc = complain(&cmd_reload, &e);
    } else {
        fwrite(buf_slice(&reply).p, 1, reply.n, stderr);
        if (!is_ok)
            fputs("postern reload: nothing was changed\n", stderr);
        rc = is_ok ? EXIT_OK : EXIT_CONFIG_ERROR;
    }
    if (fd >= 0)
        close(fd);
    buf_free(&reply);
    conf_unref(&c);
    return rc;
}

/* The supervisor has ended when its end of this connection closes. */
static int
wait_gone(int fd)
{
    char octet[64];
    ssize_t n;

    do
        n = recv(fd, octet, sizeof octet, 0);
    while (n > 0 || (n < 0 && errno == EINTR));
    return n == 0 || errno == ECONNRESET ? EXIT_OK : EXIT_TEMPFAIL;
}

static int
run_stop(const struct cli_args *a)
{
    struct buf reply = { 0 };
    struct err e = { 0 };
    struct conf *c;
    bool is_ok = false;
    int fd, rc;

    if (a->argc > 1)
        return cli_usage_error(&cmd_stop, "no argument %s", a->argv[1]);
    c = cli_load_conf(a, false);
    if (!c)
        return EXIT_CONFIG_ERROR;
    fd = connect_control(c, &e);
    if (fd < 0 || ask(fd, "stop", &reply, &is_ok, &e) != 0)
        rc = complain(&cmd_stop, &e);
    else
        rc = wait_gone(fd);
    if (fd >= 0)
        close(fd);
    buf_free(&reply);
    conf_unref(&c);
    return rc;
}

const struct cli_command cmd_status = {
    .name = "status",
    .usage = "status [--json]",
    .summary = "tell whether the server runs, and what its daemons do",
    .help = "DESCRIPTION\n"
            "    Shows the state of the running `postern serve`, and for each daemon its process "
            "id, state,\n"
            "    sessions and how often it had to be started again; each certificate with the days "
            "that "
            "it is still\n"
            "    good for, and why it could not be renewed. Tells of bounces and notices to "
            "postmaster that\n"
            "    nobody takes: they are kept on hold in the queue.\n\n"
            "EXIT STATUS\n"
            "    0 every daemon is ready; 64 wrong usage; 69 not running; 75 starting or stopping; "
            "78 main.cf\n"
            "    has errors.\n",
    .run = run_status,
};

const struct cli_command cmd_reload = {
    .name = "reload",
    .usage = "reload",
    .summary = "make the running server use the changed main.cf and certificates",
    .help = "DESCRIPTION\n"
            "    The new configuration is checked first: one with errors changes nothing, and they "
            "are told here\n"
            "    and in the log. Sessions keep the configuration they began with; nobody is "
            "disconnected.\n\n"
            "EXIT STATUS\n"
            "    0 in force; 64 wrong usage; 69 not running; 78 errors, nothing was changed.\n",
    .run = run_reload,
};

const struct cli_command cmd_stop = {
    .name = "stop",
    .usage = "stop",
    .summary = "end the running server",
    .help = "DESCRIPTION\n"
            "    Sessions are ended politely; returns when every daemon has ended.\n\n"
            "EXIT STATUS\n"
            "    0 ended; 64 wrong usage; 69 not running; 75 it takes longer than 30 seconds.\n",
    .run = run_stop,
};
