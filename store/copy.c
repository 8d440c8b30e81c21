/* store/copy.c - COPY and MOVE: messages become items of a record, which links or renames their files, all or none. */
#include "store/store_int.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    COPY_YOUNG_S = 120, /* another program's file of that age may not be on disk yet */
    COPY_SYNC_EACH_MAX = 3,
    COPY_BATCH = 4096 /* rows read at a time */
};

struct copy {
    struct store_view *v;
    struct record r;
    struct msg_batch src; /* the messages as they are here */
    struct arena names;   /* of the items */
    struct buf to, to_dir;
    int kw_map
        [STORE_KEYWORDS_MAX]; /* keyword here -> keyword there; -1 not there, -2 not asked yet */
};

/* Keywords keep their names; one that the destination has no room for is lost, the message is not. In a transaction. */
static int
map_keywords(struct copy *c, uint64_t kw, uint64_t *out, struct err *e)
{
    *out = 0;
    for (size_t i = 0; i < c->v->keywords.n && kw >> i != 0; i++) {
        int *at = &c->kw_map[i];

        if (!(kw & UINT64_C(1) << i))
            continue;
        if (*at == -2) {
            struct err why = { 0 };

            *at = keywords_take(c->v->u, buf_z(&c->to_dir), c->r.to_id,
                                sl_z(c->v->keywords.name[i]), true, &why);
            if (*at < 0 && why.kind != ERR_LIMIT && why.kind != ERR_CLIENT) {
                *e = why;
                return -1;
            }
        }
        if (*at >= 0)
            *out |= UINT64_C(1) << *at;
    }
    return 0;
}

static int
make_item(struct copy *c, const struct msg_brief *m, int64_t now_s, struct record_item *it,
          struct err *e)
{
    char base[MAILDIR_NAME_MAX], file[MAILDIR_NAME_MAX], other[8];
    struct maildir_name name;
    struct store_flags flags = { .sys = m->flags.sys };

    if (map_keywords(c, m->flags.kw, &flags.kw, e))
        return -1;
    *it =
        (struct record_item){ .m = *m, .src_file = m->file, .src_dir = m->dir, .src_uid = m->uid };
    it->m.flags = flags;
    it->m.savedate_s = now_s;
    maildir_parse(m->file, &name);
    maildir_base(base, "", (uint64_t)m->size, m->crlf < 0 ? 0 : (uint64_t)m->crlf);
    if (m->crlf < 0) /* not known yet: no W= is better than a wrong one */
        *strstr(base, ",W=") = '\0';
    BUG_ON(!maildir_compose(file, sl_z(base), flags.sys,
                            (uint32_t)(flags.kw & ((1u << MAILDIR_KEYWORD_LETTERS) - 1)),
                            maildir_other_letters(name.info, other)));
    it->m.file = arena_dupz(&c->names, sl_z(file));
    return 0;
}

/* UIDs of the view's messages in the set; malloc'ed. */
static uint32_t *
list_uids(const struct store_view *v, const struct store_uids *set, size_t *n)
{
    uint32_t *uids = NULL;
    size_t cap = 0;

    *n = 0;
    for (size_t i = 0; i < set->n; i++)
        for (size_t at = view_at_least(v, set->v[i].first);
             !v->is_asleep && at < v->n && view_uid_at(v, at) <= set->v[i].last; at++) {
            uids = mem_grow(uids, &cap, *n + 1, sizeof(uids[0]));
            uids[(*n)++] = view_uid_at(v, at);
        }
    return uids;
}

/* The view's mailbox, and not another that was made in its place: its UIDs say which messages are meant. */
static int
check_source(const struct copy *c, struct err *e)
{
    const struct store_view *v = c->v;
    struct mbox mb;
    int rc = mbox_load_named(v->u, v->mailbox, sl_z(v->name), &mb, e);

    if (rc == 1 && mb.uidvalidity == v->uidvalidity)
        return 0;
    return rc < 0 ? -1 : err_set(e, ERR_PERM, "Mailbox was deleted");
}

/* The items, in a transaction since keywords may be made. */
static int
collect(struct copy *c, const struct store_uids *set, struct err *e)
{
    int64_t now_s = clock_unix_s();
    size_t n;
    uint32_t *uids = list_uids(c->v, set, &n);
    int rc = 0;

    msg_batch_reset(&c->src);
    arena_reset(&c->names);
    free(c->r.items);
    c->r.items = NULL;
    c->r.n = 0;
    for (size_t at = 0; rc == 0 && at < n; at += COPY_BATCH)
        rc = msg_batch_load(c->v->u, c->v->mailbox, uids + at,
                            n - at < COPY_BATCH ? n - at : COPY_BATCH, &c->src, e);
    free(uids);
    if (rc == 0 && c->src.n < n) /* some are gone, told to this view or not yet */
        rc = err_stale(e, "Some of the requested messages no longer exist.");
    if (rc == 0 && n > 0)
        c->r.items = mem_alloc(n * sizeof(c->r.items[0]));
    for (; rc == 0 && c->r.n < n; c->r.n++)
        rc = make_item(c, &c->src.v[c->r.n], now_s, &c->r.items[c->r.n], e);
    return rc;
}

static int
collect_in_tx(struct copy *c, const struct store_uids *set, struct err *e)
{
    int rc;

    if (index_begin(c->v->u, e))
        return -1;
    rc = check_source(c, e) ? -1 : collect(c, set, e);
    if (rc)
        index_rollback(c->v->u);
    else
        rc = index_commit(c->v->u, e);
    return rc;
}

static int
sync_one(const struct copy *c, const struct record_item *it, struct err *e)
{
    char *path = path_join(c->v->dir, it->src_dir == MAILDIR_NEW ? "new" : "cur", it->src_file);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), rc;

    if (fd < 0) {
        rc = errno == ENOENT ? 0 : err_sys(e, "cannot open %s", path); /* the record finds out */
    } else {
        rc = fs_sync_fd(fd, e);
        close(fd);
    }
    free(path);
    return rc;
}

/* Data of a file that appeared of late may be another program's and not on disk yet. One by one while they are few, else
 * the file system as a whole. */
static int
sync_young(const struct copy *c, struct err *e)
{
    int64_t now_s = clock_unix_s();
    size_t n_young = 0;
    int fd, rc = 0;

    for (size_t i = 0; rc == 0 && i < c->r.n && n_young <= COPY_SYNC_EACH_MAX; i++)
        if (now_s - c->src.v[i].savedate_s <= COPY_YOUNG_S && ++n_young <= COPY_SYNC_EACH_MAX)
            rc = sync_one(c, &c->r.items[i], e);
    if (rc || n_young <= COPY_SYNC_EACH_MAX)
        return rc;
    fd = open(c->v->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || syncfs(fd))
        rc = err_sys(e, "cannot sync %s", c->v->dir);
    if (fd >= 0)
        close(fd);
    return rc;
}

static int
try_once(struct copy *c, const struct store_uids *set, struct store_copied *out, struct err *e)
{
    c->r.n_lost = 0;
    /* Room is asked for before anything is done; in the end it is asked again. */
    if (collect_in_tx(c, set, e) || quota_record_room(&c->r, e) || sync_young(c, e))
        return -1;
    return record_commit(&c->r, &out->uidvalidity, e);
}

static int
copy_locked(struct copy *c, const struct store_uids *set, struct store_copied *out, struct err *e)
{
    struct store_view *v = c->v;
    struct mbox mb;
    int rc;

    if (record_recover(v->u, e) || mbox_find(v->u, buf_slice(&c->to), &c->r.to_id, e))
        return -1;
    rc = try_once(c, set, out, e);
    if (rc && c->r.n_lost > 0) { /* a foreign program renamed some: look where they are, once */
        rc = mbox_load_named(v->u, v->mailbox, sl_z(v->name), &mb, e);
        if (rc == 0)
            err_set(e, ERR_NOTFOUND, "Mailbox was deleted");
        if (rc != 1 || mbox_scan(v->u, sl_z(v->name), &mb, false, true, e))
            return -1;
        rc = try_once(c, set, out, e);
        if (rc && c->r.n_lost > 0)
            err_stale(e, "Some of the requested messages no longer exist.");
    }
    if (rc)
        return -1;
    out->from = mem_alloc(c->r.n * sizeof(out->from[0]) + 1);
    out->to = mem_alloc(c->r.n * sizeof(out->to[0]) + 1);
    for (out->n = 0; out->n < c->r.n; out->n++) {
        out->from[out->n] = c->r.items[out->n].src_uid;
        out->to[out->n] = c->r.items[out->n].m.uid;
    }
    return 0;
}

int
store_copy(struct store_view *v, const struct store_uids *uids, struct slice to, bool is_move,
           struct store_copied *out, struct err *e)
{
    struct copy c = { .v = v,
                      .r = { .u = v->u,
                             .how = is_move ? RECORD_MOVE : RECORD_COPY,
                             .from = sl_z(v->name),
                             .from_dir = v->dir,
                             .from_id = v->mailbox } };
    int rc = -1;

    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < STORE_KEYWORDS_MAX; i++)
        c.kw_map[i] = -2;
    if (is_move && v->is_readonly)
        return err_set(e, ERR_PERM, "Mailbox is read-only");
    if (name_normalise(&v->u->loc, to, &c.to, e) || mbox_dir(v->u, buf_slice(&c.to), &c.to_dir, e))
        goto out;
    if (quota_be_counted(v->u, e) || user_lock(v->u, e))
        goto out;
    c.r.to = buf_slice(&c.to);
    c.r.to_dir = buf_z(&c.to_dir);
    rc = copy_locked(&c, uids, out, e);
    if (rc && err_is_full(e))
        reserve_release(v->u->s->reserve);
    if (rc == 0 && out->n > 0) {
        user_tell(v->u, buf_slice(&c.to), NULL);
        if (is_move)
            user_tell(v->u, sl_z(v->name), v);
    }
    user_unlock(v->u);
out:
    free(c.r.items);
    msg_batch_free(&c.src);
    arena_free(&c.names);
    buf_free(&c.to);
    buf_free(&c.to_dir);
    return rc;
}

void
store_copied_free(struct store_copied *c)
{
    free(c->from);
    free(c->to);
    memset(c, 0, sizeof(*c));
}
