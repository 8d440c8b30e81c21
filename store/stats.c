/* store/stats.c - what a user's index holds; and tidying it up. */
#include "store/maintain.h"
#include "store/store_int.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    TMP_AGE_S = 36 * 3600, /* the rule of Maildir */
    EXPUNGE_AGE_S = 24 * 3600,
    LOCK_TRIES = 50,
    LOCK_WAIT_US = 100 * 1000
};

static int64_t
file_octets(const char *dir, const char *name)
{
    char *path = path_join(dir, name, NULL);
    struct stat st;
    int64_t n = stat(path, &st) == 0 ? st.st_size : 0;

    free(path);
    return n;
}

static int64_t
index_octets(const struct store_user *u)
{
    return file_octets(u->index_dir, INDEX_FILE) + file_octets(u->index_dir, INDEX_FILE "-wal");
}

int
store_has_index(struct store *s, struct slice name, const struct store_userdb *db, bool *has_mail,
                bool *has_index, struct err *e)
{
    struct location where;
    struct stat st;
    char *path;

    *has_mail = *has_index = false;
    if (location_resolve(s->conf, name, db == NULL ? sl_n(NULL, 0) : db->mail, &where, e))
        return -1;
    *has_mail = stat(where.root, &st) == 0 && S_ISDIR(st.st_mode);
    path = path_join(where.index, INDEX_FILE, NULL);
    *has_index = stat(path, &st) == 0;
    free(path);
    location_free(&where);
    return 0;
}

/* ---- stats ---- */

static int
cmp_name(const void *a, const void *b)
{
    struct slice x = sl_z(((const struct store_mailbox_stats *)a)->name),
                 y = sl_z(((const struct store_mailbox_stats *)b)->name);

    if (name_is_inbox(x) != name_is_inbox(y))
        return name_is_inbox(x) ? -1 : 1;
    return sl_cmp(x, y);
}

static int
load_stats(struct store_user *u, struct store_stats *out, struct err *e)
{
    struct db_stmt *s;
    int64_t pages, octets;
    size_t cap = 0;
    int rc;

    if (db_prepare(u->db,
                   "SELECT name, messages, unseen, deleted, octets, uidvalidity, uidnext, modseq,"
                   " (SELECT count(*) FROM cache c WHERE c.mailbox = b.id AND envelope IS NOT NULL"
                   " AND bodystructure IS NOT NULL),"
                   " (SELECT count(*) FROM expunges x WHERE x.mailbox = b.id),"
                   " (SELECT count(*) FROM keywords k WHERE k.mailbox = b.id) FROM mailboxes b",
                   &s, e))
        return -1;
    while ((rc = db_step(s, e)) == 1) {
        out->v = mem_grow(out->v, &cap, out->n + 1, sizeof(out->v[0]));
        out->v[out->n++] = (struct store_mailbox_stats){
            .name = sl_dupz(db_text(s, 0)),
            .messages = (uint64_t)db_int(s, 1),
            .unseen = (uint64_t)db_int(s, 2),
            .deleted = (uint64_t)db_int(s, 3),
            .octets = (uint64_t)db_int(s, 4),
            .uidvalidity = (uint32_t)db_int(s, 5),
            .uidnext = (uint32_t)db_int(s, 6),
            .highestmodseq = (uint64_t)db_int(s, 7),
            .cached = (uint64_t)db_int(s, 8),
            .expunges = (uint64_t)db_int(s, 9),
            .keywords = (unsigned)db_int(s, 10),
        };
    }
    if (rc || index_number(u, "PRAGMA freelist_count", &pages, e) ||
        index_number(u, "PRAGMA page_size", &octets, e))
        return -1;
    out->index_octets = (uint64_t)index_octets(u);
    out->free_octets = (uint64_t)(pages * octets);
    if (out->n > 1)
        qsort(out->v, out->n, sizeof(out->v[0]), cmp_name);
    return 0;
}

int
store_stats(struct store_user *u, struct store_stats *out, struct err *e)
{
    int rc = user_lock(u, e);

    memset(out, 0, sizeof(*out));
    if (rc == 0) {
        rc = load_stats(u, out, e);
        user_unlock(u);
    }
    if (rc)
        store_stats_free(out);
    return rc;
}

void
store_stats_free(struct store_stats *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->v[i].name);
    free(s->v);
    memset(s, 0, sizeof(*s));
}

/* ---- purge ---- */

/* Ranges that are older than a day, oldest first and none before an older one, whatever their number: a client that was
 * away for longer hears of everything afresh. */
static int
purge_expunges_of(struct store_user *u, int64_t mailbox, uint64_t *n, struct err *e)
{
    struct db_stmt *s;
    struct mbox mb;
    int64_t upto = 0;
    int rc = mbox_load(u, mailbox, &mb, e);

    if (rc < 1)
        return rc;
    if (db_prepare(u->db,
                   "SELECT coalesce((SELECT min(modseq) - 1 FROM expunges WHERE mailbox = ?1 AND"
                   " at > ?2), (SELECT max(modseq) FROM expunges WHERE mailbox = ?1), 0)",
                   &s, e))
        return -1;
    db_bind_int(s, 1, mailbox);
    db_bind_int(s, 2, clock_unix_s() - EXPUNGE_AGE_S);
    rc = db_step(s, e);
    if (rc == 1) {
        upto = db_int(s, 0);
        db_reset(s);
    }
    if (rc < 0 ||
        db_prepare(u->db, "DELETE FROM expunges WHERE mailbox = ? AND modseq <= ?", &s, e))
        return -1;
    db_bind_int(s, 1, mailbox);
    db_bind_int(s, 2, upto);
    if (db_run(s, e))
        return -1;
    if (db_changes(u->db) == 0)
        return 0;
    *n += (uint64_t)db_changes(u->db);
    mb.ranges -= db_changes(u->db);
    if ((uint64_t)upto > mb.pruned_modseq)
        mb.pruned_modseq = (uint64_t)upto;
    return mbox_save(u, &mb, e);
}

static int
mailbox_ids(struct store_user *u, int64_t **ids, size_t *n, struct err *e)
{
    struct db_stmt *s;
    size_t cap = 0;
    int rc;

    *ids = NULL;
    *n = 0;
    if (db_prepare(u->db, "SELECT id FROM mailboxes", &s, e))
        return -1;
    while ((rc = db_step(s, e)) == 1) {
        *ids = mem_grow(*ids, &cap, *n + 1, sizeof(**ids));
        (*ids)[(*n)++] = db_int(s, 0);
    }
    return rc;
}

static int
purge_expunges(struct store_user *u, uint64_t *n, struct err *e)
{
    int64_t *ids;
    size_t n_ids;
    int rc = mailbox_ids(u, &ids, &n_ids, e);

    for (size_t i = 0; rc == 0 && i < n_ids; i++)
        rc = purge_expunges_of(u, ids[i], n, e);
    free(ids);
    return rc;
}

/* What check calls orphans too (check.c). */
static int
purge_cache(struct store_user *u, bool all, uint64_t *n, struct err *e)
{
    static const char *const gone[] = {
        "DELETE FROM cache WHERE NOT EXISTS (SELECT 1 FROM messages m WHERE m.mailbox ="
        " cache.mailbox AND m.uid = cache.uid)",
        "DELETE FROM cache_headers WHERE NOT EXISTS (SELECT 1 FROM messages m WHERE m.mailbox ="
        " cache_headers.mailbox AND m.uid = cache_headers.uid)",
        "DELETE FROM cache_sort WHERE NOT EXISTS (SELECT 1 FROM messages m WHERE m.mailbox ="
        " cache_sort.mailbox AND m.uid = cache_sort.uid)",
    };
    static const char *const whole[] = { "DELETE FROM cache", "DELETE FROM cache_headers",
                                         "DELETE FROM cache_sort" };

    for (size_t i = 0; i < COUNT_OF(gone); i++) {
        struct db_stmt *s;

        if (db_prepare(u->db, all ? whole[i] : gone[i], &s, e) || db_run(s, e))
            return -1;
        *n += (uint64_t)db_changes(u->db);
    }
    return 0;
}

static void
purge_tmp_of(const char *dir, struct store_purged *out)
{
    char *path = path_join(dir, "tmp", NULL);
    int64_t now_s = now_realtime_ns() / 1000000000;
    DIR *d = opendir(path);
    struct dirent *ent;
    struct stat st;

    while (d != NULL && (ent = readdir(d)) != NULL)
        if (ent->d_name[0] != '.' &&
            fstatat(dirfd(d), ent->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
            now_s - st.st_ctim.tv_sec > TMP_AGE_S && unlinkat(dirfd(d), ent->d_name, 0) == 0) {
            out->tmp_files++;
            if (st.st_nlink == 1)
                out->octets += (uint64_t)st.st_blocks * 512;
        }
    if (d != NULL)
        closedir(d);
    free(path);
}

static int
purge_tmp(struct store_user *u, struct store_purged *out, struct err *e)
{
    struct names folders;

    if (folders_read(&u->loc, &folders, e))
        return -1;
    purge_tmp_of(u->root, out);
    for (size_t i = 0; i < folders.n; i++) {
        struct buf dir = { 0 };

        if (mbox_dir(u, sl_z(folders.v[i]), &dir, NULL) == 0)
            purge_tmp_of(buf_z(&dir), out);
        buf_free(&dir);
    }
    names_free(&folders);
    return 0;
}

static void
purge_damaged(struct store_user *u, struct store_purged *out)
{
    static const char *const parts[] = { INDEX_FILE ".damaged", INDEX_FILE "-wal.damaged",
                                         INDEX_FILE "-shm.damaged" };

    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        char *path = path_join(u->index_dir, parts[i], NULL);
        struct stat st;

        if (lstat(path, &st) == 0 && S_ISREG(st.st_mode) && unlink(path) == 0) {
            out->damaged_files++;
            out->octets += (uint64_t)st.st_blocks * 512;
        }
        free(path);
    }
}

/* Nobody else may write meanwhile, so that the log can be emptied after it (index.c on checkpoints). */
static int
vacuum(struct store_user *u, struct err *e)
{
    int rc = -1;

    for (int i = 0; i < LOCK_TRIES && rc; i++) {
        rc = flock(u->lock_fd, LOCK_EX | LOCK_NB);
        if (rc && errno != EWOULDBLOCK && errno != EINTR)
            return err_sys(e, "cannot lock the index of %s", u->name);
        if (rc)
            usleep(LOCK_WAIT_US);
    }
    if (rc)
        return err_set(e, ERR_TEMP, "the index of %s is in use", u->name);
    rc = db_exec(u->db, "VACUUM", e);
    if (rc == 0)
        rc = db_checkpoint(u->db, true, e);
    flock(u->lock_fd, LOCK_UN);
    return rc;
}

static int
purge(struct store_user *u, unsigned what, struct store_purged *out, struct err *e)
{
    int64_t before = index_octets(u), after;
    int rc = 0;

    if (what & (STORE_PURGE_EXPUNGES | STORE_PURGE_CACHE | STORE_PURGE_ALL_CACHE)) {
        if (index_begin(u, e))
            return -1;
        if (what & STORE_PURGE_EXPUNGES)
            rc = purge_expunges(u, &out->expunges, e);
        if (rc == 0 && what & (STORE_PURGE_CACHE | STORE_PURGE_ALL_CACHE))
            rc = purge_cache(u, (what & STORE_PURGE_ALL_CACHE) != 0, &out->cached, e);
        if (rc)
            index_rollback(u);
        else
            rc = index_commit(u, e);
    }
    if (rc == 0 && what & STORE_PURGE_TMP)
        rc = purge_tmp(u, out, e);
    if (rc == 0 && what & STORE_PURGE_DAMAGED)
        purge_damaged(u, out);
    if (rc == 0 && what & STORE_PURGE_VACUUM)
        rc = vacuum(u, e);
    after = index_octets(u);
    if (after < before)
        out->octets += (uint64_t)(before - after);
    return rc;
}

int
store_purge(struct store_user *u, unsigned what, struct store_purged *out, struct err *e)
{
    int rc = user_lock(u, e);

    memset(out, 0, sizeof(*out));
    if (rc == 0) {
        rc = purge(u, what, out, e);
        user_unlock(u);
    }
    return rc;
}
