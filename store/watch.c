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
    WATCH_POLL_MS = 30 * 1000, /* for folders that inotify has no room for, or that are gone */
    WATCH_SELF = IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR,
    WATCH_EVENTS = IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | WATCH_SELF,
    WATCH_READ_OCTETS = 16 * 1024,
    WATCH_READS_A_TURN = 16
};

/* A mailbox is three folders: new/ and cur/ for what is in them, and the one around them, whose renaming they are not told of. */
enum { EYE_NEW, EYE_CUR, EYE_SELF, EYES };
static const char *const eye_parts[EYES] = { "/new", "/cur", "" };

struct folder { /* one inotify watch; two mailboxes may be one folder, under two users' names */
    int wd;
    struct list eyes;
};

struct eye {
    struct list link;      /* in folder.eyes */
    struct folder *folder; /* NULL: polled */
    struct place *place;
};

struct place { /* a mailbox that somebody watches */
    char *key; /* USER TAB MAILBOX */
    char *dir;
    struct eye eyes[EYES];
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
    struct map *places;  /* by key */
    struct map *folders; /* by descriptor */
    struct timer timer;
    bool did_warn;
};

static unsigned poll_ms = WATCH_POLL_MS;
static size_t max_folders = SIZE_MAX;

void
watcher_fake_limit(size_t folders, unsigned every_ms)
{
    max_folders = folders;
    poll_ms = every_ms;
}

struct watcher *
watcher_new(struct store *s)
{
    struct watcher *w = MEM_NEW(struct watcher);

    w->s = s;
    w->fd = -1;
    w->places = map_new();
    w->folders = map_new();
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
    map_free(&w->folders, NULL);
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

static bool
is_polled(const struct place *p)
{
    for (int i = 0; i < EYES; i++)
        if (p->eyes[i].folder == NULL)
            return true;
    return false;
}

/* Everybody, as when events were lost. fn may change the table, so the keys are taken first. */
static void
tell_all(struct watcher *w, bool only_polled)
{
    struct names keys = { 0 };
    struct slice key;
    void *value;
    size_t it = 0;

    while (map_next(w->places, &it, &key, &value))
        if (!only_polled || is_polled(value))
            names_add(&keys, key);
    for (size_t i = 0; i < keys.n; i++)
        tell_place(w, sl_z(keys.v[i]), NULL, NULL);
    names_free(&keys);
}

void
store_notified(struct store *s, struct slice datagram)
{
    struct slice sender, user, mailbox;

    while (notifier_take(&datagram, &sender, &user, &mailbox)) {
        struct buf key = { 0 };

        if (sl_eqz(sender, notifier_sender(s->notifier)))
            continue;
        if (sl_eqz(user, NOTIFY_ALL)) { /* it had to drop some */
            tell_all(s->watcher, false);
            continue;
        }
        buf_addf(&key, "%.*s\t%.*s", SL_ARG(user), SL_ARG(mailbox));
        tell_place(s->watcher, buf_slice(&key), NULL, NULL);
        buf_free(&key);
    }
}

/* ---- inotify ---- */

static void
close_eye(struct watcher *w, struct eye *y)
{
    struct folder *f = y->folder;

    if (f == NULL)
        return;
    y->folder = NULL;
    list_remove(&y->link);
    if (!list_is_empty(&f->eyes))
        return;
    map_del_u64(w->folders, (uint64_t)f->wd);
    inotify_rm_watch(w->fd, f->wd); /* in vain when the folder is gone */
    free(f);
}

/* Whoever has it in view; when it is not where it was, nobody has it any more. */
static void
tell_folder(struct watcher *w, struct folder *f, bool is_lost)
{
    struct names keys = { 0 };

    LIST_EACH(at, nxt, &f->eyes)
    {
        struct eye *y = CONTAINER_OF(at, struct eye, link);

        names_add(&keys, sl_z(y->place->key));
    }
    for (size_t i = 0; is_lost && i < keys.n; i++) /* the last one frees f */
        close_eye(w, CONTAINER_OF(f->eyes.next, struct eye, link));
    for (size_t i = 0; i < keys.n; i++)
        tell_place(w, sl_z(keys.v[i]), NULL, NULL);
    names_free(&keys);
}

static void
take_events(struct watcher *w, const char *block, ssize_t got)
{
    int last_wd = -1;

    for (ssize_t at = 0; at < got;) {
        const struct inotify_event *ev = (const void *)(block + at);
        bool is_lost = (ev->mask & (IN_IGNORED | IN_MOVE_SELF | IN_DELETE_SELF)) != 0;
        struct folder *f;

        at += (ssize_t)(sizeof(*ev) + ev->len);
        if (ev->mask & IN_Q_OVERFLOW) {
            log_warn("store.inotify", LOG_NONE,
                     "inotify queue overflowed: looking at every watched mailbox");
            tell_all(w, false);
            continue;
        }
        if (ev->wd == last_wd && !is_lost)
            continue; /* told just now */
        last_wd = ev->wd;
        f = map_get_u64(w->folders, (uint64_t)ev->wd);
        if (f != NULL)
            tell_folder(w, f, is_lost);
    }
}

static void
on_inotify(void *arg)
{
    struct watcher *w = arg;
    _Alignas(struct inotify_event) char block[WATCH_READ_OCTETS];

    for (int i = 0; i < WATCH_READS_A_TURN; i++) {
        ssize_t got = read(w->fd, block, sizeof(block));

        if (got <= 0)
            return;
        take_events(w, block, got);
    }
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
add_watch(const struct watcher *w, const char *path, uint32_t events)
{
    if (w->fd < 0)
        return -1;
    if (map_count(w->folders) >= max_folders) {
        errno = ENOSPC;
        return -1;
    }
    return inotify_add_watch(w->fd, path, events);
}

static void
open_eye(struct watcher *w, struct place *p, int which)
{
    struct eye *y = &p->eyes[which];
    struct buf path = { 0 };
    struct folder *f;
    int wd;

    buf_addf(&path, "%s%s", p->dir, eye_parts[which]);
    wd = add_watch(w, buf_z(&path), which == EYE_SELF ? WATCH_SELF : WATCH_EVENTS);
    if (wd < 0 && !w->did_warn && errno != ENOENT) {
        w->did_warn = true;
        log_warn("store.inotify", LOG_NONE,
                 "cannot watch %s: %s; mailboxes beyond the limit are looked at every %d seconds"
                 " (raise fs.inotify.max_user_watches and max_user_instances)",
                 buf_z(&path), strerror(errno), WATCH_POLL_MS / 1000);
    }
    buf_free(&path);
    if (wd < 0)
        return;
    f = map_get_u64(w->folders, (uint64_t)wd);
    if (f == NULL) {
        f = MEM_NEW(struct folder);
        f->wd = wd;
        list_init(&f->eyes);
        map_set_u64(w->folders, (uint64_t)wd, f);
    }
    y->folder = f;
    list_push_back(&f->eyes, &y->link);
}

/* Those that are polled are told; and watched from now on, if it can be had by now. */
static void
on_timer(void *arg)
{
    struct watcher *w = arg;
    struct slice key;
    void *value;
    size_t it = 0;

    start_inotify(w);
    tell_all(w, true);
    while (map_next(w->places, &it, &key, &value)) {
        struct place *p = value;
        bool was_polled = is_polled(p);

        for (int i = 0; i < EYES; i++)
            if (p->eyes[i].folder == NULL)
                open_eye(w, p, i);
        if (was_polled && !is_polled(p)) /* what came before the watch */
            tell_later(w->s, key, NULL, NULL);
    }
    if (map_count(w->places) > 0)
        timer_start(&w->timer, poll_ms, on_timer, w);
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
        p->dir = mem_dupz(v->dir);
        list_init(&p->watches);
        start_inotify(w);
        for (int i = 0; i < EYES; i++) {
            p->eyes[i].place = p;
            open_eye(w, p, i);
        }
        map_set(w->places, buf_slice(&key), p);
        if (!timer_is_running(&w->timer))
            timer_start(&w->timer, poll_ms, on_timer, w);
    }
    buf_free(&key);
    return p;
}

static void
place_drop(struct watcher *w, struct place *p)
{
    for (int i = 0; i < EYES; i++)
        close_eye(w, &p->eyes[i]);
    map_del(w->places, sl_z(p->key));
    free(p->key);
    free(p->dir);
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
