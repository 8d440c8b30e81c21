/* queue/qmgr_main.c - qmgr: keeps what was accepted until it is delivered or reported. */
#include "queue/qmgr_int.h"

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/daemon.h"
#include "session/queue_space.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FILE_THREADS = 2 };

static void
unstuck(void *arg)
{
    (void)arg;
    sched_kick();
}

/* The supervisor starts us again, and the next opening saves what can be read. */
static void
damaged(const struct err *e)
{
    log_error("queue.damaged", LOG_NONE, "the queue database is damaged (%s): starting anew",
              e->msg);
    loop_stop();
}

static int
init(struct err *e)
{
    char path[PATH_MAX];
    struct qdb *q;

    qm.conf = conf_ref(daemon_conf());
    list_init(&qm.all);
    qm.active = map_new();
    qm.next_due = INT64_MAX;
    daemon_socket_path(qm.conf, "queue", path, sizeof path);
    qm.queue_dir = mem_dupz(path);
    daemon_socket_path(qm.conf, "incoming", path, sizeof path);
    if (fs_mkdirs(path, 0770, e) != 0 || qdb_open(qm.queue_dir, &q, e) != 0)
        return -1;
    qm.first_new = qdb_first_new_counter(q);
    qm.db_bits = qdb_db_bits(q);
    qm.clock = *qdb_clock(q);
    qm.wall_ahead_s = qdb_clock_wall_ahead_s(&qm.clock);
    qm.writer = writer_new(q, queue_space_least(qm.conf));
    writer_on_unstuck(qm.writer, unstuck, NULL);
    writer_on_damaged(qm.writer, damaged);
    qm.files = work_pool_new("queue-files", FILE_THREADS, 0);
    daemon_socket_path(qm.conf, "private/lookup", path, sizeof path);
    qm.lookup = lookup_client_new(path);
    route_reload();
    sched_reload();
    report_init();
    verify_init();
    count_dirs_init();
    active_load_soon();
    return 0;
}

static void
on_accept(struct slice service, int fd, const struct addr *peer)
{
    (void)peer;
    if (sl_eqz(service, "queue"))
        intake_accept(fd, false);
    else if (sl_eqz(service, "public-queue"))
        intake_accept(fd, true);
    else
        close(fd);
}

static void
reload(void)
{
    conf_unref(&qm.conf);
    qm.conf = conf_ref(daemon_conf());
    writer_set_minfree(qm.writer, queue_space_least(qm.conf));
    route_reload();
    sched_reload();
    report_init();
    sched_kick();
    count_dirs_reload();
    active_load_soon();
}

static void
drain(void)
{
    qm.is_draining = true;
    deliver_stop();
}

static bool
is_idle(void)
{
    return deliver_busy() == 0 && writer_is_idle(qm.writer);
}

static const struct daemon_def def = {
    .name = "qmgr",
    .log_ident = "postfix/qmgr",
    .init = init,
    .accept = on_accept,
    .reload = reload,
    .is_idle = is_idle,
    .drain = drain,
};

int
main(int argc, char **argv)
{
    int rc = daemon_main(argc, argv, &def);

    verify_free();
    writer_free(&qm.writer); /* what is left goes to disk, and the log into the database */
    return rc;
}
