/* store/threads.c - thread ids (RFC 8474 §5.2).
 *
 * Every Message-ID that a message bears or refers to is noted with the thread it was first met in, for all mailboxes of
 * the user. A message takes the thread of its own id when a reply to it was met before, else that of its nearest
 * ancestor that is known. What was told is never changed, so a message that joins two threads is in one of them and the
 * two stay. A new thread is named by the hash of its oldest id: an index that is made again gives much the same names. */
#include "store/cache.h"

#include "base/clock.h"
#include "base/log.h"

enum {
    THREAD_IDS_MAX = 500 * 1000, /* rows; when there are more the least recently met quarter goes */
    THREAD_IDS_CHECK_EVERY = 4096
};

/* The same in every process and for ever. Who makes two ids alike only joins messages of his own to a thread, as he may
 * do by References. */
static int64_t
hash_of(struct slice id)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < id.n; i++)
        h = (h ^ (unsigned char)id.p[i]) * UINT64_C(0x100000001b3);
    h = (h ^ h >> 33) * UINT64_C(0xff51afd7ed558ccd);
    h = (h ^ h >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    h = (h ^ h >> 33) >> 1;
    return h == 0 ? 1 : (int64_t)h;
}

/* Of an id: *thread, *day; 1 known, 0 not, -1. */
static int
look_up(struct store_user *u, int64_t hash, int64_t *thread, int64_t *day, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(u->db, "SELECT thread, day FROM message_ids WHERE hash = ?", &s, e))
        return -1;
    db_bind_int(s, 1, hash);
    rc = db_step(s, e);
    if (rc == 1) {
        *thread = db_int(s, 0);
        *day = db_int(s, 1);
        db_reset(s);
    }
    return rc;
}

static int
note(struct store_user *u, int64_t hash, int64_t thread, int64_t day, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(u->db, "INSERT OR REPLACE INTO message_ids VALUES (?, ?, ?)", &s, e))
        return -1;
    db_bind_int(s, 1, hash);
    db_bind_int(s, 2, thread);
    db_bind_int(s, 3, day);
    return db_run(s, e);
}

static int
prune(struct store_user *u, struct err *e)
{
    struct db_stmt *s;
    int64_t n = 0;
    int rc;

    if (db_prepare(u->db, "SELECT count(*) FROM message_ids", &s, e))
        return -1;
    rc = db_step(s, e);
    if (rc == 1) {
        n = db_int(s, 0);
        db_reset(s);
    }
    if (rc < 0 || n <= THREAD_IDS_MAX)
        return rc < 0 ? -1 : 0;
    log_info("store.threads", LOG_F(LF_Z("user", u->name)),
             "user %s: %lld message ids are known; the oldest are forgotten", u->name,
             (long long)n);
    if (db_prepare(u->db,
                   "DELETE FROM message_ids WHERE hash IN"
                   " (SELECT hash FROM message_ids ORDER BY day LIMIT ?)",
                   &s, e))
        return -1;
    db_bind_int(s, 1, n - THREAD_IDS_MAX * 3 / 4);
    return db_run(s, e);
}

/* Hashes: its own id, then its references, nearest first. */
static size_t
hashes_of(const struct forms *f, int64_t *hash)
{
    struct slice refs = buf_slice(&f->sort[SORT_REFS]), id = buf_slice(&f->sort[SORT_MESSAGE_ID]);
    size_t n = 0;

    if (id.n > 0)
        hash[n++] = hash_of(id);
    while (refs.n > 0 && n <= CACHE_REFS_MAX) {
        size_t lf = sl_rfind_char(refs, '\n');

        hash[n++] = hash_of(lf == SL_NPOS ? refs : sl_from(refs, lf + 1));
        refs = sl_head(refs, lf == SL_NPOS ? 0 : lf);
    }
    return n;
}

int
thread_of(struct store_user *u, const struct forms *f, int64_t email, int64_t *thread,
          struct err *e)
{
    int64_t hash[CACHE_REFS_MAX + 1], known[CACHE_REFS_MAX + 1] = { 0 };
    int64_t day[CACHE_REFS_MAX + 1] = { 0 }, today = clock_unix_s() / 86400;
    size_t n = hashes_of(f, hash);

    *thread = 0;
    for (size_t i = 0; i < n; i++) {
        if (look_up(u, hash[i], &known[i], &day[i], e) < 0)
            return -1;
        if (*thread == 0)
            *thread = known[i];
    }
    if (*thread == 0)
        *thread = n > 0 ? hash[n - 1] : email;
    for (size_t i = 0; i < n; i++) {
        if (known[i] != 0 && day[i] == today)
            continue;
        if (note(u, hash[i], known[i] != 0 ? known[i] : *thread, today, e))
            return -1;
        if (known[i] == 0 && ++u->n_ids_noted % THREAD_IDS_CHECK_EVERY == 0 && prune(u, e))
            return -1;
    }
    return 0;
}
