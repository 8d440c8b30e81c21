/* store/scan.c - the index brought in line with new/ and cur/, whoever changed them.
 *
 * A folder whose mtime is the recorded one was not changed. An mtime within the last tick of the file system's clock
 * proves nothing, as the next change may get the same: then nothing is recorded and the next sync scans again.
 *
 * A scan of a large folder lets others go on: rows are read in pieces, the folders with no lock held at all, and differences
 * go in by transactions of SCAN_BATCH; user.lock is given up in between. So what was read may be old by then. In each
 * transaction a row is believed changed on disk only if the index has it as it was read, a file is new only if no
 * row got its base name since, and what a change of ours has made doubtful is left to the next scan. */
#include "store/scan_int.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SCAN_ROWS = 4096,            /* read at a time, some milliseconds */
    SCAN_TRIES = 5,              /* readings of a folder that changes meanwhile */
    SCAN_TICK_NS = 20 * 1000000, /* a kernel's clock tick, and then some */
    SCAN_TMP_AGE_S = 36 * 3600,
    SCAN_SUSPECT_MS = 5000,
    SCAN_COST_FACTOR = 100 /* scans on suspicion take at most a hundredth of the time */
};

struct slice
scan_base(const char *file)
{
    struct slice s = sl_z(file);

    return sl_head(s, sl_find_char(s, ':'));
}

const char *
scan_part(int dir)
{
    return dir == MAILDIR_NEW ? "new" : "cur";
}

/* ---- what the index knows ---- */

/* Up to SCAN_ROWS rows behind a UID; *last moves on. 1 there may be more, 0 that was all. */
static int
load_piece(struct scan *c, bool only_new, uint32_t *last, struct err *e)
{
    size_t n = 0;
    struct db_stmt *s;
    int rc;

    if (db_prepare(c->u->db,
                   only_new ? "SELECT uid, dir, file FROM messages INDEXED BY messages_new WHERE "
                              "mailbox = ? AND dir = 0 AND uid > ? ORDER BY uid LIMIT ?"
                            : "SELECT uid, dir, file FROM messages WHERE mailbox = ? AND uid > ? "
                              "ORDER BY uid LIMIT ?",
                   &s, e))
        return -1;
    db_bind_int(s, 1, c->mb->id);
    db_bind_int(s, 2, *last);
    db_bind_int(s, 3, SCAN_ROWS);
    for (; (rc = db_step(s, e)) == 1; n++) {
        const char *file = arena_dupz(&c->mem, db_text(s, 2));

        *last = (uint32_t)db_int(s, 0);
        c->rows = mem_grow(c->rows, &c->cap_rows, c->n_rows + 1, sizeof(c->rows[0]));
        c->rows[c->n_rows++] = (struct scan_row){ .uid = *last,
                                                  .base_n = (uint16_t)scan_base(file).n,
                                                  .dir = (uint8_t)db_int(s, 1),
                                                  .file = file };
    }
    return rc < 0 ? -1 : n == SCAN_ROWS;
}

static int
load_rows(struct scan *c, bool only_new, struct err *e)
{
    uint32_t last = 0;
    int rc;

    c->n_rows = 0;
    c->read = c->known =
        c->mb->modseq; /* before the first is read: later changes are seen as such */
    while ((rc = load_piece(c, only_new, &last, e)) == 1)
        if (!c->in_tx && user_turn(c->u, e))
            return -1;
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
        size_t at = sl_hash(sl_n(c->rows[i].file, c->rows[i].base_n)) & c->mask;

        while (c->slots[at] != 0)
            at = (at + 1) & c->mask;
        c->slots[at] = (uint32_t)(i + 1);
    }
}

/* ---- what the disk has ---- */

static bool
is_exact(const struct scan_row *r, const char *file, int dir)
{
    return r->dir == dir && strcmp(r->file, file) == 0;
}

static void
add_twin(struct scan *c, struct scan_row *r, const char *file, int dir)
{
    c->twins = mem_grow(c->twins, &c->cap_twins, c->n_twins + 1, sizeof(c->twins[0]));
    c->twins[c->n_twins++] = (struct scan_twin){ (size_t)(r - c->rows), file, dir };
}

static void
see(struct scan *c, struct scan_row *r, const char *file, int dir)
{
    if (r->seen == NULL)
        c->n_unseen--;
    r->seen = is_exact(r, file, dir) ? r->file : arena_dupz(&c->mem, sl_z(file));
    r->seen_dir = (uint8_t)dir;
}

static void
add_cand(struct scan *c, const char *file, int dir)
{
    struct maildir_name name;

    if (!maildir_parse(file, &name))
        return;
    c->cands = mem_grow(c->cands, &c->cap_cands, c->n_cands + 1, sizeof(c->cands[0]));
    c->cands[c->n_cands++] = (struct scan_cand){ .file = arena_dupz(&c->mem, sl_z(file)),
                                                 .s = name.s,
                                                 .us = name.us,
                                                 .base_n = (uint16_t)name.base.n,
                                                 .dir = (uint8_t)dir };
}

/* A row's own file is the one under the name that the index has; else any of its base name, which may be a new name of it
 * or another file: that is settled when all are known. */
static void
meet(struct scan *c, const char *file, int dir)
{
    struct slice base = scan_base(file);
    struct scan_row *free_row = NULL, *any = NULL, *own = NULL;

    for (size_t at = sl_hash(base) & c->mask; c->slots[at] != 0; at = (at + 1) & c->mask) {
        struct scan_row *r = &c->rows[c->slots[at] - 1];

        if (r->base_n != base.n || memcmp(r->file, base.p, base.n) != 0)
            continue;
        any = r;
        if (r->seen == NULL && free_row == NULL)
            free_row = r;
        if (is_exact(r, file, dir))
            own = r;
    }
    if (any == NULL) {
        add_cand(c, file, dir);
    } else if (own != NULL) {
        if (own->seen != NULL)
            add_twin(c, own, own->seen, own->seen_dir); /* it was taken for this one */
        see(c, own, file, dir);
    } else if (free_row != NULL) {
        see(c, free_row, file, dir);
    } else {
        add_twin(c, any, arena_dupz(&c->mem, sl_z(file)), dir);
    }
}

static int
read_part(struct scan *c, int dir, struct err *e)
{
    char *path = path_join(c->dir, scan_part(dir), NULL);
    DIR *d = opendir(path);
    struct dirent *ent;
    struct stat st;
    int rc = 0;

    /* A folder that is not there at all was renamed or deleted by another process: nothing is known of its messages. */
    if (d == NULL && errno == ENOENT && stat(c->dir, &st) == 0 &&
        !(dir == MAILDIR_CUR && c->u->loc.layout == LAYOUT_FS && strcmp(c->dir, c->u->root) != 0) &&
        maildir_make(c->dir, folder_has_mark(c->u, c->dir), NULL) == 0)
        d = opendir(path);
    if (d == NULL) {
        rc = err_sys(e, "cannot open folder %s", path);
        free(path);
        return rc;
    }
    while ((errno = 0, ent = readdir(d)) != NULL)
        if (ent->d_name[0] != '.' && (ent->d_type == DT_REG || ent->d_type == DT_UNKNOWN))
            meet(c, ent->d_name, dir);
    if (errno != 0)
        rc = err_sys(e, "cannot read folder %s", path);
    closedir(d);
    free(path);
    return rc;
}

static int64_t
conclusive(int64_t mtime_ns, int64_t at_ns)
{
    int64_t tick = mtime_ns % 1000000000 == 0 ? INT64_C(2000000000) : SCAN_TICK_NS;

    return mtime_ns > at_ns - tick ? 0 : mtime_ns;
}

/* One reading. A file that is renamed meanwhile may not be met at all: gone is what a still folder does not have. */
static int
read_once(struct scan *c, bool only_new, struct err *e)
{
    int64_t start_ns = now_realtime_ns(), was[2];
    bool is_same;

    for (size_t i = 0; i < c->n_rows; i++)
        c->rows[i].seen = NULL;
    c->n_unseen = c->n_rows;
    c->n_cands = c->n_twins = 0;
    for (int i = 0; i < 2; i++)
        was[i] = dir_mtime_ns(c->dir, scan_part(i));
    if (read_part(c, MAILDIR_NEW, e) || (!only_new && read_part(c, MAILDIR_CUR, e)))
        return -1;
    is_same = dir_mtime_ns(c->dir, "new") == was[0] && dir_mtime_ns(c->dir, "cur") == was[1];
    /* In the tick of the last change a still mtime tells nothing; but two readings of the same do. */
    c->is_still = is_same && ((was[0] == c->mtime_ns[0] && was[1] == c->mtime_ns[1]) ||
                              (conclusive(was[0], start_ns) && conclusive(was[1], start_ns)));
    c->is_same = is_same;
    for (int i = 0; i < 2; i++) {
        c->mtime_ns[i] = was[i];
        c->is_proof[i] = conclusive(was[i], start_ns) != 0;
    }
    return 0;
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

/* No lock is held, unless a caller's transaction goes around all of it. */
static int
read_disk(struct scan *c, bool only_new, struct err *e)
{
    struct err why = { 0 };
    int rc = 0;

    hash_rows(c);
    if (!c->in_tx)
        user_unlock(c->u);
    for (int i = 0; i < SCAN_TRIES; i++) {
        if (i > 0)
            usleep(SCAN_TICK_NS / 1000);
        rc = read_once(c, only_new, e);
        if (rc || c->n_unseen == 0 || c->is_still || only_new)
            break;
    }
    if (rc == 0 && !only_new)
        sweep_tmp(c->dir);
    if (!c->in_tx && user_relock(c->u, &why)) {
        if (rc == 0)
            *e = why;
        rc = -1;
    }
    return rc;
}

/* ---- when ---- */

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

static bool
new_is_changed(const struct mbox *mb, const char *dir)
{
    return mb->new_mtime_ns == 0 || dir_mtime_ns(dir, "new") != mb->new_mtime_ns;
}

bool
mbox_is_unchanged(const struct mbox *mb, const char *dir)
{
    return !cur_is_changed(mb, dir) && !new_is_changed(mb, dir);
}

/* What the scan has seen, for the next to compare. Our own renames meanwhile are accounted for in mtime_ns, but may hide
 * a foreign one of the same moment. */
static void
note_seen(struct scan *c)
{
    c->mb->new_mtime_ns = c->is_whole && c->is_proof[MAILDIR_NEW] ? c->mtime_ns[MAILDIR_NEW] : 0;
    if (!c->is_full)
        return;
    c->mb->cur_mtime_ns = c->is_whole && c->is_proof[MAILDIR_CUR] ? c->mtime_ns[MAILDIR_CUR] : 0;
    c->mb->suspect_ms = c->did_move ? now_realtime_ns() / 1000000 : 0;
    c->mb->scan_ms = c->start_ns / 1000000;
    c->mb->scan_cost_ms = (now_realtime_ns() - c->start_ns) / 1000000;
}

static int
scan_full(struct scan *c, struct err *e)
{
    if (load_rows(c, false, e) || read_disk(c, false, e))
        return -1;
    c->is_whole = c->n_unseen == 0 || c->is_still;
    return scan_apply(c, c->is_whole, e);
}

/* Only new/ has changed, as after a delivery. 1: that was not all, a full scan is needed. */
static int
scan_new(struct scan *c, struct err *e)
{
    int rc;

    if (load_rows(c, true, e) || read_disk(c, true, e))
        return -1;
    c->is_same = c->is_same && !cur_is_changed(c->mb, c->dir);
    rc = scan_is_missing(c, e);
    if (rc != 0)
        return rc;
    c->is_whole = true;
    return scan_apply(c, false, e);
}

static void
scan_free(struct scan *c)
{
    arena_free(&c->mem);
    free(c->rows);
    free(c->slots);
    free(c->cands);
    free(c->twins);
    map_free(&c->pending, NULL);
    map_free(&c->since, NULL);
    quota_charge_free(&c->done);
    parts_close(&c->parts);
}

static int
run(struct scan *c, bool is_full, struct err *e)
{
    int rc = 0;

    c->start_ns = now_realtime_ns();
    c->is_full = is_full;
    quota_scan_look(c->u, c->dir, &c->done); /* before anything is read */
    if (!is_full) {
        rc = scan_new(c, e);
        c->is_full = rc == 1;
    }
    if (rc >= 0 && c->is_full)
        rc = scan_full(c, e);
    if (rc == 0 && c->take_new)
        rc = scan_take_new(c, e);
    if (rc == 0 && (rc = scan_tx_begin(c, e)) == 0) {
        note_seen(c);
        if (c->is_same) /* what was not met is not there */
            quota_scan_seen(c->u, &c->done);
        rc = scan_tx_end(c, 0, e);
    }
    return rc;
}

int
mbox_scan_in_tx(struct store_user *u, const char *dir, struct mbox *mb, bool take_new, bool must,
                struct map *hints, struct err *e)
{
    struct scan c = { .u = u,
                      .dir = dir,
                      .mb = mb,
                      .take_new = take_new,
                      .in_tx = true,
                      .hints = hints,
                      .parts.fd = { -1, -1 } };
    bool is_full = must || cur_is_changed(mb, dir);
    int rc = 0;

    if (is_full || take_new || new_is_changed(mb, dir))
        rc = run(&c, is_full, e);
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

/* ---- one at a time ---- */

/* A folder under a full scan here: others of this process do not begin another, and are told when it has ended. */
static struct scanning *
under_scan(const struct store_user *u, int64_t mailbox)
{
    struct scanning *s = u->scans;

    while (s != NULL && s->mailbox != mailbox)
        s = s->next;
    return s;
}

static void
leave(struct store_user *u, struct scanning *me)
{
    struct scanning **at = &u->scans;

    while (*at != me)
        at = &(*at)->next;
    *at = me->next;
}

static int
scan_alone(struct scan *c, bool is_full, struct err *e)
{
    struct scanning me = { .mailbox = c->mb->id, .next = c->u->scans };
    int rc;

    if (!is_full)
        return run(c, false, e);
    c->u->scans = &me;
    rc = run(c, true, e);
    leave(c->u, &me);
    if (me.is_missed)
        user_tell(c->u, c->normal, NULL);
    return rc;
}

int
mbox_scan(struct store_user *u, struct slice normal, struct mbox *mb, bool take_new, bool must,
          struct err *e)
{
    struct buf dir = { 0 };
    struct scan c = {
        .u = u, .normal = normal, .mb = mb, .take_new = take_new, .parts.fd = { -1, -1 }
    };
    struct scanning *other = under_scan(u, mb->id);
    uint64_t modseq = mb->modseq;
    uint32_t uidnext = mb->uidnext;
    int rc = -1, has_new = 0;
    bool is_full;

    if (mbox_dir(u, normal, &dir, e))
        goto out;
    c.dir = buf_z(&dir);
    if (take_new && (has_new = has_new_rows(u, mb->id, e)) < 0)
        goto out;
    is_full = must || cur_is_changed(mb, c.dir);
    rc = 0;
    if (is_full && !must && other != NULL) {
        /* Its end tells. Before the first scan has ended an arrival would get a UID below older mail's. */
        other->is_missed = true;
        is_full = false;
        if (mb->scan_ms == 0)
            goto out;
    }
    if (is_full || has_new || new_is_changed(mb, c.dir))
        rc = scan_alone(&c, is_full, e);
    if (rc == 0 && mb->modseq != modseq)
        user_tell(u, normal, NULL);
    if (rc == 0 && mb->uidnext != uidnext)
        fill_ask(u, normal, uidnext);
out:
    scan_free(&c);
    buf_free(&dir);
    return rc;
}
