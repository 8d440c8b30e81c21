/* store/copy.c - COPY and MOVE: hard links in the destination's tmp/ (the data is durable already), then all or none. */
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

enum { COPY_BLOCK_OCTETS = 256 * 1024, COPY_YOUNG_S = 120, COPY_SYNC_EACH_MAX = 3 };

struct copy {
    struct store_view *v;
    struct record r;
    struct buf to, to_dir;
    size_t cap;
    int kw_map
        [STORE_KEYWORDS_MAX]; /* keyword here -> keyword there; -1 not there, -2 not asked yet */
    bool did_scan;
};

/* Where links cannot be made: the octets and the date, synced. */
static int
copy_octets(const char *from, const char *to, struct err *e)
{
    int in = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), out = -1, rc = -1;
    char *block = NULL;
    struct timespec times[2];
    struct stat st;
    ssize_t got;

    if (in < 0 || fstat(in, &st)) {
        err_sys(e, "cannot open %s", from);
        goto out;
    }
    out = open(to, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (out < 0) {
        err_sys(e, "cannot create %s", to);
        goto out;
    }
    block = mem_alloc(COPY_BLOCK_OCTETS);
    while ((got = read(in, block, COPY_BLOCK_OCTETS)) != 0) {
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            err_sys(e, "cannot read %s", from);
            goto out;
        }
        if (fs_write_all(out, sl_n(block, (size_t)got), e))
            goto out;
    }
    times[0] = times[1] = st.st_mtim;
    if (futimens(out, times))
        err_sys(e, "cannot set the date of %s", to);
    else
        rc = fs_sync_fd(out, e);
out:
    free(block);
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    if (rc)
        unlink(to);
    return rc;
}

/* 1 done, 0 the source is not there, -1 e. */
static int
link_file(const char *from, const char *to, struct err *e)
{
    if (link(from, to) == 0)
        return 1;
    if (errno == ENOENT)
        return access(from, F_OK) ? 0 : err_sys(e, "cannot link to %s", to);
    if (errno != EXDEV && errno != EMLINK && errno != EPERM)
        return err_sys(e, "cannot link to %s", to);
    return copy_octets(from, to, e) ? -1 : 1;
}

/* Keywords keep their names; one that the destination has no room for is lost, the message is not. In a transaction. */
static int
map_keywords(struct copy *c, uint64_t kw, uint64_t *out, struct err *e)
{
    *out = 0;
    for (size_t i = 0; i < c->v->keywords.n; i++) {
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

/* A message becomes an item: its row with a new name, not yet linked. 1, 0 gone, -1. */
static int
add_item(struct copy *c, uint32_t uid, struct err *e)
{
    struct record_item *it;
    struct maildir_name name;
    char base[MAILDIR_NAME_MAX], other[8];
    struct store_flags flags;
    struct msg_row m;
    int rc = msg_load(c->v->u, c->v->mailbox, uid, &m, e);

    if (rc < 1)
        return rc;
    c->r.items = mem_grow(c->r.items, &c->cap, c->r.n + 1, sizeof(c->r.items[0]));
    it = &c->r.items[c->r.n];
    memset(it, 0, sizeof(*it));
    it->src_mailbox = c->v->mailbox;
    it->src_uid = uid;
    memcpy(it->src_file, m.file, sizeof(m.file));
    it->row = m;
    flags.sys = m.flags.sys;
    if (map_keywords(c, m.flags.kw, &flags.kw, e))
        return -1;
    it->row.flags = flags;
    it->row.savedate_s = clock_unix_s();
    maildir_parse(m.file, &name);
    maildir_base(base, "", (uint64_t)m.size, m.crlf < 0 ? 0 : (uint64_t)m.crlf);
    if (m.crlf < 0) /* not known yet: no W= is better than a wrong one */
        *strstr(base, ",W=") = '\0';
    memcpy(it->tmp, base, sizeof(base));
    BUG_ON(!maildir_compose(it->row.file, sl_z(base), flags.sys,
                            (uint32_t)(flags.kw & ((1u << MAILDIR_KEYWORD_LETTERS) - 1)),
                            maildir_other_letters(name.info, other)));
    c->r.n++;
    return 1;
}

static int
collect(struct copy *c, const struct store_uids *uids, struct err *e)
{
    struct store_view *v = c->v;

    for (size_t i = 0; i < uids->n; i++)
        for (size_t at = view_at_least(v, uids->v[i].first);
             at < v->n && !v->is_asleep && view_uid_at(v, at) <= uids->v[i].last; at++) {
            int rc = view_gone_at(v, at) ? 0 : add_item(c, view_uid_at(v, at), e);

            if (rc < 0)
                return -1;
            if (rc == 0)
                return err_set(e, ERR_PERM, "Some of the requested messages no longer exist.");
        }
    return 0;
}

static void
unlink_tmp(struct copy *c, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char *path = path_join(buf_z(&c->to_dir), "tmp", c->r.items[i].tmp);

        unlink(path);
        free(path);
    }
}

static char *
source_path(const struct copy *c, size_t i)
{
    const struct record_item *it = &c->r.items[i];

    return path_join(c->v->dir, it->row.dir == MAILDIR_NEW ? "new" : "cur", it->src_file);
}

static int
sync_one(const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), rc;

    if (fd < 0)
        return errno == ENOENT ? 0 : err_sys(e, "cannot open %s", path); /* link_all() finds out */
    rc = fs_sync_fd(fd, e);
    close(fd);
    return rc;
}

/* Data of a file that appeared or changed of late may be another program's and not on disk yet. One by one while they are
 * few, else the file system as a whole. */
static int
sync_young(const struct copy *c, struct err *e)
{
    int64_t now_s = clock_unix_s();
    size_t n_young = 0;
    int fd, rc = 0;

    for (size_t i = 0; rc == 0 && i < c->r.n && n_young <= COPY_SYNC_EACH_MAX; i++) {
        char *path = source_path(c, i);
        struct stat st;

        if (lstat(path, &st) == 0 && now_s - st.st_ctim.tv_sec <= COPY_YOUNG_S &&
            ++n_young <= COPY_SYNC_EACH_MAX)
            rc = sync_one(path, e);
        free(path);
    }
    if (rc || n_young <= COPY_SYNC_EACH_MAX)
        return rc;
    fd = open(c->v->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || syncfs(fd))
        rc = err_sys(e, "cannot sync %s", c->v->dir);
    if (fd >= 0)
        close(fd);
    return rc;
}

/* 1 all linked, 0 a source is not where the index has it (nothing is linked then), -1 e. */
static int
link_all(struct copy *c, struct err *e)
{
    if (sync_young(c, e))
        return -1;
    for (size_t i = 0; i < c->r.n; i++) {
        char *from = source_path(c, i);
        char *to = path_join(buf_z(&c->to_dir), "tmp", c->r.items[i].tmp);
        int rc = link_file(from, to, e);

        free(from);
        free(to);
        if (rc < 1) {
            unlink_tmp(c, i);
            return rc;
        }
    }
    return 1;
}

/* Rows and new names, in a transaction since keywords may be made; scans first when sources were not found. */
static int
prepare(struct copy *c, const struct store_uids *uids, bool must_scan, struct err *e)
{
    struct mbox mb;
    int rc = 0;

    c->r.n = 0;
    if (index_begin(c->v->u, e))
        return -1;
    if (must_scan) {
        rc = mbox_load(c->v->u, c->v->mailbox, &mb, e);
        if (rc == 0)
            rc = err_set(e, ERR_NOTFOUND, "Mailbox was deleted");
        if (rc == 1)
            rc = mbox_scan_in_tx(c->v->u, c->v->dir, &mb, !c->v->is_readonly, true, NULL, e);
        if (rc == 0)
            rc = mbox_save(c->v->u, &mb, e);
    }
    if (rc == 0)
        rc = collect(c, uids, e);
    if (rc)
        index_rollback(c->v->u);
    else
        rc = index_commit(c->v->u, e);
    return rc;
}

/* Only a file in cur/ can be a move's source; what is in new/ is taken first. */
static bool
has_new(const struct copy *c)
{
    for (size_t i = 0; i < c->r.n; i++)
        if (c->r.items[i].row.dir == MAILDIR_NEW)
            return true;
    return false;
}

static int
copy_locked(struct copy *c, const struct store_uids *uids, bool is_move, struct store_copied *out,
            struct err *e)
{
    int rc;

    if (mbox_find(c->v->u, buf_slice(&c->to), &c->r.to_id, e) || prepare(c, uids, false, e))
        return -1;
    if (is_move && has_new(c) && prepare(c, uids, true, e))
        return -1;
    c->r.u = c->v->u;
    c->r.to = buf_slice(&c->to);
    c->r.to_dir = buf_z(&c->to_dir);
    if (is_move) {
        c->r.from = sl_z(c->v->name);
        c->r.from_dir = c->v->dir;
        c->r.from_id = c->v->mailbox;
    }
    if (quota_record_room(&c->r, e)) /* before anything is linked; in the end it is asked again */
        return -1;
    rc = link_all(c, e);
    if (rc == 0) {
        if (prepare(c, uids, true, e))
            return -1;
        rc = link_all(c, e);
    }
    if (rc < 1)
        return rc < 0 ? -1
                      : err_set(e, ERR_PERM, "Some of the requested messages no longer exist.");
    if (record_commit(&c->r, &out->uidvalidity, e))
        return -1;
    out->from = mem_alloc(c->r.n * sizeof(out->from[0]) + 1);
    out->to = mem_alloc(c->r.n * sizeof(out->to[0]) + 1);
    for (out->n = 0; out->n < c->r.n; out->n++) {
        out->from[out->n] = c->r.items[out->n].src_uid;
        out->to[out->n] = c->r.items[out->n].row.uid;
    }
    return 0;
}

int
store_copy(struct store_view *v, const struct store_uids *uids, struct slice to, bool is_move,
           struct store_copied *out, struct err *e)
{
    struct copy c = { .v = v };
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
    rc = copy_locked(&c, uids, is_move, out, e);
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
