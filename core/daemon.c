/* core/daemon.c - the skeleton: start-up over the control channel, reload, drain, end. */
#include "core/daemon.h"
#include "core/chan.h"
#include "core/chan_int.h"
#include "core/daemon_int.h"
#include "core/daemon_proto.h"
#include "core/listener.h"
#include "core/loop.h"

#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    WORKERS_MAX = 16, /* programs */
    NAME_OCTETS = 32,
    DRAIN_LOOK_MS = 100,
    TRIM_LOOK_MS = 20 * 1000,
    TRIM_WORTH_OCTETS = 256 * 1024 /* freed and not given back to the system: worth doing so */
};

struct service {
    struct list link;
    struct listener *l;
    int fd; /* before "go" */
    char *name, *key;
};

static struct {
    const struct daemon_def *def;
    struct conf *conf, *next_conf;
    struct chan *control;
    struct list services;
    unsigned worker, n_workers;
    struct {
        char name[NAME_OCTETS];
        unsigned n;
    } workers[WORKERS_MAX];
    int64_t sessions;
    bool is_running, is_draining;
    bool has_log; /* handed down: not to be opened here */
    struct timer drain, trim;
    uint64_t drain_until_ms;
} dm = { .services = { &dm.services, &dm.services } };

/* ---- what the daemon asks ---- */

const struct conf *
daemon_conf(void)
{
    return dm.conf;
}

unsigned
daemon_worker(void)
{
    return dm.worker;
}

unsigned
daemon_workers(const char *program)
{
    for (unsigned i = 0; i < dm.n_workers; i++)
        if (strcmp(dm.workers[i].name, program) == 0)
            return dm.workers[i].n;
    return 0;
}

const char *
daemon_socket_path(const struct conf *c, const char *relative, char *out, size_t out_octets)
{
    if (relative[0] == '/')
        snprintf(out, out_octets, "%s", relative);
    else
        snprintf(out, out_octets, "%s/%s", c->queue_directory, relative);
    return out;
}

void
daemon_session_count(int delta)
{
    dm.sessions += delta;
}

/* After a burst: an idle stack is to be small. */
static void
on_trim(void *arg)
{
    (void)arg;
    if (mallinfo2().fordblks > TRIM_WORTH_OCTETS)
        malloc_trim(0);
    timer_start(&dm.trim, TRIM_LOOK_MS, on_trim, NULL);
}

/* ---- logs ---- */

static void
set_log(const struct conf *c, const char *name, const char *ident, const char *prefix,
        bool has_output)
{
    static const char *const formats[] = { "text", "kv", "json" };
    static const char *const levels[] = { "debug", "info", "warn", "error" };
    enum log_format format = LOG_FMT_TEXT;
    enum log_level level = LOG_LV_INFO;
    char full[128];
    bool is_postfix = strncmp(ident, "postfix/", 8) == 0;

    for (unsigned i = 0; i < COUNT_OF(formats); i++)
        if (strcmp(c->log_format, formats[i]) == 0)
            format = (enum log_format)i;
    for (unsigned i = 0; i < COUNT_OF(levels); i++)
        if (strcmp(c->log_level, levels[i]) == 0)
            level = (enum log_level)i;
    snprintf(full, sizeof full, "%s%s", is_postfix ? c->syslog_name : ident,
             is_postfix ? ident + 7 : "");
    log_set_program(name, full, prefix);
    if (has_output)
        log_set_format(format, level);
    else
        log_set_output(c->maillog_file[0] ? LOG_TO_FILE : LOG_TO_STDERR, c->maillog_file, format,
                       level);
}

void
daemon_set_log(const struct conf *c, const char *name, const char *ident, const char *prefix)
{
    set_log(c, name, ident, prefix, false);
}

static void
set_own_log(void)
{
    set_log(dm.conf, dm.def->name, dm.def->log_ident, dm.def->log_prefix, dm.has_log);
}

/* ---- listeners ---- */

static void
on_accept(struct listener *l, void *arg, int fd, const struct addr *peer)
{
    struct service *s = arg;

    (void)l;
    dm.def->accept(sl_z(s->name), fd, peer);
}

static void
service_open(struct service *s)
{
    s->l = listener_new(s->fd, on_accept, s);
    s->fd = -1;
}

static void
service_free(struct service *s)
{
    list_remove(&s->link);
    listener_free(&s->l);
    if (s->fd >= 0)
        close(s->fd);
    free(s->name);
    free(s->key);
    free(s);
}

static void
add_service(struct slice name, struct slice key, int fd)
{
    struct service *s = MEM_NEW(struct service);

    s->fd = fd;
    s->name = sl_dupz(name);
    s->key = sl_dupz(key);
    list_push_back(&dm.services, &s->link);
    if (dm.is_running)
        service_open(s);
}

static void
remove_service(struct slice name, struct slice key)
{
    LIST_EACH(it, next, &dm.services)
    {
        struct service *s = CONTAINER_OF(it, struct service, link);

        if (sl_eqz(name, s->name) && sl_eqz(key, s->key))
            service_free(s);
    }
}

/* ---- control messages ---- */

static int
take_conf(struct slice file, int fd, struct err *e)
{
    struct buf text = { .max = DAEMON_CONF_MAX_OCTETS };
    struct conf_problems problems = { 0 };
    char *name = sl_dupz(file);
    int rc = chan_read_memfd(fd, &text, e);

    if (rc == 0) {
        conf_unref(&dm.next_conf);
        dm.next_conf = conf_parse(buf_slice(&text), name, &problems);
        if (!dm.next_conf) /* the supervisor has checked it */
            rc = err_set(e, ERR_CONFIG, "%s: %s", name,
                         problems.n > 0 ? problems.v[0].text : "cannot be parsed");
    }
    if (rc == 0 && !dm.is_running) { /* tls() may look at it */
        conf_unref(&dm.conf);
        dm.conf = dm.next_conf;
        dm.next_conf = NULL;
    }
    conf_problems_free(&problems);
    buf_free(&text);
    free(name);
    return rc;
}

static int
take_tls(struct slice name, int fd, struct err *e)
{
    struct buf text = { .max = DAEMON_TLS_MAX_OCTETS };
    int rc;

    if (!dm.def->tls)
        return 0;
    rc = chan_read_memfd(fd, &text, e);
    if (rc == 0)
        rc = dm.def->tls(name, buf_slice(&text), e);
    buf_wipe(&text);
    return rc;
}

static void
take_workers(struct slice program, struct slice number)
{
    uint32_t n;
    unsigned at = 0;

    if (!sl_to_u32(number, &n) || program.n >= NAME_OCTETS)
        return;
    while (at < dm.n_workers && !sl_eqz(program, dm.workers[at].name))
        at++;
    if (at == WORKERS_MAX)
        return;
    if (at == dm.n_workers)
        dm.n_workers++;
    snprintf(dm.workers[at].name, NAME_OCTETS, "%.*s", SL_ARG(program));
    dm.workers[at].n = n;
}

/* The messages that may come before and after "go". 1: not one of them. Descriptors it does not keep stay the
 * caller's. *kept: it took fds[0]. */
static int
take_common(struct slice verb, struct slice rest, const int *fds, size_t n_fds, bool *kept,
            struct err *e)
{
    struct slice word = { 0 }, key = { 0 };
    uint32_t n;

    if (sl_eqz(verb, "conf"))
        return n_fds == 1 ? take_conf(rest, fds[0], e) : err_set(e, ERR_BUG, "conf without memfd");
    if (sl_eqz(verb, "tls"))
        return n_fds == 1 ? take_tls(rest, fds[0], e) : err_set(e, ERR_BUG, "tls without memfd");
    sl_take_word(&rest, " ", &word);
    sl_take_word(&rest, " ", &key);
    if (sl_eqz(verb, "log")) {
        if (n_fds != 1)
            return err_set(e, ERR_BUG, "log without descriptor");
        log_take_fd(fds[0]);
        *kept = dm.has_log = true;
    } else if (sl_eqz(verb, "worker")) {
        if (sl_to_u32(word, &n))
            dm.worker = n;
    } else if (sl_eqz(verb, "workers")) {
        take_workers(word, key);
    } else if (sl_eqz(verb, "listen")) {
        if (n_fds != 1)
            return err_set(e, ERR_BUG, "listen without descriptor");
        add_service(word, key, fds[0]);
        *kept = true;
    } else if (sl_eqz(verb, "unlisten")) {
        remove_service(word, key);
    } else {
        return 1;
    }
    return 0;
}

/* Before the loop runs: block until "go". */
static int
start_up(struct err *e)
{
    static char octets[CHAN_MSG_OCTETS];
    int fds[CHAN_FDS_MAX];
    size_t n_fds;

    for (;;) {
        ssize_t n = chan_recv_raw(DAEMON_CONTROL_FD, octets, sizeof octets, fds, &n_fds, 0);
        struct slice msg, verb = { 0 };
        bool kept = false;
        int rc;

        if (n <= 0)
            return err_set(e, ERR_TEMP, "the supervisor is gone");
        msg = sl_n(octets, (size_t)n);
        sl_take_word(&msg, " ", &verb);
        if (sl_eqz(verb, "go"))
            return dm.conf ? 0 : err_set(e, ERR_BUG, "no configuration came");
        rc = take_common(verb, sl_trim(msg), fds, n_fds, &kept, e);
        for (size_t i = kept ? 1 : 0; i < n_fds; i++)
            close(fds[i]);
        if (rc < 0)
            return -1;
    }
}

static void
tell(const char *text)
{
    chan_send(dm.control, sl_z(text), NULL, 0);
}

static void
use_next_conf(void)
{
    struct conf *old = dm.conf;

    if (!dm.next_conf)
        return;
    dm.conf = dm.next_conf;
    dm.next_conf = NULL;
    set_own_log();
    if (dm.def->reload)
        dm.def->reload();
    conf_unref(&old);
}

static void
on_drain_look(void *arg)
{
    (void)arg;
    if (!dm.def->is_idle || dm.def->is_idle() || loop_now_ms() >= dm.drain_until_ms) {
        loop_stop();
        return;
    }
    timer_start(&dm.drain, DRAIN_LOOK_MS, on_drain_look, NULL);
}

static void
start_drain(struct slice ms)
{
    uint64_t limit = 0;

    sl_to_u64(ms, &limit);
    dm.drain_until_ms = loop_now_ms() + limit;
    if (!dm.is_draining) {
        dm.is_draining = true;
        LIST_EACH(it, next, &dm.services)
        service_free(CONTAINER_OF(it, struct service, link));
        if (dm.def->drain)
            dm.def->drain();
    }
    timer_start(&dm.drain, 0, on_drain_look, NULL);
}

static void
on_control(struct chan *c, void *arg, struct slice msg, const int *fds, size_t n_fds)
{
    struct slice verb = { 0 };
    struct err e = { 0 };
    bool kept = false;
    char text[64];

    (void)c;
    (void)arg;
    sl_take_word(&msg, " ", &verb);
    msg = sl_trim(msg);
    if (sl_eqz(verb, "reload")) {
        use_next_conf();
    } else if (sl_eqz(verb, "drain")) {
        start_drain(msg);
    } else if (sl_eqz(verb, "status")) {
        snprintf(text, sizeof text, "status sessions=%lld", (long long)dm.sessions);
        tell(text);
    } else if (take_common(verb, msg, fds, n_fds, &kept, &e) < 0) {
        log_error("daemon.control", LOG_F(LF_S("verb", verb)), "%.*s: %s", SL_ARG(verb), e.msg);
    }
    for (size_t i = kept ? 1 : 0; i < n_fds; i++)
        close(fds[i]);
}

static void
on_control_closed(struct chan *c, void *arg)
{
    (void)c;
    (void)arg;
    /* The supervisor was killed. What was promised is on disk; the rest is for the next one to do. */
    _exit(0);
}

static const struct chan_ops control_ops = { .on_msg = on_control, .on_close = on_control_closed };

/* ---- main ---- */

static int
fail_start(const struct err *e)
{
    char text[ERR_MSG_OCTETS + 16];
    int n = snprintf(text, sizeof text, "failed %s", e->msg);

    log_error("daemon.start", LOG_F(LF_Z("why", e->msg)), "%s", e->msg);
    if (send(DAEMON_CONTROL_FD, text, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return DAEMON_EXIT_CONFIG; /* nobody listens; the exit status tells */
    return DAEMON_EXIT_CONFIG;
}

int
daemon_main(int argc, char **argv, const struct daemon_def *def)
{
    struct err e = { 0 };
    struct stat st;

    (void)argc;
    if (fstat(DAEMON_CONTROL_FD, &st) != 0 || !S_ISSOCK(st.st_mode)) {
        fprintf(stderr, "%s: is started by `postern serve`, not by hand\n", argv[0]);
        return 64;
    }
    dm.def = def;
    daemon_harden_early();
    log_set_program(def->name, def->log_ident, def->log_prefix);
    loop_init(); /* no thread yet; tls() may want timers */
    if (start_up(&e) != 0)
        return fail_start(&e);
    set_own_log();
    if (daemon_drop_rights(dm.conf, def->name, &e) != 0)
        return fail_start(&e);
    if (def->init && def->init(&e) != 0)
        return fail_start(&e);
    dm.control = chan_new(DAEMON_CONTROL_FD, &control_ops, NULL);
    dm.is_running = true;
    LIST_EACH(it, next, &dm.services)
    service_open(CONTAINER_OF(it, struct service, link));
    tell("ready");
    malloc_trim(0); /* what start-up used */
    on_trim(NULL);
    loop_run();
    return 0;
}
