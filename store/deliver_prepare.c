/* store/deliver_prepare.c - see deliver_int.h: what a delivery may need before its lane, on a pool's thread: a folder that
 * is not there, keywords' letters, a user who was never counted for quota. */
#include "store/deliver_int.h"
#include "store/store_int.h"

#include "base/log.h"
#include "core/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { COUNTS_MAX = 3 };

/* ---- the folder ---- */

/* 1, 0, or -1: it may be there. */
static int
folder_is(const struct deliver_job *j, struct err *e)
{
    char *cur = j->is_fs ? path_join(j->dir, "cur", NULL) : NULL;
    struct stat st;
    int rc = stat(cur == NULL ? j->dir : cur, &st);

    if (rc == 0)
        rc = 1;
    else
        rc = errno == ENOENT || errno == ENOTDIR ? 0 : err_sys(e, "cannot look at %s", j->dir);
    free(cur);
    return rc;
}

static int
make_folder(struct deliver_job *j, const struct location *where, struct err *e)
{
    struct names which = { 0 };
    struct err why = { 0 };

    if (maildir_make(j->dir, j->is_subfolder, e))
        return -1;
    if (!j->must_subscribe)
        return 0;
    names_add(&which, sl_z(j->mailbox));
    if (subscriptions_change(where, &which, true, &why))
        log_warn("store.subscribe", LOG_F(LF_Z("user", j->user)),
                 "user %s: cannot subscribe %s: %s", j->user, j->mailbox, why.msg);
    names_free(&which);
    return 0;
}

static int
settle_folder(struct deliver_job *j, const struct location *where, struct err *e)
{
    int rc = name_is_inbox(sl_z(j->mailbox)) ? 1 : folder_is(j, e);

    if (rc != 0)
        return rc < 0 ? -1 : 0;
    if (!j->no_create)
        return make_folder(j, where, e);
    return deliver_place(j, where, SL("INBOX"), e);
}

/* ---- keywords ---- */

/* Letters of those that have one, in a transaction. */
static int
take_letters(struct deliver_job *j, struct store_user *u, int64_t mailbox, struct err *e)
{
    for (size_t i = 0; i < j->n_keywords; i++) {
        struct err why = { 0 };
        int at = keywords_take(u, j->dir, mailbox, sl_z(j->keywords[i]), true, &why);

        if (at >= 0 && at < MAILDIR_KEYWORD_LETTERS) {
            j->letters |= 1u << at;
        } else if (at >= 0 || why.kind == ERR_LIMIT || why.kind == ERR_CLIENT) {
            log_info("store.keyword", LOG_F(LF_Z("user", j->user)),
                     "user %s: delivery to %s goes without keyword %s", j->user, j->mailbox,
                     j->keywords[i]);
        } else {
            *e = why;
            return -1;
        }
    }
    return 0;
}

static int
settle_keywords(struct deliver_job *j, struct err *e)
{
    struct store_userdb db = { sl_z(j->mail), sl_z(j->quota) };
    struct store_user *u;
    int64_t mailbox;
    int rc = -1;

    if (j->n_keywords == 0)
        return 0;
    if (store_user_open(j->m->d->store, sl_z(j->user), &db, &u, e))
        return -1;
    if (user_lock(u, e) == 0) {
        if (mbox_find(u, sl_z(j->mailbox), &mailbox, e) == 0 && index_begin(u, e) == 0) {
            rc = take_letters(j, u, mailbox, e);
            if (rc)
                index_rollback(u);
            else
                rc = index_commit(u, e);
        }
        user_unlock(u);
    }
    store_user_close(&u);
    return rc;
}

/* ---- the job ---- */

static int
count_user(struct deliver_job *j, struct err *e)
{
    struct store_userdb db = { sl_z(j->mail), sl_z(j->quota) };
    struct quota_usage usage;

    return j->must_count ? quota_usage(j->m->d->store, sl_z(j->user), &db, &usage, e) : 0;
}

static enum work_rc
run(struct work_job *w)
{
    struct deliver_job *j = CONTAINER_OF(w, struct deliver_job, prepare);
    struct location where;
    int rc = 0;

    if (j->must_prepare) {
        rc = location_resolve(j->m->d->conf, sl_z(j->user), sl_z(j->mail), &where, &j->err);
        if (rc == 0)
            rc = settle_folder(j, &where, &j->err) ? -1 : settle_keywords(j, &j->err);
        location_free(&where);
        j->must_prepare = false;
    }
    if (rc == 0)
        rc = count_user(j, &j->err);
    if (rc && j->err.kind != ERR_LIMIT)
        j->err.kind = ERR_TEMP; /* whatever it is, the mail is good */
    j->rc = rc;
    return WORK_DONE;
}

static void
done(struct work_job *w)
{
    struct deliver_job *j = CONTAINER_OF(w, struct deliver_job, prepare);
    struct list one;

    if (j->rc) {
        deliver_fail_later(j);
        return;
    }
    list_init(&one);
    list_push_back(&one, &j->link);
    lane_add(j->m->fd >= 0 ? &j->m->d->large : &j->m->d->small, &one);
}

void
deliver_prepare(struct deliver_job *j)
{
    j->prepare = (struct work_job){ .run = run, .done = done };
    if (j->m->d->prepare_pool != NULL && j->n_counts < COUNTS_MAX) {
        work_submit(j->m->d->prepare_pool, &j->prepare);
        return;
    }
    err_set(&j->err, ERR_TEMP, "usage of %s could not be found out", j->user);
    deliver_fail_later(j);
}

static void
count_again(void *arg)
{
    struct list *jobs = arg, *at;

    while ((at = list_pop_front(jobs)) != NULL) {
        struct deliver_job *j = deliver_job_of(at);

        j->must_count = true;
        j->n_counts++;
        deliver_prepare(j);
    }
    free(jobs);
}

void
deliver_count_from_thread(struct list *jobs)
{
    struct list *batch, *at;

    if (list_is_empty(jobs))
        return;
    batch = MEM_NEW(struct list);
    list_init(batch);
    while ((at = list_pop_front(jobs)) != NULL)
        list_push_back(batch, at);
    loop_call_from_thread(count_again, batch);
}
