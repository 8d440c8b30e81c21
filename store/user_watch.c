/* store/user_watch.c - who hears of all that happens to a user's mailboxes, selected or not: what Postern's processes do they tell
 * themselves (user_tell_event()); folders that foreign programs make, rename or remove are seen by inotify of the folders
 * they lie in; and messages in mailboxes that are followed by inotify of those, with all the bounds of watch.c. On the loop. */
#include "store/watch_int.h"

#include "base/mem.h"

#include <stdlib.h>
#include <sys/inotify.h>

enum {
    FOLLOWED_MAX = 2000 /* mailboxes of a user with inotify watches; those beyond are polled */
};

struct ward { /* a user */
    char *name;
    const struct store_user *u; /* any watch's */
    struct list watches;
    struct list trees;
    unsigned n_places; /* followed, with eyes */
};

struct
    tree { /* a folder in which mailboxes come and go: the root, with LAYOUT=fs those below, too */
    struct list link;
    struct ward *ward;
    struct eye eye;
    char *prefix;         /* its path below the root with a slash after it, or "" */
    unsigned n_followers; /* of the mailbox that it is; the root is there for all */
};

struct store_user_watch {
    struct list link;
    struct ward *ward;
    struct store_user *u;
    void (*fn)(void *arg, const struct store_event *ev);
    void *arg;
    struct place **places; /* followed, sorted by address */
    size_t n, cap;
};

/* ---- telling ---- */

static void
tell(struct ward *d, const struct store_event *ev)
{
    LIST_EACH(at, nxt, &d->watches)
    {
        struct store_user_watch *x = CONTAINER_OF(at, struct store_user_watch, link);

        x->fn(x->arg, ev);
    }
}

void
ward_tell(struct watcher *w, struct slice user, const struct store_event *ev)
{
    struct ward *d = map_get(w->wards, user);

    if (d != NULL)
        tell(d, ev);
}

void
ward_tell_all(struct watcher *w, const struct store_event *ev)
{
    struct slice key;
    void *value;
    size_t it = 0;

    while (map_next(w->wards, &it, &key, &value))
        tell(value, ev);
}

/* ---- folders that come and go ---- */

static void
open_tree(struct watcher *w, struct tree *t)
{
    struct buf path = { 0 };

    if (t->eye.folder != NULL)
        return;
    buf_addf(&path, "%s/%s", t->ward->u->root, t->prefix);
    eye_open(w, &t->eye, buf_z(&path), false);
    buf_free(&path);
}

void
ward_open_trees(struct watcher *w)
{
    struct slice key;
    void *value;
    size_t it = 0;

    while (map_next(w->wards, &it, &key, &value)) {
        struct ward *d = value;

        LIST_EACH(at, nxt, &d->trees)
        open_tree(w, CONTAINER_OF(at, struct tree, link));
    }
}

static struct tree *
tree_get(struct watcher *w, struct ward *d, struct slice prefix)
{
    struct tree *t;

    LIST_EACH(at, nxt, &d->trees)
    {
        t = CONTAINER_OF(at, struct tree, link);
        if (sl_eqz(prefix, t->prefix))
            return t;
    }
    t = MEM_NEW(struct tree);
    t->ward = d;
    t->eye.tree = t;
    t->prefix = sl_dupz(prefix);
    list_push_back(&d->trees, &t->link);
    open_tree(w, t);
    return t;
}

static void
tree_free(struct watcher *w, struct tree *t)
{
    if (w->moved_in == t)
        w->moved_in = NULL;
    eye_close(w, &t->eye);
    list_remove(&t->link);
    free(t->prefix);
    free(t);
}

void
tree_events_end(struct watcher *w)
{
    struct tree *t = w->moved_in;

    w->moved_in = NULL;
    if (t != NULL) /* to somewhere else */
        tell(t->ward, &(struct store_event){ .kind = STORE_EVENT_DELETED,
                                             .mailbox = buf_slice(&w->moved_from) });
}

void
tree_event(struct watcher *w, struct tree *t, uint32_t mask, uint32_t cookie, struct slice folder)
{
    bool is_second = w->moved_in != NULL && w->moved_in->ward == t->ward && (mask & IN_MOVED_TO) &&
                     cookie == w->moved_cookie;
    struct buf path = { 0 }, name = { 0 };
    struct store_event ev = { .kind = STORE_EVENT_CREATED };

    buf_addf(&path, "%s%.*s", t->prefix, SL_ARG(folder));
    if (!is_second)
        tree_events_end(w);
    if (!name_from_folder(&t->ward->u->loc, buf_slice(&path), &name)) {
        tree_events_end(w); /* as a DELETE of ours moves it aside */
        goto out;
    }
    ev.mailbox = buf_slice(&name);
    if (mask & IN_MOVED_FROM) {
        w->moved_in = t;
        w->moved_cookie = cookie;
        buf_reset(&w->moved_from);
        buf_adds(&w->moved_from, ev.mailbox);
        goto out;
    }
    if (mask & IN_DELETE)
        ev.kind = STORE_EVENT_DELETED;
    if (is_second) {
        ev.kind = STORE_EVENT_RENAMED;
        ev.more = buf_slice(&w->moved_from);
        w->moved_in = NULL;
    }
    if (mask & (IN_CREATE | IN_MOVED_TO | IN_DELETE))
        tell(t->ward, &ev);
out:
    buf_free(&path);
    buf_free(&name);
}

/* ---- following ---- */

static size_t
place_at(const struct store_user_watch *x, const struct place *p)
{
    size_t lo = 0, hi = x->n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        *((uintptr_t)x->places[mid] < (uintptr_t)p ? &lo : &hi) =
            (uintptr_t)x->places[mid] < (uintptr_t)p ? mid + 1 : mid;
    }
    return lo;
}

/* With LAYOUT=fs a mailbox is a folder for others. */
static void
follow_tree(struct watcher *w, struct ward *d, struct slice mailbox, int by)
{
    struct buf prefix = { 0 };
    struct tree *t;

    if (d->u->loc.layout != LAYOUT_FS || name_is_inbox(mailbox) ||
        name_to_folder(&d->u->loc, mailbox, &prefix, NULL))
        goto out;
    buf_addc(&prefix, '/');
    t = tree_get(w, d, buf_slice(&prefix));
    t->n_followers = by > 0 ? t->n_followers + 1 : t->n_followers - 1;
    if (t->n_followers == 0)
        tree_free(w, t);
out:
    buf_free(&prefix);
}

static struct slice
mailbox_of(const struct place *p)
{
    struct slice rest = sl_z(p->key), user;

    sl_take_until(&rest, '\t', &user);
    return rest;
}

void
store_user_follow(struct store_user_watch *x, struct slice mailbox)
{
    struct watcher *w = x->u->s->watcher;
    struct buf dir = { 0 };
    struct place *p;
    size_t at;

    if (mbox_dir(x->u, mailbox, &dir, NULL))
        goto out;
    p = place_get(w, x->u, mailbox, buf_z(&dir));
    at = place_at(x, p);
    if (at < x->n && x->places[at] == p)
        goto out;
    x->places = mem_grow(x->places, &x->cap, x->n + 1, sizeof(struct place *));
    memmove(x->places + at + 1, x->places + at, (x->n - at) * sizeof(struct place *));
    x->places[at] = p;
    x->n++;
    if (p->n_followers++ == 0) {
        p->is_beyond = list_is_empty(&p->watches) && x->ward->n_places >= FOLLOWED_MAX;
        x->ward->n_places++;
        place_open(w, p);
    }
    follow_tree(w, x->ward, mailbox, 1);
out:
    buf_free(&dir);
}

static void
leave(struct watcher *w, struct store_user_watch *x, struct place *p)
{
    follow_tree(w, x->ward, mailbox_of(p), -1);
    if (--p->n_followers == 0)
        x->ward->n_places--;
    place_put(w, p);
}

void
store_user_unfollow(struct store_user_watch *x, struct slice mailbox)
{
    struct watcher *w = x->u->s->watcher;
    struct buf key = { 0 };
    struct place *p;
    size_t at;

    buf_addf(&key, "%s\t%.*s", x->u->name, SL_ARG(mailbox));
    p = map_get(w->places, buf_slice(&key));
    buf_free(&key);
    if (p == NULL || (at = place_at(x, p)) == x->n || x->places[at] != p)
        return;
    memmove(x->places + at, x->places + at + 1, (x->n - at - 1) * sizeof(struct place *));
    x->n--;
    leave(w, x, p);
}

/* ---- watches ---- */

struct store_user_watch *
store_user_watch(struct store_user *u, void (*fn)(void *arg, const struct store_event *ev),
                 void *arg)
{
    struct watcher *w = u->s->watcher;
    struct store_user_watch *x = MEM_NEW(struct store_user_watch);
    struct ward *d = map_get(w->wards, sl_z(u->name));

    if (d == NULL) {
        d = MEM_NEW(struct ward);
        d->name = mem_dupz(u->name);
        d->u = u;
        list_init(&d->watches);
        list_init(&d->trees);
        map_set(w->wards, sl_z(d->name), d);
        tree_get(w, d, SL(""))->n_followers = 1;
        watcher_start_timer(w);
    }
    x->ward = d;
    x->u = user_ref(u);
    x->fn = fn;
    x->arg = arg;
    list_push_back(&d->watches, &x->link);
    atomic_fetch_add(&u->s->n_watches, 1);
    return x;
}

static void
ward_free(struct watcher *w, struct ward *d)
{
    while (!list_is_empty(&d->trees))
        tree_free(w, CONTAINER_OF(d->trees.next, struct tree, link));
    map_del(w->wards, sl_z(d->name));
    free(d->name);
    free(d);
}

void
store_user_unwatch(struct store_user_watch **xp)
{
    struct store_user_watch *x = *xp;
    struct ward *d;
    struct watcher *w;

    if (x == NULL)
        return;
    *xp = NULL;
    d = x->ward;
    w = x->u->s->watcher;
    while (x->n > 0)
        leave(w, x, x->places[--x->n]);
    list_remove(&x->link);
    atomic_fetch_sub(&x->u->s->n_watches, 1);
    if (list_is_empty(&d->watches))
        ward_free(w, d);
    else
        d->u = CONTAINER_OF(d->watches.next, struct store_user_watch, link)->u;
    free(x->places);
    store_user_close(&x->u);
    free(x);
}
