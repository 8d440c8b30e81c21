/* oauth/keys.c - see keys.h. A file that has become unreadable or nonsense changes nothing but the log: whoever replaces it
 * may be in the middle of that, and the old keys were good. */
#include "oauth/keys.h"

#include "base/log.h"
#include "base/mem.h"
#include "core/loop.h"
#include "core/work.h"

#include <stdlib.h>
#include <sys/stat.h>

struct stamp {
    bool is_there;
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec mtime, ctime;
};

struct look {
    struct work_job job;
    struct keys *keys;
    char *path;
    struct stamp before, now;
    struct jwks *found; /* NULL: the same as before, or failure */
    struct err e;
    bool is_changed;
};

struct keys {
    void (*on_ready)(void);
    struct work_pool *pool;
    char *path;
    struct look *look; /* under way for this path, or NULL */
    struct stamp stamp;
    struct jwks *jwks;
    struct err why;
    bool was_looked;
    uint64_t looked_ms;
};

static bool
is_same(const struct stamp *a, const struct stamp *b)
{
    if (!a->is_there || !b->is_there)
        return a->is_there == b->is_there;
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
           a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec &&
           a->ctime.tv_sec == b->ctime.tv_sec && a->ctime.tv_nsec == b->ctime.tv_nsec;
}

static enum work_rc
run(struct work_job *j)
{
    struct look *l = CONTAINER_OF(j, struct look, job);
    struct stat st;

    if (stat(l->path, &st) == 0)
        l->now = (struct stamp){ true, st.st_dev, st.st_ino, st.st_size, st.st_mtim, st.st_ctim };
    l->is_changed = !l->now.is_there || !is_same(&l->before, &l->now);
    if (l->is_changed)
        jwks_read(l->path, &l->found, &l->e);
    return WORK_DONE;
}

static void
tell(const struct keys *k, const struct look *l)
{
    bool is_news = !k->was_looked || !is_same(&k->stamp, &l->now);

    if (l->found && jwks_has_secret(l->found))
        log_warn("oauth.keys.secret", LOG_F(LF_Z("path", l->path)),
                 "%s has secret keys in it; only public ones belong there", l->path);
    if (l->found)
        log_info("oauth.keys", LOG_F(LF_Z("path", l->path), LF_N("keys", jwks_count(l->found))),
                 "%zu keys from %s", jwks_count(l->found), l->path);
    else if (is_news)
        log_error("oauth.keys.bad", LOG_F(LF_Z("path", l->path), LF_Z("why", l->e.msg)),
                  "oauth2_jwks_file: %s%s", l->e.msg, k->jwks ? "; the keys of before hold" : "");
}

static void
look_free(struct look *l)
{
    jwks_free(&l->found);
    free(l->path);
    free(l);
}

static void
done(struct work_job *j)
{
    struct look *l = CONTAINER_OF(j, struct look, job);
    struct keys *k = l->keys;

    if (k->look != l) { /* of a file that is no more asked for */
        look_free(l);
        return;
    }
    k->look = NULL;
    k->looked_ms = loop_now_ms();
    if (l->is_changed) {
        tell(k, l);
        if (l->found) {
            jwks_free(&k->jwks);
            k->jwks = l->found;
            l->found = NULL;
        } else {
            k->why = l->e;
        }
    }
    k->was_looked = true;
    k->stamp = l->now;
    look_free(l);
    k->on_ready();
}

struct keys *
keys_new(void (*on_ready)(void))
{
    struct keys *k = MEM_NEW(struct keys);

    k->on_ready = on_ready;
    k->pool = work_pool_new("keys", 1, 0);
    k->path = mem_dupz("");
    err_set(&k->why, ERR_CONFIG, "there is none");
    return k;
}

void
keys_set(struct keys *k, const char *path)
{
    k->was_looked = false;
    k->looked_ms = 0;
    k->look = NULL;
    if (strcmp(path, k->path) == 0)
        return;
    free(k->path);
    k->path = mem_dupz(path);
    k->stamp = (struct stamp){ 0 };
    jwks_free(&k->jwks);
    err_set(&k->why, ERR_CONFIG, "there is none");
}

bool
keys_are_ready(struct keys *k)
{
    struct look *l;

    if (k->path[0] == '\0' ||
        (k->look == NULL && k->was_looked && loop_now_ms() - k->looked_ms < KEYS_POLL_MS))
        return true;
    if (k->look)
        return false;
    l = MEM_NEW(struct look);
    l->job.run = run;
    l->job.done = done;
    l->keys = k;
    l->path = mem_dupz(k->path);
    l->before = k->jwks ? k->stamp : (struct stamp){ 0 };
    k->look = l;
    work_submit(k->pool, &l->job);
    return false;
}

const struct jwks *
keys_now(const struct keys *k, const char **why)
{
    *why = k->why.msg;
    return k->jwks;
}
