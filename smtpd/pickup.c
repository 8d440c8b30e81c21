/* smtpd/pickup.c - the folder. A scan (on a thread) lists files, of each user a few, so that one who drops a hundred thousand
 * does not stand before the others; they are fed a few at a time. A file goes when its message is in the queue; what is no
 * message is put aside into corrupt/. What cannot be done now waits and is tried again. */
#include "smtpd/pickup_int.h"
#include "smtpd/received.h"
#include "smtpd/smtpd.h"

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "conf/users_list.h"
#include "core/daemon.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    AT_ONCE = 8,      /* sessions */
    TURN_MAX = 400,   /* files of one scan ... */
    USER_MAX = 40,    /* ... and of one user */
    USERS_MAX = 1000, /* counted apart; the rest are one */
    AGAIN_MS = 15 * 1000,
    ASIDE_MS = 10 * 60 * 1000, /* a file that cannot even be put aside */
    AWAY_MS = 1000,            /* qmgr is not there */
    WAITING_MAX = 10000,       /* files that are remembered to wait */
    STALE_S = 60,              /* an unfinished file without its lock is nobody's */
    THREADS = 2,
    EVENTS_OCTETS = 16 * 1024
};

struct scan {
    struct work_job job;
    char dir[PATH_MAX];
    char (*names)[PICKUP_NAME_OCTETS];
    size_t n, cap;
    struct map *skip; /* names that have to wait */
    bool has_more;    /* than one turn takes */
    int error;
};

/* A file that was tried. */
struct wait {
    uint64_t due_ms;
    bool is_queued; /* only its removal has failed */
};

static struct {
    struct conf *conf;
    char dir[PATH_MAX], aside[PATH_MAX];
    struct work_pool *pool;
    struct scan *scan, *turn; /* being read; being worked on */
    size_t next, n_running;
    struct map *busy;    /* name -> anything: being fed */
    struct map *waiting; /* name -> struct wait * */
    struct timer timer;
    bool is_dirty; /* something has come since the scan began */
    bool is_full;  /* more files fail than are remembered */
    bool is_stopped, is_started, was_away, is_unwatched;
    int inotify, watched;
} pk = { .inotify = -1, .watched = -1 };

/* One file on its way. */
struct task {
    struct pickup_file f;
    struct work_job job;
    char dir[PATH_MAX], aside[PATH_MAX];
    enum pickup_rc rc;
    struct err why;
    size_t user_at; /* in authorized_submit_users */
    uint64_t id;
    struct buf refused;
    enum { TASK_OPEN, TASK_UNLINK, TASK_ASIDE } todo;
};

static void go_on(void);
static void look(void *arg);
static void on_timer(void *arg);

#define IDENT pickup_ident()
static const char *
pickup_ident(void)
{
    static char ident[128];

    snprintf(ident, sizeof ident, "%s/pickup", pk.conf->syslog_name);
    return ident;
}

/* ---- the scan, on a thread ---- */

/* Left behind by a postdrop that was killed: it holds no lock any more. */
static void
remove_stale(int dir, const char *name)
{
    struct stat st;
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && time(NULL) - st.st_mtim.tv_sec > STALE_S &&
        flock(fd, LOCK_EX | LOCK_NB) == 0)
        unlinkat(dir, name, 0);
    close(fd);
}

/* How many files of this user are in the list already. */
struct tally {
    uid_t uid;
    size_t n;
};

static bool
has_room(struct tally *v, size_t *n, uid_t uid)
{
    size_t i = 0;

    while (i < *n && v[i].uid != uid)
        i++;
    if (i == USERS_MAX)
        i--;
    else if (i == *n)
        v[(*n)++] = (struct tally){ .uid = uid };
    return v[i].n++ < USER_MAX;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(a, b); /* names begin with the time */
}

static enum work_rc
scan_run(struct work_job *j)
{
    struct scan *s = CONTAINER_OF(j, struct scan, job);
    struct tally *users = mem_alloc(USERS_MAX * sizeof *users);
    size_t n_users = 0, name_octets;
    DIR *d = opendir(s->dir);
    struct dirent *de;
    struct stat st;

    s->error = d ? 0 : errno;
    while (d && (de = readdir(d)) != NULL) {
        if (de->d_name[0] == '.')
            continue;
        if (strncmp(de->d_name, "new.", 4) == 0) {
            remove_stale(dirfd(d), de->d_name);
            continue;
        }
        name_octets = strlen(de->d_name) + 1;
        if (name_octets > PICKUP_NAME_OCTETS || map_get(s->skip, sl_z(de->d_name)) ||
            fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (s->n >= TURN_MAX || !has_room(users, &n_users, st.st_uid)) {
            s->has_more = true;
            continue;
        }
        s->names = mem_grow(s->names, &s->cap, s->n + 1, sizeof *s->names);
        memcpy(s->names[s->n++], de->d_name, name_octets);
    }
    if (d)
        closedir(d);
    free(users);
    if (s->n > 1)
        qsort(s->names, s->n, sizeof *s->names, by_name);
    return WORK_DONE;
}

static void
free_scan(struct scan **s)
{
    if (*s) {
        free((*s)->names);
        map_free(&(*s)->skip, NULL);
    }
    free(*s);
    *s = NULL;
}

static void
scan_done(struct work_job *j)
{
    struct scan *s = CONTAINER_OF(j, struct scan, job);

    pk.scan = NULL;
    if (s->error) {
        log_event(LOG_LV_WARN, IDENT, "pickup.scan", LOG_NONE, "cannot look into %s: %s", s->dir,
                  strerror(s->error));
        free_scan(&s);
        if (!pk.is_stopped)
            timer_start(&pk.timer,
                        pk.conf->pickup_interval < AGAIN_MS ? (uint64_t)pk.conf->pickup_interval
                                                            : AGAIN_MS,
                        on_timer, NULL);
        return;
    }
    pk.turn = s;
    pk.next = 0;
    pk.is_dirty = pk.is_dirty || s->has_more;
    go_on();
}

static void
begin_scan(void)
{
    struct scan *s = MEM_NEW(struct scan);
    uint64_t now = loop_now_ms();
    struct slice name;
    size_t it = 0;
    void *v;

    memcpy(s->dir, pk.dir, sizeof s->dir);
    s->skip = map_new();
    while (map_next(pk.waiting, &it, &name, &v))
        if (((const struct wait *)v)->due_ms > now)
            map_set(s->skip, name, v);
    s->job = (struct work_job){ .run = scan_run, .done = scan_done };
    pk.is_dirty = pk.is_full = false;
    pk.scan = s;
    work_submit(pk.pool, &s->job);
}

/* ---- what becomes of a file ---- */

static void
wait_with(const char *name, uint64_t ms, bool is_queued)
{
    struct wait *w = map_get(pk.waiting, sl_z(name));

    if (w == NULL && map_count(pk.waiting) >= WAITING_MAX) {
        pk.is_full = true; /* it comes with the next scan, which is not at once then */
        return;
    }
    if (w == NULL)
        map_set(pk.waiting, sl_z(name), w = MEM_NEW(struct wait));
    w->due_ms = loop_now_ms() + ms;
    w->is_queued = is_queued;
}

static void
forget(const char *name)
{
    free(map_del(pk.waiting, sl_z(name)));
}

static bool
has_to_wait(const char *name)
{
    const struct wait *w = map_get(pk.waiting, sl_z(name));

    return w && w->due_ms > loop_now_ms();
}

static void
end_task(struct task *t)
{
    map_del(pk.busy, sl_z(t->f.name));
    pickup_file_close(&t->f);
    buf_free(&t->refused);
    id_del(t->id);
    free(t);
    pk.n_running--;
    go_on();
}

static void
try_again(struct task *t, struct slice why)
{
    log_event(LOG_LV_WARN, IDENT, "pickup.again", LOG_F(LF_Z("file", t->f.name), LF_S("why", why)),
              "maildrop/%s: not taken now, it is tried again: %.*s", t->f.name, SL_ARG(why));
    wait_with(t->f.name, AGAIN_MS, false);
    end_task(t);
}

/* Durable: a name that comes back after a power cut is the same message once more. */
static enum work_rc
remove_run(struct work_job *j)
{
    struct task *t = CONTAINER_OF(j, struct task, job);
    struct buf path = { 0 }, to = { 0 };
    int dir = open(t->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

    buf_addf(&path, "%s/%s", t->dir, t->f.name);
    buf_addf(&to, "%s/%s", t->aside, t->f.name);
    rc = t->todo == TASK_ASIDE ? rename(buf_z(&path), buf_z(&to)) : unlink(buf_z(&path));
    t->rc = rc == 0 || errno == ENOENT ? PICKUP_OK : PICKUP_AGAIN;
    if (rc != 0)
        err_sys(&t->why, t->todo == TASK_ASIDE ? "rename to corrupt/" : "unlink");
    if (dir >= 0) {
        fsync(dir);
        close(dir);
    }
    buf_free(&path);
    buf_free(&to);
    return WORK_DONE;
}

static void
removed(struct work_job *j)
{
    struct task *t = CONTAINER_OF(j, struct task, job);

    forget(t->f.name);
    if (t->rc != PICKUP_OK) {
        log_event(LOG_LV_ERROR, IDENT, "pickup.stuck", LOG_F(LF_Z("file", t->f.name)),
                  "maildrop/%s: %s", t->f.name, t->why.msg);
        wait_with(t->f.name, ASIDE_MS, t->todo == TASK_UNLINK);
    }
    end_task(t);
}

static void
remove_file(struct task *t, int todo)
{
    t->todo = todo;
    t->job = (struct work_job){ .run = remove_run, .done = removed };
    work_submit(pk.pool, &t->job);
}

static void
put_aside(struct task *t, struct slice why)
{
    log_event(LOG_LV_ERROR, IDENT, "pickup.aside",
              LOG_F(LF_Z("file", t->f.name), LF_N("uid", t->f.from.uid), LF_S("why", why)),
              "maildrop/%s: uid=%u: not taken, moved to corrupt/: %.*s", t->f.name, t->f.from.uid,
              SL_ARG(why));
    remove_file(t, TASK_ASIDE);
}

/* ---- feeding ---- */

static void
fed(void *arg, enum feed_rc rc, struct slice text)
{
    struct task *t = arg;

    switch (rc) {
    case FEED_QUEUED:
        remove_file(t, TASK_UNLINK);
        break;
    case FEED_REFUSED:
        if (t->refused.n > 0) { /* not even to be returned */
            put_aside(t, text);
            break;
        }
        /* Nobody waits for a reply here: the sender hears of it by mail. */
        buf_adds(&t->refused, text);
        t->f.from.refused = buf_slice(&t->refused);
        pickup_feed(pk.pool, &t->f, fed, t);
        break;
    case FEED_PARTLY:
        put_aside(t, text);
        break;
    case FEED_AGAIN:
        try_again(t, text);
        break;
    }
}

static void may_submit(struct task *t);

static void
on_table(uint64_t id, enum lookup_rc rc, struct slice value)
{
    struct task *t = id_get(id);

    (void)value;
    if (t == NULL)
        return;
    if (rc == LOOKUP_TEMP)
        try_again(t, SL("authorized_submit_users: no answer from its table"));
    else if (t->user_at > pk.conf->authorized_submit_users.n)
        try_again(t, SL("the configuration has changed"));
    else if (rc == LOOKUP_FOUND && users_list_found(pk.conf->authorized_submit_users, t->user_at))
        pickup_feed(pk.pool, &t->f, fed, t);
    else if (rc == LOOKUP_FOUND)
        put_aside(t, SL("this user may not submit mail (authorized_submit_users)"));
    else
        may_submit(t);
}

/* postdrop has asked the same, but it opens no tables. */
static void
may_submit(struct task *t)
{
    struct slice table;
    struct err e = { 0 };

    switch (users_list_match(pk.conf->authorized_submit_users, t->f.user ? t->f.user : "unknown",
                             &t->user_at, &table, &e)) {
    case USERS_YES:
        pickup_feed(pk.pool, &t->f, fed, t);
        break;
    case USERS_ASK: {
        char *name = sl_dupz(table);

        lookup_ask(smtpd_env.lookup, name, sl_z(t->f.user ? t->f.user : "unknown"), on_table,
                   t->id);
        free(name);
        break;
    }
    case USERS_NO:
        if (e.msg[0])
            try_again(t, sl_z(e.msg));
        else
            put_aside(t, SL("this user may not submit mail (authorized_submit_users)"));
        break;
    }
}

static enum work_rc
open_run(struct work_job *j)
{
    struct task *t = CONTAINER_OF(j, struct task, job);

    t->rc = pickup_file_open(t->dir, &t->f, &t->why);
    return WORK_DONE;
}

static void
opened(struct work_job *j)
{
    struct task *t = CONTAINER_OF(j, struct task, job);

    switch (t->rc) {
    case PICKUP_OK:
        may_submit(t);
        break;
    case PICKUP_WRECK:
        put_aside(t, sl_z(t->why.msg));
        break;
    case PICKUP_AGAIN:
        try_again(t, sl_z(t->why.msg));
        break;
    case PICKUP_GONE:
        forget(t->f.name);
        end_task(t);
        break;
    }
}

static void
begin_file(const char *name)
{
    struct task *t = MEM_NEW(struct task);
    const struct wait *w = map_get(pk.waiting, sl_z(name));

    snprintf(t->f.name, sizeof t->f.name, "%s", name);
    t->f.fd = -1;
    t->id = id_add(t);
    memcpy(t->dir, pk.dir, sizeof t->dir);
    memcpy(t->aside, pk.aside, sizeof t->aside);
    map_set(pk.busy, sl_z(name), t);
    pk.n_running++;
    if (w && w->is_queued) {
        remove_file(t, TASK_UNLINK);
        return;
    }
    t->job = (struct work_job){ .run = open_run, .done = opened };
    work_submit(pk.pool, &t->job);
}

/* ---- turns ---- */

/* The earliest that something has to be looked at again. */
static uint64_t
next_look(void)
{
    uint64_t soonest = (uint64_t)pk.conf->pickup_interval, now = loop_now_ms();
    struct slice key;
    size_t it = 0;
    void *v;

    while (map_next(pk.waiting, &it, &key, &v)) {
        uint64_t due = ((const struct wait *)v)->due_ms;

        if (due <= now)
            return AWAY_MS;
        if (due - now < soonest)
            soonest = due - now;
    }
    return soonest;
}

/* Without ids to give, nothing would be taken. */
static bool
is_away(void)
{
    bool is_up = queue_client_is_up(smtpd_env.queue);

    if (is_up || pk.n_running > 0 || (pk.turn && pk.next == pk.turn->n)) {
        pk.was_away = false;
        return false;
    }
    if (!pk.was_away && pk.turn)
        log_event(LOG_LV_WARN, IDENT, "pickup.away", LOG_NONE,
                  "qmgr is away: what is in maildrop/ waits");
    pk.was_away = true;
    return true;
}

static void
go_on(void)
{
    while (pk.turn && pk.turn->names && !pk.is_stopped && pk.n_running < AT_ONCE &&
           pk.next < pk.turn->n) {
        const char *name = pk.turn->names[pk.next];

        if (has_to_wait(name) || map_get(pk.busy, sl_z(name))) {
            pk.next++;
            continue;
        }
        if (is_away()) {
            timer_start(&pk.timer, AWAY_MS, on_timer, NULL);
            return;
        }
        pk.next++;
        begin_file(name);
    }
    if (pk.turn && pk.next == pk.turn->n && pk.n_running == 0)
        free_scan(&pk.turn);
    if (pk.turn || pk.scan || pk.is_stopped)
        return;
    if (pk.is_dirty && pk.is_full) {
        pk.is_full = false;
        timer_start(&pk.timer, AGAIN_MS, on_timer, NULL);
    } else if (pk.is_dirty)
        begin_scan();
    else
        timer_start(&pk.timer, next_look(), on_timer, NULL);
}

/* It is time, or something has come. */
static void
look(void *arg)
{
    (void)arg;
    pk.is_dirty = true;
    go_on();
}

static void
on_events(void *arg)
{
    _Alignas(struct inotify_event) char block[EVENTS_OCTETS];
    bool has_come = false;

    (void)arg;
    while (read(pk.inotify, block, sizeof block) > 0)
        has_come = true; /* overflow, too, says no more than that */
    if (has_come)
        look(NULL);
}

static void
watch(void)
{
    if (pk.inotify < 0) {
        pk.inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (pk.inotify >= 0)
            loop_watch_fd(pk.inotify, on_events, NULL);
    }
    if (pk.watched >= 0)
        inotify_rm_watch(pk.inotify, pk.watched);
    pk.watched = inotify_add_watch(pk.inotify, pk.dir, IN_MOVED_TO | IN_ONLYDIR);
    if (pk.watched < 0 && !pk.is_unwatched)
        log_event(LOG_LV_WARN, IDENT, "pickup.watch", LOG_NONE,
                  "cannot watch %s (%s): looking every %lld s", pk.dir, strerror(errno),
                  (long long)(pk.conf->pickup_interval / 1000));
    pk.is_unwatched = pk.watched < 0;
}

/* The folder may be another one by now: a backup that was put back, or what the operator made anew. */
static void
on_timer(void *arg)
{
    watch();
    look(arg);
}

void
pickup_start(const struct conf *c)
{
    conf_unref(&pk.conf);
    pk.conf = conf_ref(c);
    snprintf(pk.dir, sizeof pk.dir, "%s/maildrop", c->queue_directory);
    snprintf(pk.aside, sizeof pk.aside, "%s/corrupt", c->queue_directory);
    if (!pk.is_started) {
        pk.is_started = true;
        pk.pool = work_pool_new("pickup", THREADS, 0);
        pk.busy = map_new();
        pk.waiting = map_new();
    }
    watch();
    timer_start(&pk.timer, 1, look, NULL);
}

void
pickup_stop(void)
{
    pk.is_stopped = true;
    timer_stop(&pk.timer);
}

void
pickup_received(const struct smtpd_sess *s, struct buf *out)
{
    char date[RECEIVED_DATE_OCTETS];

    received_date(s->pickup->dropped_s, date);
    buf_addf(out, "Received: by %s (%s, from userid %u)\r\n\tid %s; %s\r\n",
             s->cfg->limits.myhostname, s->cfg->conf->mail_name, s->pickup->uid, s->tx->id, date);
}

/* RFC 5322 §3.2.3: atoms, blanks and octets beyond ASCII need no quotes. */
static bool
is_phrase(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!sl_is_alnum_char(s.p[i]) && (unsigned char)s.p[i] < 128 &&
            !strchr(" !#$%&'*+-/=?^_`{|}~", s.p[i]))
            return false;
    return true;
}

void
pickup_from_field(const struct smtpd_sess *s, const char *resent, struct slice address,
                  struct buf *out)
{
    struct slice name = sl_trim(s->pickup->full_name);

    buf_addf(out, "%sFrom: ", resent);
    if (is_phrase(name)) {
        buf_adds(out, name);
    } else {
        buf_addc(out, '"');
        for (size_t i = 0; i < name.n; i++) {
            if (name.p[i] == '"' || name.p[i] == '\\')
                buf_addc(out, '\\');
            buf_addc(out, name.p[i]);
        }
        buf_addc(out, '"');
    }
    buf_addf(out, " <%.*s>\r\n", SL_ARG(address));
}
