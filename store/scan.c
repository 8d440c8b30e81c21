/* store/scan.c - the index brought in line with new/ and cur/, whoever changed them.
 *
 * A folder whose mtime is the recorded one was not changed. An mtime within the last tick of the file system's clock
 * proves nothing, as the next change may get the same: then nothing is recorded and the next sync scans again. */
#include "store/store_int.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SCAN_TRIES = 5,              /* passes over a folder that changes while it is read */
    SCAN_TICK_NS = 20 * 1000000, /* a kernel's clock tick, and then some */
    SCAN_TMP_AGE_S = 36 * 3600,
    SCAN_SUSPECT_MS = 5000,
    SCAN_COST_FACTOR = 100 /* scans on suspicion take at most a hundredth of the time */
};

struct srow { /* a message the index knows */
    uint32_t uid;
    int dir;
    const char *file;
    struct store_flags flags;
    const char *seen; /* the name on disk, or NULL */
    int seen_dir;
};

struct cand { /* a file the index does not know */
    const char *file;
    int dir;
};

struct scan {
    struct store_user *u;
    const char *dir;
    struct mbox *mb;
    struct arena mem;
    struct srow *rows;
    size_t n_rows, cap_rows;
    uint32_t *slots; /* base name -> row + 1, open addressing */
    size_t mask;
    struct cand *cands;
    size_t n_cands, cap_cands;
    struct map *pending, *hints;
    uint64_t letters; /* keyword letters met */
    size_t n_unseen;
    bool is_still; /* no folder changed while it was read: what was not met is not there */
};

static struct slice
base_of(const char *file)
{
    struct slice s = sl_z(file);

    return sl_head(s, sl_find_char(s, ':'));
}

/* ---- what the index knows ---- */

static int
load_rows(struct scan *c, bool only_new, struct err *e)
{
    struct db_stmt *s;
    int rc;

    c->n_rows = 0;
    if (db_prepare(c->u->db,
                   only_new ? "SELECT uid, dir, file, flags, kw FROM messages INDEXED BY "
                              "messages_new WHERE mailbox = ? AND dir = 0"
                            : "SELECT uid, dir, file, flags, kw FROM messages WHERE mailbox = ?",
                   &s, e))
        return -1;
    db_bind_int(s, 1, c->mb->id);
    while ((rc = db_step(s, e)) == 1) {
        c->rows = mem_grow(c->rows, &c->cap_rows, c->n_rows + 1, sizeof(c->rows[0]));
        c->rows[c->n_rows++] = (struct srow){
            .uid = (uint32_t)db_int(s, 0),
            .dir = (int)db_int(s, 1),
            .file = arena_dupz(&c->mem, db_text(s, 2)),
            .flags = { .sys = (uint32_t)db_int(s, 3), .kw = (uint64_t)db_int(s, 4) },
        };
    }
    return rc;
}

static void
hash_rows(struct scan *c)
{
    size_t size = 16;

    while (size < c->n_rows * 2)
        size *= 2;
    free(c->slots);
    c->slots = mem_zalloc(size * sizeof(c->slots[0]));
    c->mask = size - 1;
    for (size_t i = 0; i < c->n_rows; i++) {
        size_t at = sl_hash(base_of(c->rows[i].file)) & c->mask;

        while (c->slots[at] != 0)
            at = (at + 1) & c->mask;
        c->slots[at] = (uint32_t)(i + 1);
    }
}

static struct srow *
find_row(struct scan *c, struct slice base)
{
    size_t at = sl_hash(base) & c->mask;

    for (; c->slots[at] != 0; at = (at + 1) & c->mask)
        if (sl_eq(base_of(c->rows[c->slots[at] - 1].file), base))
            return &c->rows[c->slots[at] - 1];
    return NULL;
}

/* Names of an APPEND or COPY under way: their UIDs are given already. */
static int
load_pending(struct scan *c, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(c->u->db, "SELECT file FROM pending WHERE mailbox = ?", &s, e))
        return -1;
    db_bind_int(s, 1, c->mb->id);
    while ((rc = db_step(s, e)) == 1) {
        struct slice file = db_text(s, 0);

        if (c->pending == NULL)
            c->pending = map_new();
        map_set(c->pending, sl_head(file, sl_find_char(file, ':')), c);
    }
    return rc;
}

/* ---- what the disk has ---- */

static const char *
part_of(int dir)
{
    return dir == MAILDIR_NEW ? "new" : "cur";
}

/* Two names of one base. Often one is the other's past: a rename while the folder was read. A real second message gets
 * a base name of its own. */
static void
settle_twin(struct scan *c, struct srow *r, const char *file, int dir)
{
    char *a = path_join(c->dir, part_of(r->seen_dir), r->seen),
         *b = path_join(c->dir, part_of(dir), file);
    struct stat sa, sb;

    if (lstat(b, &sb)) {
        ; /* the second is gone */
    } else if (lstat(a, &sa)) {
        r->seen = arena_dupz(&c->mem, sl_z(file));
        r->seen_dir = dir;
    } else if (sa.st_ino != sb.st_ino) {
        char fresh[MAILDIR_NAME_MAX], *to;
        struct maildir_name name;
        struct buf full = { 0 };

        maildir_parse(file, &name);
        maildir_base(fresh, "", (uint64_t)sb.st_size, name.crlf);
        if (name.crlf == UINT64_MAX)
            *strstr(fresh, ",W=") = '\0';
        buf_addf(&full, "%s%s%.*s", fresh, name.has_info ? ":2," : "", SL_ARG(name.info));
        to = path_join(c->dir, part_of(dir), buf_z(&full));
        if (rename(b, to) == 0) {
            c->cands = mem_grow(c->cands, &c->cap_cands, c->n_cands + 1, sizeof(c->cands[0]));
            c->cands[c->n_cands++] = (struct cand){ arena_dupz(&c->mem, buf_slice(&full)), dir };
        }
        free(to);
        buf_free(&full);
    }
    free(a);
    free(b);
}

static void
meet(struct scan *c, const char *file, int dir)
{
    struct maildir_name name;
    struct srow *r;

    if (!maildir_parse(file, &name))
        return;
    r = find_row(c, name.base);
    if (r == NULL) {
        if (c->pending != NULL && map_get(c->pending, name.base) != NULL)
            return;
        c->cands = mem_grow(c->cands, &c->cap_cands, c->n_cands + 1, sizeof(c->cands[0]));
        c->cands[c->n_cands++] = (struct cand){ arena_dupz(&c->mem, sl_z(file)), dir };
    } else if (r->seen != NULL) {
        settle_twin(c, r, file, dir);
    } else {
        r->seen_dir = dir;
        r->seen =
            dir == r->dir && strcmp(file, r->file) == 0 ? r->file : arena_dupz(&c->mem, sl_z(file));
        c->n_unseen--;
    }
}

static int
read_part(struct scan *c, int dir, struct err *e)
{
    char *path = path_join(c->dir, part_of(dir), NULL);
    DIR *d = opendir(path);
    struct dirent *ent;
    struct stat st;
    int rc = 0;

    /* A folder that is not there at all was renamed or deleted by another process: nothing is known of its messages. */
    if (d == NULL && errno == ENOENT && stat(c->dir, &st) == 0 &&
        maildir_make(c->dir, true, NULL) == 0)
        d = opendir(path);
    if (d == NULL) {
        rc = err_sys(e, "cannot open folder %s", path);
        free(path);
        return rc;
    }
    while ((errno = 0, ent = readdir(d)) != NULL)
        if (ent->d_name[0] != '.' && ent->d_type != DT_DIR)
            meet(c, ent->d_name, dir);
    if (errno != 0)
        rc = err_sys(e, "cannot read folder %s", path);
    closedir(d);
    free(path);
    return rc;
}

/* ---- differences into the index ---- */

static int
update_row(struct scan *c, const struct srow *r, struct err *e)
{
    const uint64_t mask = (UINT64_C(1) << MAILDIR_KEYWORD_LETTERS) - 1;
    struct maildir_name name;
    struct store_flags flags;
    struct db_stmt *s;
    bool is_changed;

    if (r->seen == r->file && r->seen_dir == r->dir)
        return 0;
    maildir_parse(r->seen, &name);
    flags.sys = name.sys;
    flags.kw = (r->flags.kw & ~mask) | name.kw;
    if (!name.has_info && r->seen_dir == MAILDIR_NEW)
        flags = r->flags;
    c->letters |= name.kw;
    is_changed = flags.sys != r->flags.sys || flags.kw != r->flags.kw;
    mbox_count_flags(c->mb, r->flags, flags);
    if (db_prepare(
            c->u->db,
            "UPDATE messages SET dir = ?1, file = ?2, flags = ?3, kw = ?4,"
            " modseq = CASE WHEN ?5 > 0 THEN ?5 ELSE modseq END WHERE mailbox = ?6 AND uid = ?7",
            &s, e))
        return -1;
    db_bind_int(s, 1, r->seen_dir);
    db_bind_text(s, 2, sl_z(r->seen));
    db_bind_int(s, 3, flags.sys);
    db_bind_int(s, 4, (int64_t)flags.kw);
    db_bind_int(s, 5, is_changed ? (int64_t)mbox_change(c->u, c->mb) : 0);
    db_bind_int(s, 6, c->mb->id);
    db_bind_int(s, 7, r->uid);
    return db_run(s, e);
}

static int
cmp_cands(const void *a, const void *b)
{
    return maildir_name_cmp(((const struct cand *)a)->file, ((const struct cand *)b)->file);
}

/* A file the index has not seen: a message, when it is a whole one. */
static int
insert_cand(struct scan *c, const struct cand *k, uint32_t *last_cur_uid, struct err *e)
{
    char *path = path_join(c->dir, part_of(k->dir), k->file);
    struct msg_row m = { .mailbox = c->mb->id, .dir = k->dir, .tz_minutes = TZ_LOCAL };
    struct maildir_name name;
    struct stat st;
    int rc;

    rc = lstat(path, &st); /* no link: reading would not follow it either */
    free(path);
    maildir_parse(k->file, &name);
    if (rc || !S_ISREG(st.st_mode))
        return 0;
    if (name.size != UINT64_MAX && (uint64_t)st.st_size < name.size) /* of a power cut */
        return 0;
    if (c->hints != NULL)
        m.uid = (uint32_t)(uintptr_t)map_get(c->hints, name.base);
    if (m.uid == 0)
        m.uid = mbox_next_uid(c->u, c->mb);
    if (k->dir == MAILDIR_CUR && m.uid > *last_cur_uid)
        *last_cur_uid = m.uid;
    snprintf(m.file, sizeof(m.file), "%s", k->file);
    m.flags = (struct store_flags){ .sys = name.sys, .kw = name.kw };
    c->letters |= name.kw;
    m.modseq = mbox_change(c->u, c->mb);
    m.size = st.st_size;
    m.crlf = name.size == (uint64_t)st.st_size && name.crlf <= INT64_MAX ? (int64_t)name.crlf : -1;
    m.date_s = st.st_mtim.tv_sec;
    m.savedate_s = st.st_ctim.tv_sec;
    m.email = msg_new_object_id();
    return msg_insert(c->u, c->mb, &m, e);
}

static int
apply(struct scan *c, bool may_expunge, struct err *e)
{
    bool is_first = c->mb->uidnext == 1;
    uint32_t last_cur_uid = 0;

    for (size_t i = 0; i < c->n_rows; i++) {
        if (c->rows[i].seen != NULL ? update_row(c, &c->rows[i], e)
                                    : may_expunge && msg_expunge(c->u, c->mb, c->rows[i].uid, e))
            return -1;
    }
    if (c->n_cands > 1)
        qsort(c->cands, c->n_cands, sizeof(c->cands[0]), cmp_cands);
    for (size_t i = 0; i < c->n_cands; i++)
        if (insert_cand(c, &c->cands[i], &last_cur_uid, e))
            return -1;
    /* What lies in cur/ was seen by some program before us. */
    if (is_first && last_cur_uid >= c->mb->recent_from &&
        mbox_set_recent(c->u, c->mb, last_cur_uid + 1, e))
        return -1;
    if (c->letters != 0)
        return keywords_import(c->u, c->dir, c->mb->id, c->letters, e);
    return 0;
}

/* ---- new/ to cur/ ---- */

static int
take_new_rows(struct scan *c, struct err *e)
{
    struct own_change own = mbox_own_begin(c->mb, c->dir);
    bool moved = false;

    if (load_rows(c, true, e))
        return -1;
    for (size_t i = 0; i < c->n_rows; i++) {
        struct msg_row m;
        int rc = msg_load(c->u, c->mb->id, c->rows[i].uid, &m, e);

        if (rc < 0)
            return -1;
        if (rc == 0)
            continue;
        rc = msg_rename(&m, c->dir, m.flags, e);
        if (rc < 0)
            return -1;
        if (rc == 1) {
            moved = true;
            if (msg_update(c->u, &m, e))
                return -1;
        } else {
            c->mb->cur_mtime_ns = 0; /* not where it was: look at everything next time */
            own.was_known = false;
        }
    }
    if (moved)
        mbox_own_end(c->mb, c->dir, own);
    return 0;
}

/* ---- when ---- */

static int64_t
conclusive(int64_t mtime_ns, int64_t at_ns)
{
    int64_t tick = mtime_ns % 1000000000 == 0 ? INT64_C(2000000000) : SCAN_TICK_NS;

    return mtime_ns > at_ns - tick ? 0 : mtime_ns;
}

static bool
suspect_is_due(const struct mbox *mb)
{
    int64_t now_ms = now_realtime_ns() / 1000000;

    return mb->suspect_ms != 0 && (mb->suspect_ms > now_ms ||
                                   (now_ms - mb->suspect_ms > SCAN_SUSPECT_MS &&
                                    now_ms - mb->scan_ms > mb->scan_cost_ms * SCAN_COST_FACTOR));
}

static bool
cur_is_changed(const struct mbox *mb, const char *dir)
{
    return mb->cur_mtime_ns == 0 || dir_mtime_ns(dir, "cur") != mb->cur_mtime_ns ||
           suspect_is_due(mb);
}

/* What was left in tmp/ by a delivery that never ended; 36 hours is the rule of Maildir. */
static void
sweep_tmp(const char *dir)
{
    char *path = path_join(dir, "tmp", NULL);
    int64_t now_s = now_realtime_ns() / 1000000000;
    DIR *d = opendir(path);
    struct dirent *ent;
    struct stat st;

    while (d != NULL && (ent = readdir(d)) != NULL)
        if (ent->d_name[0] != '.' &&
            fstatat(dirfd(d), ent->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
            now_s - st.st_ctim.tv_sec > SCAN_TMP_AGE_S)
            unlinkat(dirfd(d), ent->d_name, 0);
    if (d != NULL)
        closedir(d);
    free(path);
}

static int
scan_full(struct scan *c, struct err *e)
{
    int64_t start_ns = now_realtime_ns(), new_ns = 0, cur_ns = 0;
    bool is_stable = false;

    if (load_rows(c, false, e))
        return -1;
    hash_rows(c);
    /* A file that is renamed while its folder is read may not be met at all: gone is what a still folder does not have. */
    for (int i = 0; i < SCAN_TRIES && !is_stable; i++) {
        for (size_t j = 0; j < c->n_rows; j++)
            c->rows[j].seen = NULL;
        c->n_unseen = c->n_rows;
        c->n_cands = 0;
        new_ns = dir_mtime_ns(c->dir, "new");
        cur_ns = dir_mtime_ns(c->dir, "cur");
        if (read_part(c, MAILDIR_NEW, e) || read_part(c, MAILDIR_CUR, e))
            return -1;
        is_stable = c->n_unseen == 0 || (dir_mtime_ns(c->dir, "new") == new_ns &&
                                         dir_mtime_ns(c->dir, "cur") == cur_ns);
    }
    c->is_still =
        dir_mtime_ns(c->dir, "new") == new_ns && dir_mtime_ns(c->dir, "cur") == cur_ns;
    if (apply(c, is_stable, e))
        return -1;
    c->mb->new_mtime_ns = is_stable ? conclusive(new_ns, start_ns) : 0;
    c->mb->cur_mtime_ns = is_stable ? conclusive(cur_ns, start_ns) : 0;
    sweep_tmp(c->dir);
    c->mb->suspect_ms = 0;
    c->mb->scan_ms = start_ns / 1000000;
    c->mb->scan_cost_ms = (now_realtime_ns() - start_ns) / 1000000;
    return 0;
}

/* Only new/ has changed, as after a delivery. 1: that was not all, a full scan is needed. */
static int
scan_new(struct scan *c, struct err *e)
{
    int64_t start_ns = now_realtime_ns(), new_ns = dir_mtime_ns(c->dir, "new");

    if (load_rows(c, true, e))
        return -1;
    hash_rows(c);
    c->n_unseen = c->n_rows;
    if (read_part(c, MAILDIR_NEW, e))
        return -1;
    if (c->n_unseen > 0)
        return 1;
    c->is_still = dir_mtime_ns(c->dir, "new") == new_ns && !cur_is_changed(c->mb, c->dir);
    if (apply(c, false, e))
        return -1;
    c->mb->new_mtime_ns = conclusive(new_ns, start_ns);
    return 0;
}

static void
scan_free(struct scan *c)
{
    arena_free(&c->mem);
    free(c->rows);
    free(c->slots);
    free(c->cands);
    map_free(&c->pending, NULL);
}

static bool
new_is_changed(const struct mbox *mb, const char *dir)
{
    return mb->new_mtime_ns == 0 || dir_mtime_ns(dir, "new") != mb->new_mtime_ns;
}

int
mbox_scan_in_tx(struct store_user *u, const char *dir, struct mbox *mb, bool take_new, bool must,
                struct map *hints, struct err *e)
{
    struct scan c = { .u = u, .dir = dir, .mb = mb, .hints = hints };
    bool is_full = must || cur_is_changed(mb, dir), is_new = is_full || new_is_changed(mb, dir);
    int rc = load_pending(&c, e);

    if (is_full || is_new) /* before anything is read */
        quota_scan_begin(u, mb->id, dir, mb->uidnext);
    if (rc == 0 && !is_full && is_new) {
        rc = scan_new(&c, e);
        is_full = rc == 1;
    }
    if (rc >= 0 && is_full)
        rc = scan_full(&c, e);
    if (rc == 0 && take_new)
        rc = take_new_rows(&c, e);
    if (is_full || is_new)
        quota_scan_end(u, c.is_still);
    scan_free(&c);
    return rc;
}

static int
has_new_rows(struct store_user *u, int64_t mailbox, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(
            u->db,
            "SELECT 1 FROM messages INDEXED BY messages_new WHERE mailbox = ? AND dir = 0 LIMIT 1",
            &s, e))
        return -1;
    db_bind_int(s, 1, mailbox);
    rc = db_step(s, e);
    db_reset(s);
    return rc;
}

int
mbox_scan(struct store_user *u, struct slice normal, struct mbox *mb, bool take_new, bool must,
          struct err *e)
{
    struct buf dir = { 0 };
    uint64_t modseq = mb->modseq;
    uint32_t uidnext = mb->uidnext;
    int rc = -1, has_new = 0;

    if (mbox_dir(u, normal, &dir, e))
        goto out;
    if (take_new && (has_new = has_new_rows(u, mb->id, e)) < 0)
        goto out;
    if (!must && !has_new && !cur_is_changed(mb, buf_z(&dir)) && !new_is_changed(mb, buf_z(&dir))) {
        rc = 0;
        goto out;
    }
    if (index_begin(u, e))
        goto out;
    rc = mbox_load(u, mb->id, mb, e);
    if (rc == 0)
        rc = err_set(e, ERR_NOTFOUND, "Mailbox doesn't exist: %.*s", SL_ARG(normal));
    else if (rc == 1)
        rc = mbox_scan_in_tx(u, buf_z(&dir), mb, take_new, must, NULL, e);
    if (rc == 0)
        rc = mbox_save(u, mb, e);
    if (rc)
        index_rollback(u);
    else
        rc = index_commit(u, e);
    if (rc == 0 && mb->modseq != modseq)
        user_tell(u, normal, NULL);
    if (rc == 0 && mb->uidnext != uidnext)
        fill_ask(u, normal, uidnext);
out:
    buf_free(&dir);
    return rc;
}
