/* store/watch.c - who waits for a mailbox to change: told by this process, by datagrams of others, by inotify of foreign
 * writers. On the loop, but for watcher_tell(). */
#include "store/store_int.h"

#include "base/log.h"
#include "base/mem.h"
#include "core/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <unistd.h>

enum {
    WATCH_POLL_MS = 30 * 1000, /* for folders that inotify has no room for */
    WATCH_EVENTS = IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_DELETE_SELF |
                   IN_MOVE_SELF | IN_ONLYDIR,
    WATCH_READ_OCTETS = 16 * 1024
};

struct place { /* a mailbox that somebody watches */
    char *key; /* USER TAB MAILBOX */
    int wd[2]; /* new/, cur/; -1: polled */
    struct list watches;
};

struct watch { /* one view's */
    struct list link;
    struct place *place;
    struct store_view *v;
    void (*fn)(void *);
    void *arg;
};

struct watcher {
    uint64_t id;
    struct store *s;
    int fd; /* inotify, opened with the first watch; -1 */
    struct loop_watch *poll;
    struct map *places; /* by key */
    struct map *wds;    /* by descriptor */
    struct timer timer;
    unsigned n_polled;
    bool did_warn;
};

struct watcher *
watcher_new(struct store *s)
{
    struct watcher *w = MEM_NEW(struct watcher);

    w->s = s;
    w->fd = -1;
    w->places = map_new();
    w->wds = map_new();
    w->id = s->watcher_id = id_add(w);
    return w;
}

struct store *
watcher_store(const struct watcher *w)
{
    return w->s;
}

void
watcher_free(struct watcher **wp)
{
    struct watcher *w = *wp;

    if (w == NULL)
        return;
    BUG_ON(map_count(w->places) != 0);
    id_del(w->id);
    timer_stop(&w->timer);
    if (w->poll != NULL)
        loop_unwatch(&w->poll);
    if (w->fd >= 0)
        close(w->fd);
    map_free(&w->places, NULL);
    map_free(&w->wds, NULL);
    free(w);
    *wp = NULL;
}

/* ---- telling ---- */

/* fn may stop this watch, or others; so the next one is looked up anew after each call: told ones are passed over. */
static void
tell_place(struct watcher *w, struct slice key, const struct store_view *only,
           const struct store_view *except)
{
    for (;;) {
        struct place *p = map_get(w->places, key);
        struct watch *found = NULL;

        if (p == NULL)
            return;
        LIST_EACH(at, nxt, &p->watches)
        {
            struct watch *x = CONTAINER_OF(at, struct watch, link);

            if (found == NULL && (only == NULL || x->v == only) && x->v != except &&
                !atomic_exchange(&x->v->is_told, true))
                found = x;
        }
        if (found == NULL)
            return;
        found->fn(found->arg);
    }
}

struct telling {
    uint64_t watcher;
    const struct store_view *only, *except; /* compared, never followed */
    char *key;
};

static void
tell_on_loop(void *arg)
{
    struct telling *t = arg;
    struct watcher *w = id_get(t->watcher);

    if (w != NULL)
        tell_place(w, sl_z(t->key), t->only, t->except);
    free(t->key);
    free(t);
}

static void
tell_later(struct store *s, struct slice key, const struct store_view *only,
           const struct store_view *except)
{
    struct telling *t;

    if (atomic_load(&s->n_watches) == 0)
        return;
    t = MEM_NEW(struct telling);
    t->watcher = s->watcher_id;
    t->only = only;
    t->except = except;
    t->key = sl_dupz(key);
    loop_call_from_thread(tell_on_loop, t);
}

void
watcher_tell(struct store *s, struct slice key, const struct store_view *except)
{
    tell_later(s, key, NULL, except);
}

void
store_notified(struct store *s, struct slice datagram)
{
    struct slice sender, user, mailbox;

    while (notifier_take(&datagram, &sender, &user, &mailbox)) {
        struct buf key = { 0 };

        if (sl_eqz(sender, notifier_sender(s->notifier)))
            continue;
        buf_addf(&key, "%.*s\t%.*s", SL_ARG(user), SL_ARG(mailbox));
        tell_place(s->watcher, buf_slice(&key), NULL, NULL);
        buf_free(&key);
    }
}

/* Everybody, as when events were lost. fn may change the table, so the keys are taken first. */
static void
tell_all(struct watcher *w, bool only_polled)
{
    struct names keys = { 0 };
    struct slice key;
    void *value;
    size_t it = 0;

    while (map_next(w->places, &it, &key, &value)) {
        const struct place *p = value;

        if (!only_polled || p->wd[0] < 0 || p->wd[1] < 0)
            names_add(&keys, key);
    }
    for (size_t i = 0; i < keys.n; i++)
        tell_place(w, sl_z(keys.v[i]), NULL, NULL);
    names_free(&keys);
}

/* ---- inotify ---- */

static void
on_inotify(void *arg)
{
    struct watcher *w = arg;
    _Alignas(struct inotify_event) char block[WATCH_READ_OCTETS];
    ssize_t got = read(w->fd, block, sizeof(block));

    for (ssize_t at = 0; at < got;) {
        const struct inotify_event *ev = (const void *)(block + at);
        struct place *p;

        at += (ssize_t)(sizeof(*ev) + ev->len);
        if (ev->mask & IN_Q_OVERFLOW) {
            log_warn("store.inotify", LOG_NONE,
                     "inotify queue overflowed: looking at every watched mailbox");
            tell_all(w, false);
            continue;
        }
        p = map_get_u64(w->wds, (uint64_t)ev->wd);
        if (p == NULL)
            continue;
        if (ev->mask & IN_IGNORED) { /* the folder is gone */
            map_del_u64(w->wds, (uint64_t)ev->wd);
            for (int i = 0; i < 2; i++)
                if (p->wd[i] == ev->wd)
                    p->wd[i] = -1;
        }
        char *key = mem_dupz(p->key);
        tell_place(w, sl_z(key), NULL, NULL);
        free(key);
    }
}

static void
on_timer(void *arg)
{
    struct watcher *w = arg;

    tell_all(w, true);
    if (map_count(w->places) > 0)
        timer_start(&w->timer, WATCH_POLL_MS, on_timer, w);
}

static void
start_inotify(struct watcher *w)
{
    if (w->fd >= 0)
        return;
    w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (w->fd >= 0)
        w->poll = loop_watch_fd(w->fd, on_inotify, w);
}

static int
add_wd(struct watcher *w, struct place *p, const char *dir, const char *part)
{
    char *path = path_join(dir, part, NULL);
    int wd = w->fd < 0 ? -1 : inotify_add_watch(w->fd, path, WATCH_EVENTS);

    if (wd < 0 && !w->did_warn && errno != ENOENT) {
        w->did_warn = true;
        log_warn("store.inotify", LOG_NONE,
                 "cannot watch %s: %s; mailboxes beyond the limit are looked at every %d seconds"
                 " (raise fs.inotify.max_user_watches and max_user_instances)",
                 path, strerror(errno), WATCH_POLL_MS / 1000);
    }
    free(path);
    if (wd >= 0 && map_get_u64(w->wds, (uint64_t)wd) !=
                       NULL) /* one folder under two users' names: the other has it */
        return -1;
    if (wd >= 0)
        map_set_u64(w->wds, (uint64_t)wd, p);
    return wd;
}

static struct place *
place_get(struct watcher *w, const struct store_view *v)
{
    struct buf key = { 0 };
    struct place *p;

    buf_addf(&key, "%s\t%s", v->u->name, v->name);
    p = map_get(w->places, buf_slice(&key));
    if (p == NULL) {
        p = MEM_NEW(struct place);
        p->key = mem_dupz(buf_z(&key));
        list_init(&p->watches);
        start_inotify(w);
        p->wd[0] = add_wd(w, p, v->dir, "new");
        p->wd[1] = add_wd(w, p, v->dir, "cur");
        map_set(w->places, buf_slice(&key), p);
        if (!timer_is_running(&w->timer))
            timer_start(&w->timer, WATCH_POLL_MS, on_timer, w);
    }
    buf_free(&key);
    return p;
}

static void
place_drop(struct watcher *w, struct place *p)
{
    for (int i = 0; i < 2; i++)
        if (p->wd[i] >= 0) {
            map_del_u64(w->wds, (uint64_t)p->wd[i]);
            inotify_rm_watch(w->fd, p->wd[i]);
        }
    map_del(w->places, sl_z(p->key));
    free(p->key);
    free(p);
    if (map_count(w->places) == 0)
        timer_stop(&w->timer);
}

/* ---- a view's ---- */

static void
watch_stop(struct store_view *v)
{
    struct watch *x = v->watch;
    struct watcher *w = v->u->s->watcher;

    if (x == NULL)
        return;
    v->watch = NULL;
    atomic_fetch_sub(&v->u->s->n_watches, 1);
    list_remove(&x->link);
    if (list_is_empty(&x->place->watches))
        place_drop(w, x->place);
    free(x);
}

void
store_view_watch(struct store_view *v, void (*fn)(void *arg), void *arg)
{
    struct watcher *w = v->u->s->watcher;
    struct watch *x = v->watch;

    if (fn == NULL) {
        watch_stop(v);
        return;
    }
    if (x == NULL) {
        x = MEM_NEW(struct watch);
        x->v = v;
        x->place = place_get(w, v);
        list_push_back(&x->place->watches, &x->link);
        v->watch = x;
        atomic_fetch_add(&v->u->s->n_watches, 1);
        /* What changed between the last sync and now was told to nobody: have it looked at once. */
        tell_later(v->u->s, sl_z(x->place->key), v, NULL);
    }
    x->fn = fn;
    x->arg = arg;
}
