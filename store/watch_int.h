/* store/watch_int.h - what watch.c (mailboxes that somebody has in view, inotify) and user_watch.c (all of a user's) share. Private
 * to both. On the loop. */
#ifndef POSTERN_STORE_WATCH_INT_H
#define POSTERN_STORE_WATCH_INT_H

#include "store/store_int.h"

/* A mailbox is three folders: new/ and cur/ for what is in them, and the one around them, whose renaming they are not told of. */
enum { EYE_NEW, EYE_CUR, EYE_SELF, EYES };

struct folder { /* one inotify watch; two mailboxes may be one folder, under two users' names */
    int wd;
    struct list eyes;
};

struct eye {               /* of one of both: */
    struct list link;      /* in folder.eyes */
    struct folder *folder; /* NULL: polled */
    struct place *place;
    struct tree *tree;
};

struct place { /* a mailbox that somebody has in view or follows */
    char *key; /* USER TAB MAILBOX */
    char *dir;
    struct eye eyes[EYES];
    struct list watches;  /* views' */
    unsigned n_followers; /* store_user_follow()s */
    bool is_beyond;       /* the user follows too many: polled */
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
    struct map *wards;   /* users whose mailboxes somebody hears of, by name */
    struct timer timer;
    bool did_warn;
    /* a folder that left its place: the next event says where it came to, if that is ours to see */
    struct tree *moved_in; /* NULL: none */
    uint32_t moved_cookie;
    struct buf moved_from; /* the mailbox's name */
};

/* ---- watch.c ---- */
/* Made when absent, without eyes. */
struct place *place_get(struct watcher *w, const struct store_user *u, struct slice mailbox,
                        const char *dir);
void place_open(struct watcher *w, struct place *p); /* the eyes it needs */
void place_put(struct watcher *w, struct place *p);  /* somebody left: eyes that nobody needs; it */
/* is_around: of the folder itself only that it goes away; else of what is in it, too. */
void eye_open(struct watcher *w, struct eye *y, const char *path, bool is_around);
void eye_close(struct watcher *w, struct eye *y);
void watcher_start_timer(struct watcher *w);

/* ---- user_watch.c ---- */
void ward_tell(struct watcher *w, struct slice user, const struct store_event *ev);
void ward_tell_all(struct watcher *w, const struct store_event *ev);
void ward_open_trees(struct watcher *w); /* those that inotify had no room for */
/* inotify: a folder in that one. */
void tree_event(struct watcher *w, struct tree *t, uint32_t mask, uint32_t cookie,
                struct slice folder);
void tree_events_end(struct watcher *w); /* no more for now */

#endif
