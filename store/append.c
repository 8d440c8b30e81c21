/* store/append.c - APPEND: messages written to tmp/ as their octets come, then brought in all or none. */
#include "store/store_int.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    APPEND_BLOCK_OCTETS = 64 * 1024,
    APPEND_SYNC_EACH_MAX = 8 /* messages; those beyond go to disk together */
};

struct store_append {
    struct store_user *u;
    char *mailbox, *dir;
    int64_t id;
    struct record_item *items;
    size_t n, cap;
    struct arena names; /* of the items */
    /* REPLACE: the message that goes */
    char *old_mailbox, *old_dir; /* NULL: none */
    int64_t old_id, old_octets;
    uint32_t old_uid;
    int sync_fd; /* of their file system, since before the first of those was written; -1: there are none */
    /* the message being written */
    int fd;
    bool cr;
    struct buf block;
    uint64_t size, crlf;
    int64_t expected; /* octets, of all messages announced */
};

/* Everything at once, so that nothing is on disk when the mailbox is not there. */
int
store_append_begin(struct store_user *u, struct slice mailbox, struct store_append **out,
                   struct err *e)
{
    struct store_append *a;
    struct buf normal = { 0 }, dir = { 0 };
    int64_t id;
    int rc = -1;

    *out = NULL;
    if (name_normalise(&u->loc, mailbox, &normal, e) || mbox_dir(u, buf_slice(&normal), &dir, e))
        goto out;
    if (quota_be_counted(u, e) || user_lock(u, e))
        goto out;
    rc = mbox_find(u, buf_slice(&normal), &id, e);
    user_unlock(u);
    if (rc)
        goto out;
    a = MEM_NEW(struct store_append);
    a->u = user_ref(u);
    a->mailbox = mem_dupz(buf_z(&normal));
    a->dir = mem_dupz(buf_z(&dir));
    a->id = id;
    a->fd = a->sync_fd = -1;
    *out = a;
out:
    buf_free(&normal);
    buf_free(&dir);
    return rc;
}

static int
flush(struct store_append *a, struct err *e)
{
    int rc = fs_write_all(a->fd, buf_slice(&a->block), e);

    if (rc && err_is_full(e))
        reserve_release(a->u->s->reserve);
    buf_reset(&a->block);
    return rc;
}

/* Sizes, date, name; on disk, or so when all of them go there. */
int
store_append_end(struct store_append *a, struct err *e)
{
    struct record_item *it;
    char base[MAILDIR_NAME_MAX], file[MAILDIR_NAME_MAX];
    struct timespec times[2];
    size_t was = a->block.n;
    int rc;

    if (a->fd < 0)
        return 0;
    it = &a->items[a->n - 1];
    maildir_lf_end(&a->block, &a->cr, &a->crlf);
    a->size += a->block.n - was;
    it->m.size = (int64_t)a->size;
    it->m.crlf = (int64_t)a->crlf;
    maildir_base(base, "", a->size, a->crlf);
    BUG_ON(!maildir_compose(file, sl_z(base), it->m.flags.sys,
                            (uint32_t)(it->m.flags.kw & ((1u << MAILDIR_KEYWORD_LETTERS) - 1)),
                            sl_n(NULL, 0)));
    it->m.file = arena_dupz(&a->names, sl_z(file));
    times[0] = times[1] = (struct timespec){ .tv_sec = it->m.date_s };
    rc = flush(a, e);
    if (rc == 0 &&
        futimens(a->fd, times)) /* the date of a message is its file's: it outlives the index */
        rc = err_sys(e, "cannot set the date of a message");
    if (rc == 0 && a->sync_fd < 0)
        rc = fs_sync_fd(a->fd, e);
    close(a->fd);
    a->fd = -1;
    return rc;
}

/* All that was announced, of which the message that goes gives its room. */
static int
append_room(struct store_append *a, int64_t least, struct err *e)
{
    int64_t octets = a->expected, messages = (int64_t)a->n + (a->fd < 0 ? 1 : 0);

    if (a->old_dir != NULL && quota_counts(a->u, sl_z(a->old_mailbox))) {
        octets = octets > a->old_octets ? octets - a->old_octets : 0;
        messages = messages > 1 ? messages - 1 : 0;
    }
    return quota_room(a->u, sl_z(a->mailbox), octets, messages, least, e);
}

/* Stored with LF line ends a message may be half as long: what then would not fit either is not asked for. The rest is
 * judged when it is there. */
int
store_append_expect(struct store_append *a, uint64_t octets, struct err *e)
{
    int64_t least = (int64_t)(octets < INT64_MAX ? octets / 2 : INT64_MAX / 2);
    int rc;

    if (a->u->s->quota == NULL)
        return 0;
    if (user_lock(a->u, e))
        return -1;
    a->expected = a->expected > INT64_MAX / 2 - least ? INT64_MAX / 2 : a->expected + least;
    rc = append_room(a, least, e);
    user_unlock(a->u);
    return rc;
}

static int
too_many(struct err *e)
{
    err_set(e, ERR_LIMIT, "Too many messages in one APPEND");
    if (e)
        e->sys = E2BIG; /* no quota is at fault */
    return -1;
}

int
store_append_msg(struct store_append *a, uint32_t sys_flags, const char *const *keywords,
                 size_t n_keywords, int64_t internaldate_unix_s, int16_t tz_minutes, struct err *e)
{
    struct record_item *it;
    struct mbox mb;
    char tmp[MAILDIR_NAME_MAX], *path;
    int rc = 0;

    if (store_append_end(a, e) || reserve_check(a->u->s->reserve, e))
        return -1;
    if (a->n == STORE_APPEND_MAX)
        return too_many(e);
    a->items = mem_grow(a->items, &a->cap, a->n + 1, sizeof(a->items[0]));
    it = &a->items[a->n];
    memset(it, 0, sizeof(*it));
    it->m.flags.sys =
        sys_flags & (STORE_SEEN | STORE_ANSWERED | STORE_FLAGGED | STORE_DELETED | STORE_DRAFT);
    it->m.savedate_s = clock_unix_s();
    it->m.date_s = internaldate_unix_s != 0 ? internaldate_unix_s : it->m.savedate_s;
    it->m.tz_minutes = internaldate_unix_s != 0 ? tz_minutes : TZ_LOCAL;
    it->m.email = msg_new_object_id();
    if (n_keywords > 0) {
        if (user_lock(a->u, e))
            return -1;
        rc = index_begin(a->u, e);
        if (rc == 0) {
            rc = mbox_load_named(a->u, a->id, sl_z(a->mailbox), &mb, e);
            for (size_t i = 0; rc == 1 && i < n_keywords; i++) {
                int at = keywords_take(a->u, a->dir, a->id, sl_z(keywords[i]), true, e);

                if (at < 0)
                    rc = -1;
                else
                    it->m.flags.kw |= UINT64_C(1) << at;
            }
            if (rc == 1)
                rc = index_commit(a->u, e);
            else {
                index_rollback(a->u);
                if (rc == 0)
                    rc = err_set(e, ERR_NOTFOUND, "Mailbox doesn't exist: %s", a->mailbox);
            }
        }
        user_unlock(a->u);
        if (rc)
            return -1;
    }
    if (a->n >= APPEND_SYNC_EACH_MAX && a->sync_fd < 0) /* where that fails, each by itself */
        a->sync_fd = open(a->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    maildir_base(tmp, "", 0, 0);
    it->src_file = arena_dupz(&a->names, sl_z(tmp));
    path = path_join(a->dir, "tmp", tmp);
    a->fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (a->fd < 0 && errno == ENOENT && maildir_make(a->dir, folder_has_mark(a->u, a->dir), e) == 0)
        a->fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (a->fd < 0) {
        rc = err_sys(e, "cannot create %s", path);
        if (err_is_full(e))
            reserve_release(a->u->s->reserve);
    } else {
        a->n++;
        a->cr = false;
        a->size = a->crlf = 0;
    }
    free(path);
    return rc;
}

int
store_append_octets(struct store_append *a, struct slice s, struct err *e)
{
    BUG_ON(a->fd < 0);
    while (s.n > 0) {
        struct slice part = sl_head(s, APPEND_BLOCK_OCTETS);
        size_t was = a->block.n;

        maildir_lf(&a->block, part, &a->cr, &a->crlf);
        a->size += a->block.n - was;
        s = sl_from(s, part.n);
        if (a->block.n >= APPEND_BLOCK_OCTETS && flush(a, e))
            return -1;
    }
    return 0;
}

static void
append_free(struct store_append *a)
{
    if (a->fd >= 0)
        close(a->fd);
    if (a->sync_fd >= 0)
        close(a->sync_fd);
    buf_free(&a->block);
    arena_free(&a->names);
    free(a->items);
    free(a->mailbox);
    free(a->dir);
    free(a->old_mailbox);
    free(a->old_dir);
    store_user_close(&a->u);
    free(a);
}

static void
drop_tmp(const struct store_append *a)
{
    for (size_t i = 0; i < a->n; i++) {
        char *path = path_join(a->dir, "tmp", a->items[i].src_file);

        unlink(path);
        free(path);
    }
}

void
store_append_abort(struct store_append **ap)
{
    struct store_append *a = *ap;

    if (a == NULL)
        return;
    *ap = NULL;
    drop_tmp(a);
    append_free(a);
}

/* ---- in place of another ---- */

int
store_append_replace(struct store_append *a, struct store_view *v, uint32_t uid, struct err *e)
{
    struct msg_row m;
    int rc;

    if (v->is_readonly)
        return err_set(e, ERR_PERM, "Mailbox is read-only");
    if (user_lock(a->u, e))
        return -1;
    rc = msg_load(a->u, v->mailbox, uid, &m, e);
    user_unlock(a->u);
    if (rc < 1)
        return rc < 0 ? -1 : err_set(e, ERR_NOTFOUND, "The message is gone");
    a->old_mailbox = mem_dupz(v->name);
    a->old_dir = mem_dupz(v->dir);
    a->old_id = v->mailbox;
    a->old_uid = uid;
    a->old_octets = m.size;
    return 0;
}

/* Where a foreign program gave the old message's file another name, it is looked for once. */
static int
commit_replace(struct store_append *a, struct record *r, uint32_t *uidvalidity, struct err *e)
{
    struct mbox mb;
    int rc;

    r->how = RECORD_REPLACE;
    r->from = sl_z(a->old_mailbox);
    r->from_dir = a->old_dir;
    r->from_id = a->old_id;
    r->items[0].src_uid = a->old_uid;
    for (int tries = 0;; tries++) {
        struct err why = { 0 };

        if (record_recover(a->u, e))
            break;
        rc = record_commit(r, uidvalidity, &why);
        if (rc == 0)
            return 0;
        *e = why;
        if (r->n_lost == 0 || tries > 0)
            break;
        rc = mbox_load_named(a->u, r->from_id, r->from, &mb, e);
        if (rc == 1)
            rc = mbox_scan(a->u, r->from, &mb, false, true, e);
        if (rc < 0)
            break;
    }
    drop_tmp(a);
    return -1;
}

static int
sync_together(struct store_append *a, struct err *e)
{
    return a->sync_fd >= 0 && syncfs(a->sync_fd) ? err_sys(e, "cannot sync %s", a->dir) : 0;
}

int
store_append_commit(struct store_append **ap, uint32_t *uidvalidity, uint32_t **uids, size_t *n,
                    struct err *e)
{
    struct store_append *a = *ap;
    struct record r;
    int rc;

    *uids = NULL;
    *n = 0;
    if (store_append_end(a, e) || sync_together(a, e) || user_lock(a->u, e)) {
        store_append_abort(ap);
        return -1;
    }
    *ap = NULL;
    r = (struct record){ .u = a->u,
                         .how = RECORD_APPEND,
                         .to = sl_z(a->mailbox),
                         .to_dir = a->dir,
                         .to_id = a->id,
                         .items = a->items,
                         .n = a->n };
    rc = a->old_dir != NULL ? commit_replace(a, &r, uidvalidity, e)
                            : record_commit(&r, uidvalidity, e);
    user_unlock(a->u);
    if (rc == 0) {
        *uids = mem_alloc(a->n * sizeof((*uids)[0]) + 1);
        for (*n = 0; *n < a->n; ++*n)
            (*uids)[*n] = a->items[*n].m.uid;
        user_tell(a->u, sl_z(a->mailbox), NULL);
        if (a->old_dir != NULL)
            user_tell(a->u, sl_z(a->old_mailbox), NULL);
        fill_ask(a->u, sl_z(a->mailbox), (*uids)[0]);
    }
    append_free(a);
    return rc;
}
