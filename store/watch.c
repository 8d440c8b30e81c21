/* store/watch.c - who waits for a mailbox to change: told by this process, by datagrams of others, by inotify of foreign
 * writers. On the loop, but for watcher_tell(). */
#include "store/watch_int.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <unistd.h>

enum {
    WATCH_POLL_MS = 30 * 1000, /* for folders that inotify has no room for, or that are gone */
    WATCH_GONE = IN_DELETE_SELF | IN_MOVE_SELF,
    WATCH_NAMES = IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE,
    WATCH_READ_OCTETS = 16 * 1024,
    WATCH_READS_A_TURN = 16
};

static const char *const eye_parts[EYES] = { "/new", "/cur", "" };

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
    w->wards = map_new();
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
    BUG_ON(map_count(w->places) != 0 || map_count(w->wards) != 0);
    id_del(w->id);
    timer_stop(&w->timer);
    if (w->poll != NULL)
        loop_unwatch(&w->poll);
    if (w->fd >= 0)
        close(w->fd);
    map_free(&w->places, NULL);
    map_free(&w->folders, NULL);
    map_free(&w->wards, NULL);
    buf_free(&w->moved_from);
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
    enum store_event_kind kind;
    uint64_t by;
    char *key, *more;
};

static void
tell_on_loop(void *arg)
{
    struct telling *t = arg;
    struct watcher *w = id_get(t->watcher);
    struct slice rest = sl_z(t->key), user;

    if (w != NULL && t->kind <= STORE_EVENT_RENAMED)
        tell_place(w, sl_z(t->key), t->only, t->except);
    if (w != NULL && t->only == NULL && sl_take_until(&rest, '\t', &user))
        ward_tell(w, user,
                  &(struct store_event){
                      .kind = t->kind, .mailbox = rest, .more = sl_z(t->more), .by = t->by });
    free(t->key);
    free(t->more);
    free(t);
}

static void
tell_later(struct store *s, const struct telling *what, struct slice key, struct slice more)
{
    struct telling *t;

    if (atomic_load(&s->n_watches) == 0)
        return;
    t = mem_dup(what, sizeof(*what));
    t->watcher = s->watcher_id;
    t->key = sl_dupz(key);
    t->more = sl_dupz(more);
    loop_call_from_thread(tell_on_loop, t);
}

static _Thread_local uint64_t acting;

void
store_act_as(uint64_t id)
{
    acting = id;
}

void
watcher_tell(struct store *s, struct slice key, const struct store_view *except,
             enum store_event_kind kind, struct slice more)
{
    tell_later(s, &(struct telling){ .except = except, .kind = kind, .by = acting }, key, more);
}

/* Whether the folder around them has another name is what those know who follow the user (ward). */
static bool
is_needed(const struct place *p, int which)
{
    return which != EYE_SELF || !list_is_empty(&p->watches);
}

static bool
is_polled(const struct place *p)
{
    for (int i = 0; i < EYES; i++)
        if (is_needed(p, i) && p->eyes[i].folder == NULL)
            return true;
    return false;
}

/* Views and followers, when nobody can say more than that. */
static void
tell_changed(struct watcher *w, struct slice key)
{
    struct place *p = map_get(w->places, key);
    struct slice rest = key, user;

    if (p != NULL && p->n_followers > 0 && sl_take_until(&rest, '\t', &user))
        ward_tell(w, user, &(struct store_event){ .kind = STORE_EVENT_CHANGED, .mailbox = rest });
    tell_place(w, key, NULL, NULL);
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
        tell_changed(w, sl_z(keys.v[i]));
    names_free(&keys);
}

/* The same when it is not known of what. */
static void
tell_lost(struct watcher *w)
{
    ward_tell_all(w, &(struct store_event){ .kind = STORE_EVENT_LOST });
    tell_all(w, false);
}

void
store_notified(struct store *s, struct slice datagram)
{
    struct notify_line line;

    while (notifier_take(&datagram, &line)) {
        struct store_event ev = { .mailbox = line.mailbox };
        struct buf key = { 0 };
        char letter;
        const char *at;

        if (sl_eqz(line.sender, notifier_sender(s->notifier)))
            continue;
        if (sl_eqz(line.user, NOTIFY_ALL)) { /* it had to drop some */
            tell_lost(s->watcher);
            continue;
        }
        if (line.event.n > 0) {
            letter = line.event.p[0];
            at = letter == '\0' ? NULL : strchr(NOTIFY_KINDS, letter);
            if (at == NULL)
                continue;
            ev.kind = (enum store_event_kind)(at - NOTIFY_KINDS);
            ev.more = sl_from(line.event, 1);
        }
        buf_addf(&key, "%.*s\t%.*s", SL_ARG(line.user), SL_ARG(line.mailbox));
        if (ev.kind <= STORE_EVENT_RENAMED)
            tell_place(s->watcher, buf_slice(&key), NULL, NULL);
        ward_tell(s->watcher, line.user, &ev);
        buf_free(&key);
    }
}

/* ---- inotify ---- */

void
eye_close(struct watcher *w, struct eye *y)
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

/* Whoever has it in view, or follows it; when it is not where it was, nobody has it any more. */
static void
tell_folder(struct watcher *w, struct folder *f, bool is_lost)
{
    struct names keys = { 0 };

    LIST_EACH(at, nxt, &f->eyes)
    {
        struct eye *y = CONTAINER_OF(at, struct eye, link);

        if (y->place != NULL && (is_lost || y != &y->place->eyes[EYE_SELF]))
            names_add(&keys, sl_z(y->place->key));
    }
    while (is_lost && !list_is_empty(&f->eyes)) {
        bool is_last = f->eyes.next->next == &f->eyes;

        eye_close(w, CONTAINER_OF(f->eyes.next, struct eye, link));
        if (is_last)
            break; /* it took f along */
    }
    for (size_t i = 0; i < keys.n; i++)
        tell_changed(w, sl_z(keys.v[i]));
    names_free(&keys);
}

/* A folder came, went or was renamed: whoever looks there for mailboxes knows what it means. */
static void
tell_trees(struct watcher *w, struct folder *f, const struct inotify_event *ev)
{
    LIST_EACH(at, nxt, &f->eyes)
    {
        struct eye *y = CONTAINER_OF(at, struct eye, link);

        if (y->tree != NULL)
            tree_event(w, y->tree, ev->mask, ev->cookie, sl_z(ev->name));
    }
}

static void
take_events(struct watcher *w, const char *block, ssize_t got)
{
    int last_wd = -1;

    for (ssize_t at = 0; at < got;) {
        const struct inotify_event *ev = (const void *)(block + at);
        bool is_lost = (ev->mask & (IN_IGNORED | WATCH_GONE)) != 0;
        struct folder *f;

        at += (ssize_t)(sizeof(*ev) + ev->len);
        if (ev->mask & IN_Q_OVERFLOW) {
            log_warn("store.inotify", LOG_NONE,
                     "inotify queue overflowed: looking at every watched mailbox");
            tell_lost(w);
            continue;
        }
        f = map_get_u64(w->folders, (uint64_t)ev->wd);
        if (f != NULL && (ev->mask & IN_ISDIR) && ev->len > 0)
            tell_trees(w, f, ev);
        if (ev->wd == last_wd && !is_lost)
            continue; /* told just now */
        last_wd = ev->wd;
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
            break;
        take_events(w, block, got);
    }
    tree_events_end(w);
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

void
eye_open(struct watcher *w, struct eye *y, const char *path, bool is_around)
{
    struct folder *f;
    /* Two may look at one folder for different things: they add up. */
    uint32_t events = IN_ONLYDIR | IN_MASK_ADD | WATCH_GONE | (is_around ? 0u : WATCH_NAMES);
    int wd;

    start_inotify(w);
    wd = add_watch(w, path, events);
    if (wd < 0 && !w->did_warn && errno != ENOENT) {
        w->did_warn = true;
        log_warn("store.inotify", LOG_NONE,
                 "cannot watch %s: %s; mailboxes beyond the limit are looked at every %d seconds"
                 " (raise fs.inotify.max_user_watches and max_user_instances)",
                 path, strerror(errno), WATCH_POLL_MS / 1000);
    }
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

/* Those that are needed and not open yet. */
static void
open_eyes(struct watcher *w, struct place *p)
{
    for (int i = 0; i < EYES; i++) {
        struct buf path = { 0 };

        if (p->eyes[i].folder != NULL || !is_needed(p, i) || p->is_beyond)
            continue;
        buf_addf(&path, "%s%s", p->dir, eye_parts[i]);
        eye_open(w, &p->eyes[i], buf_z(&path), i == EYE_SELF);
        buf_free(&path);
    }
}

/* Those that are polled are told; and watched from now on, if it can be had by now. */
static void
on_timer(void *arg)
{
    struct watcher *w = arg;
    struct slice key;
    void *value;
    size_t it = 0;

    tell_all(w, true);
    ward_open_trees(w);
    while (map_next(w->places, &it, &key, &value)) {
        struct place *p = value;
        bool was_polled = is_polled(p);

        open_eyes(w, p);
        if (was_polled && !is_polled(p)) /* what came before the watch */
            tell_later(w->s, &(struct telling){ 0 }, key, SL(""));
    }
    if (map_count(w->places) > 0 || map_count(w->wards) > 0)
        timer_start(&w->timer, poll_ms, on_timer, w);
}

void
watcher_start_timer(struct watcher *w)
{
    if (!timer_is_running(&w->timer))
        timer_start(&w->timer, poll_ms, on_timer, w);
}

struct place *
place_get(struct watcher *w, const struct store_user *u, struct slice mailbox, const char *dir)
{
    struct buf key = { 0 };
    struct place *p;

    buf_addf(&key, "%s\t%.*s", u->name, SL_ARG(mailbox));
    p = map_get(w->places, buf_slice(&key));
    if (p == NULL) {
        p = MEM_NEW(struct place);
        p->key = mem_dupz(buf_z(&key));
        p->dir = mem_dupz(dir);
        list_init(&p->watches);
        for (int i = 0; i < EYES; i++)
            p->eyes[i].place = p;
        map_set(w->places, buf_slice(&key), p);
        watcher_start_timer(w);
    }
    buf_free(&key);
    return p;
}

void
place_open(struct watcher *w, struct place *p)
{
    open_eyes(w, p);
}

void
place_put(struct watcher *w, struct place *p)
{
    for (int i = 0; i < EYES; i++)
        if (!is_needed(p, i))
            eye_close(w, &p->eyes[i]);
    if (p->n_followers > 0 || !list_is_empty(&p->watches))
        return;
    for (int i = 0; i < EYES; i++)
        eye_close(w, &p->eyes[i]);
    map_del(w->places, sl_z(p->key));
    free(p->key);
    free(p->dir);
    free(p);
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
    place_put(w, x->place);
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
        x->place = place_get(w, v->u, sl_z(v->name), v->dir);
        list_push_back(&x->place->watches, &x->link);
        x->place->is_beyond = false;
        place_open(w, x->place);
        v->watch = x;
        atomic_fetch_add(&v->u->s->n_watches, 1);
        /* What changed between the last sync and now was told to nobody: have it looked at once. */
        tell_later(v->u->s, &(struct telling){ .only = v }, sl_z(x->place->key), SL(""));
    }
    x->fn = fn;
    x->arg = arg;
}
