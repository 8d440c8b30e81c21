/* store/user.c - the process's store, its users, and the bounded number of open databases. */
#include "store/shared.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

char *
path_join(const char *dir, const char *part, const char *name)
{
    struct buf b = { 0 };

    buf_addf(&b, "%s/%s%s%s", dir, part, name == NULL ? "" : "/", name == NULL ? "" : name);
    buf_z(&b);
    return b.p; /* never consumed: p is the start */
}

int64_t
dir_mtime_ns(const char *dir, const char *part)
{
    char *path = path_join(dir, part, NULL);
    struct stat st;
    int64_t ns = 0;

    if (stat(path, &st) == 0)
        ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    free(path);
    return ns;
}

int64_t
now_realtime_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* ---- databases that nobody uses ---- */

/* Close one that has idled. False: none is left. */
static bool
close_idle(struct store *s, uint64_t now_ms)
{
    struct store_user *found = NULL;

    pthread_mutex_lock(&s->lock);
    LIST_EACH(at, nxt, &s->open)
    {
        struct store_user *u = CONTAINER_OF(at, struct store_user, open_link);

        if (found != NULL || now_ms - u->used_ms < STORE_IDLE_MS)
            break; /* those behind it were used later */
        if (pthread_mutex_trylock(&u->lock))
            continue;
        found = u;
        found->refs++;
        list_remove(&found->open_link);
        s->n_open--;
    }
    pthread_mutex_unlock(&s->lock);
    if (found == NULL)
        return false;
    if (found->db != NULL) {
        shared_settle_all(found);
        index_checkpoint(found, INDEX_WAL_IDLE_OCTETS);
    }
    index_close(found);
    pthread_mutex_unlock(&found->lock);
    store_user_close(&found);
    return true;
}

static enum work_rc
sweep_run(struct work_job *j)
{
    struct store *s = CONTAINER_OF(j, struct store, sweep);

    if (close_idle(s, clock_mono_ms()))
        return WORK_YIELD;
    malloc_trim(0); /* page caches lie between what lives on */
    return WORK_DONE;
}

static void
sweep_start(void *arg)
{
    struct store *s = arg;

    s->is_sweeping = true;
    work_submit(s->pool, &s->sweep);
}

static void
sweep_done(struct work_job *j)
{
    struct store *s = CONTAINER_OF(j, struct store, sweep);
    bool any;

    s->is_sweeping = false;
    pthread_mutex_lock(&s->lock);
    any = s->n_open > 0;
    atomic_store(&s->must_sweep, any); /* under the lock: an opening after it asks again */
    pthread_mutex_unlock(&s->lock);
    if (any)
        timer_start(&s->sweep_timer, STORE_IDLE_MS, sweep_start, s);
}

static void
sweep_ask(void *arg)
{
    struct watcher *w = id_get((uint64_t)(uintptr_t)arg);
    struct store *s = w == NULL ? NULL : watcher_store(w);

    if (s != NULL && !s->is_sweeping && !timer_is_running(&s->sweep_timer))
        timer_start(&s->sweep_timer, STORE_IDLE_MS, sweep_start, s);
}

int
store_new(const struct conf *c, struct store **out, struct err *e)
{
    struct store *s;
    struct quota *quota;
    struct location where;

    *out = NULL;
    if (location_resolve(c, SL("user@example.com"), sl_n(NULL, 0), &where, e))
        return -1;
    location_free(&where); /* that there is one is enough */
    if (quota_new(c, &quota, e))
        return -1;
    s = MEM_NEW(struct store);
    s->conf = conf_ref(c);
    s->notifier = notifier_new(c);
    s->reserve = reserve_new(c);
    s->quota = quota;
    pthread_mutex_init(&s->lock, NULL);
    s->users = map_new();
    list_init(&s->open);
    s->pool = work_pool_new("store", 1, 0);
    s->sweep.run = sweep_run;
    s->sweep.done = sweep_done;
    s->watcher = watcher_new(s);
    *out = s;
    return 0;
}

static void
user_free(struct store_user *u)
{
    pthread_mutex_lock(&u->lock); /* its last user may still be on the way out */
    index_close(u);
    pthread_mutex_unlock(&u->lock);
    pthread_mutex_destroy(&u->lock);
    pthread_mutex_destroy(&u->gate);
    pthread_mutex_destroy(&u->rows_lock);
    quota_charge_free(&u->charge);
    quota_rules_free(&u->rules);
    free(u->key);
    free(u->name);
    location_free(&u->loc);
    free(u);
}

void
store_free(struct store **sp)
{
    struct store *s = *sp;

    if (s == NULL)
        return;
    filler_free(&s->filler);
    work_pool_free(&s->pool);
    timer_stop(&s->sweep_timer);
    BUG_ON(map_count(s->users) != 0);
    watcher_free(&s->watcher);
    map_free(&s->users, NULL);
    notifier_free(&s->notifier);
    quota_free(&s->quota);
    reserve_free(&s->reserve);
    conf_unref(&s->conf);
    pthread_mutex_destroy(&s->lock);
    free(s);
    *sp = NULL;
}

/* The user by root and name, made when absent; with a reference. Takes the location over. */
static struct store_user *
user_get(struct store *s, struct slice name, struct location *where)
{
    struct store_user *u;
    struct buf key = { 0 };

    buf_addf(&key, "%s\t%.*s", where->root, SL_ARG(name));
    pthread_mutex_lock(&s->lock);
    u = map_get(s->users, buf_slice(&key));
    if (u == NULL) {
        u = MEM_NEW(struct store_user);
        u->s = s;
        u->key = sl_dupz(buf_slice(&key));
        u->name = sl_dupz(name);
        u->loc = *where;
        u->root = u->loc.root;
        u->control_dir = u->loc.control;
        u->index_dir = u->loc.index;
        memset(where, 0, sizeof(*where));
        u->lock_fd = -1;
        pthread_mutex_init(&u->lock, NULL);
        pthread_mutex_init(&u->gate, NULL);
        pthread_mutex_init(&u->rows_lock, NULL);
        list_init(&u->shared);
        map_set(s->users, buf_slice(&key), u);
    }
    u->refs++;
    pthread_mutex_unlock(&s->lock);
    buf_free(&key);
    location_free(where);
    return u;
}

struct store_user *
user_ref(struct store_user *u)
{
    pthread_mutex_lock(&u->s->lock);
    u->refs++;
    pthread_mutex_unlock(&u->s->lock);
    return u;
}

void
store_user_close(struct store_user **up)
{
    struct store_user *u = *up;
    struct store *s;
    bool is_last;

    if (u == NULL)
        return;
    *up = NULL;
    s = u->s;
    pthread_mutex_lock(&s->lock);
    is_last = --u->refs == 0;
    if (is_last) {
        map_del(s->users, sl_z(u->key));
        if (list_is_linked(&u->open_link)) {
            list_remove(&u->open_link);
            s->n_open--;
        }
    }
    pthread_mutex_unlock(&s->lock);
    if (is_last)
        user_free(u);
}

/* Root, index, old server's UIDs, half-done work, folders that everybody has: once a handle. */
static int
prepare(struct store_user *u, struct err *e)
{
    if (u->is_prepared)
        return 0;
    if (dovecot_import(u, e) || record_recover(u, e) || folders_make_auto(u, e))
        return -1;
    folders_sweep(u);
    u->is_prepared = true;
    return 0;
}

int
user_open_bare(struct store *s, struct slice name, const struct store_userdb *db,
               struct store_user **out, struct err *e)
{
    struct location where;

    *out = NULL;
    if (location_resolve(s->conf, name, db == NULL ? sl_n(NULL, 0) : db->mail, &where, e))
        return -1;
    *out = user_get(s, name, &where);
    return 0;
}

/* His own quota rules. Wrong ones keep nobody out: mail is not let in. */
static void
take_rules(struct store_user *u, const struct store_userdb *db)
{
    struct quota_rules *rules = NULL;
    struct err e = { 0 };

    if (u->s->quota == NULL)
        return;
    if (quota_rules_over(u->s->quota->rules, db == NULL ? sl_n(NULL, 0) : db->quota, &rules, &e))
        log_error("quota.rules", LOG_F(LF_Z("user", u->name)), "user %s: %s", u->name, e.msg);
    pthread_mutex_lock(&u->lock);
    u->has_wrong_rules = rules == NULL;
    quota_rules_free(&u->rules);
    u->rules = rules;
    pthread_mutex_unlock(&u->lock);
}

int
store_user_open(struct store *s, struct slice name, const struct store_userdb *db,
                struct store_user **out, struct err *e)
{
    struct store_user *u;
    struct location where;
    int rc;

    *out = NULL;
    if (location_resolve(s->conf, name, db == NULL ? sl_n(NULL, 0) : db->mail, &where, e))
        return -1;
    u = user_get(s, name, &where);
    take_rules(u, db);
    rc = user_lock(u, e);
    if (rc == 0) {
        rc = prepare(u, e);
        user_unlock(u);
    }
    if (rc) {
        store_user_close(&u);
        return -1;
    }
    *out = u;
    return 0;
}

char
store_separator(const struct store_user *u)
{
    return u->loc.separator;
}

/* Close databases that were not used for longest until there is room; busy ones stay. store.lock held. */
static void
make_room(struct store *s)
{
    LIST_EACH(at, nxt, &s->open)
    {
        struct store_user *u = CONTAINER_OF(at, struct store_user, open_link);

        if (s->n_open < STORE_OPEN_MAX)
            return;
        if (pthread_mutex_trylock(&u->lock))
            continue;
        list_remove(&u->open_link);
        s->n_open--;
        index_close(u);
        pthread_mutex_unlock(&u->lock);
    }
}

/* The root, and the places beside it where there are any; all private. */
static int
make_places(struct store_user *u, struct err *e)
{
    if (maildir_make(u->root, false, e))
        return -1;
    if (strcmp(u->control_dir, u->root) != 0 && fs_mkdirs(u->control_dir, 0700, e))
        return -1;
    return strcmp(u->index_dir, u->root) != 0 ? fs_mkdirs(u->index_dir, 0700, e) : 0;
}

/* Whoever gives the lock up for others finds those who waited before it at the gate. */
static void
lock_user(struct store_user *u)
{
    atomic_fetch_add(&u->s->n_busy, 1);
    atomic_fetch_add(&u->n_waiting, 1);
    pthread_mutex_lock(&u->gate);
    pthread_mutex_lock(&u->lock);
    pthread_mutex_unlock(&u->gate);
    atomic_fetch_sub(&u->n_waiting, 1);
}

int
user_relock(struct store_user *u, struct err *e)
{
    struct stat st;
    bool must_ask;
    int rc = 0;

    lock_user(u);
    /* Somebody may have removed the index under us ("delete it and it is rebuilt"). */
    if (u->db != NULL) {
        char *path = path_join(u->index_dir, INDEX_FILE, NULL);

        if (stat(path, &st) ? errno == ENOENT : (uint64_t)st.st_ino != u->db_inode)
            index_close(u);
        free(path);
    }
    if (u->db == NULL) {
        reserve_keep(u->s->reserve);
        pthread_mutex_lock(&u->s->lock);
        make_room(u->s);
        pthread_mutex_unlock(&u->s->lock);
        if (make_places(u, e) || index_open(u, e))
            rc = -1;
        else
            quota_opened(u);
    } else {
        quota_locked(u);
    }
    if (rc)
        return -1;
    pthread_mutex_lock(&u->s->lock);
    if (list_is_linked(&u->open_link))
        list_remove(&u->open_link);
    else
        u->s->n_open++;
    list_push_back(&u->s->open, &u->open_link);
    u->used_ms = clock_mono_ms();
    must_ask = !atomic_exchange(&u->s->must_sweep, true);
    pthread_mutex_unlock(&u->s->lock);
    if (must_ask)
        loop_call_from_thread(sweep_ask, (void *)(uintptr_t)u->s->watcher_id);
    return 0;
}

int
user_lock(struct store_user *u, struct err *e)
{
    if (user_relock(u, e) == 0)
        return 0;
    user_unlock(u);
    return -1;
}

int
user_turn(struct store_user *u, struct err *e)
{
    if (atomic_load(&u->n_waiting) == 0)
        return 0;
    user_unlock(u);
    return user_relock(u, e);
}

void
user_unlock(struct store_user *u)
{
    struct store *s = u->s; /* user_free() may wait for the lock */

    index_mend(u);
    pthread_mutex_unlock(&u->lock);
    atomic_fetch_sub(&s->n_busy, 1);
}

static void
tell(struct store_user *u, enum store_event_kind kind, struct slice mailbox, struct slice more,
     const struct store_view *except)
{
    struct buf b = { 0 }, event = { 0 };

    buf_addf(&b, "%s\t%.*s", u->name, SL_ARG(mailbox));
    watcher_tell(u->s, buf_slice(&b), except, kind, more);
    buf_reset(&b);
    if (kind != STORE_EVENT_CHANGED)
        buf_addf(&event, "%c%.*s", NOTIFY_KINDS[kind], SL_ARG(more));
    notifier_add_event(u->s->notifier, &b, sl_z(u->name), mailbox, buf_slice(&event));
    notifier_send(u->s->notifier, &b);
    buf_free(&b);
    buf_free(&event);
}

void
user_tell(struct store_user *u, struct slice mailbox, const struct store_view *except)
{
    tell(u, STORE_EVENT_CHANGED, mailbox, SL(""), except);
}

void
user_tell_event(struct store_user *u, enum store_event_kind kind, struct slice mailbox,
                struct slice more)
{
    tell(u, kind, mailbox, more, NULL);
}
