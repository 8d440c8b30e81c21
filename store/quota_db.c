/* store/quota_db.c - see quota_int.h: the file, its lock, its rows of users. */
#include "store/quota_int.h"

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "store/names.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    QUOTA_SCHEMA = 1,
    QUOTA_CACHE_KIB = 512,
    QUOTA_OPEN_TRIES = 50,
    QUOTA_OPEN_WAIT_US = 20 * 1000,
    QUOTA_WAL_OCTETS = 4 * 1024 * 1024,      /* a longer log is checkpointed when nobody writes */
    QUOTA_WAL_MAX_OCTETS = 64 * 1024 * 1024, /* and when they must wait for it */
    QUOTA_WAL_LOOK = 64                      /* transactions between looks */
};
#define LOCK_SUFFIX   ".lock"
#define OWNERS_SUFFIX ".owners"

/* Sums are kept by triggers, so that no change of a row can miss them: deliveries in their users, users in their domains.
 * An owner is a deliverer, alive while it holds the lock of the octet of that number in quota.db.owners. */
static const char schema[] =
    "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, domain TEXT NOT NULL,"
    " seq INTEGER NOT NULL DEFAULT 0, ignored INTEGER NOT NULL DEFAULT 0,"
    " is_counted INTEGER NOT NULL DEFAULT 0, octets INTEGER NOT NULL DEFAULT 0,"
    " messages INTEGER NOT NULL DEFAULT 0, open_octets INTEGER NOT NULL DEFAULT 0,"
    " open_messages INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX users_domain ON users (domain, name);"
    "CREATE TABLE deliveries (id INTEGER PRIMARY KEY, user INTEGER NOT NULL, base TEXT NOT NULL,"
    " dir TEXT NOT NULL, file TEXT NOT NULL, octets INTEGER NOT NULL, owner INTEGER NOT NULL, "
    "is_done INTEGER NOT NULL "
    "DEFAULT 0);"
    "CREATE UNIQUE INDEX deliveries_user ON deliveries (user, base);"
    "CREATE INDEX deliveries_owner ON deliveries (owner) WHERE is_done = 0;"
    "CREATE TABLE domains (name TEXT PRIMARY KEY, octets INTEGER NOT NULL, messages INTEGER NOT "
    "NULL) WITHOUT ROWID;"
    "CREATE TRIGGER delivery_new AFTER INSERT ON deliveries BEGIN"
    " UPDATE users SET open_octets = open_octets + new.octets, open_messages = open_messages + 1"
    " WHERE id = new.user; END;"
    "CREATE TRIGGER delivery_gone AFTER DELETE ON deliveries BEGIN"
    " UPDATE users SET open_octets = open_octets - old.octets, open_messages = open_messages - 1"
    " WHERE id = old.user; END;"
    "CREATE TRIGGER user_new AFTER INSERT ON users BEGIN"
    " INSERT INTO domains VALUES (new.domain, new.octets + new.open_octets,"
    " new.messages + new.open_messages) ON CONFLICT (name) DO UPDATE SET"
    " octets = octets + excluded.octets, messages = messages + excluded.messages; END;"
    "CREATE TRIGGER user_changed AFTER UPDATE OF octets, messages, open_octets, open_messages"
    " ON users BEGIN UPDATE domains SET"
    " octets = octets + new.octets + new.open_octets - old.octets - old.open_octets,"
    " messages = messages + new.messages + new.open_messages - old.messages - old.open_messages"
    " WHERE name = new.domain; END;"
    "CREATE TRIGGER user_gone AFTER DELETE ON users BEGIN"
    " DELETE FROM deliveries WHERE user = old.id;"
    " UPDATE domains SET octets = octets - old.octets - old.open_octets,"
    " messages = messages - old.messages - old.open_messages WHERE name = old.domain; END;";

static char *
with_suffix(const char *path, const char *suffix)
{
    struct buf b = { 0 };

    buf_addf(&b, "%s%s", path, suffix);
    buf_z(&b);
    return b.p;
}

/* ---- where it is ---- */

static char *
database_path(const struct conf *c)
{
    char *common, *path;

    if (c->quota_database[0] != '\0')
        return mem_dupz(c->quota_database);
    common = location_common(c);
    path = common == NULL ? NULL : with_suffix(common, "/quota.db");
    free(common);
    return path;
}

/* What quota.db says is as of when quota was on: mail came since that it does not know. */
static void
drop_old(const struct conf *c)
{
    static const char *const parts[] = { "", "-wal", "-shm" };
    char *path = database_path(c);

    if (path != NULL && access(path, F_OK) == 0) {
        log_info("quota.off", LOG_NONE, "quota is off: %s is removed; users are counted anew later",
                 path);
        for (size_t i = 0; i < COUNT_OF(parts); i++) {
            char *at = with_suffix(path, parts[i]);

            unlink(at);
            free(at);
        }
    }
    free(path);
}

int
quota_new(const struct conf *c, struct quota **out, struct err *e)
{
    struct quota_rules *rules;
    struct quota *q;
    char *path;

    *out = NULL;
    if (!quota_is_on(c)) {
        drop_old(c);
        return 0;
    }
    if (quota_rules_new(c, sl_n(NULL, 0), &rules, e))
        return -1;
    path = database_path(c);
    if (path == NULL || path[0] != '/') {
        free(path);
        quota_rules_free(&rules);
        return err_set(e, ERR_CONFIG,
                       "quota: mail_location has no beginning that is the same for everybody, so "
                       "quota_database must be set, to an absolute path");
    }
    q = MEM_NEW(struct quota);
    q->rules = rules;
    q->path = path;
    q->lock_path = with_suffix(path, LOCK_SUFFIX);
    q->owners_path = with_suffix(path, OWNERS_SUFFIX);
    q->lock_fd = q->owners_fd = -1;
    pthread_mutex_init(&q->lock, NULL);
    *out = q;
    return 0;
}

static void
db_forget(struct quota *q)
{
    db_close(&q->db);
    if (q->lock_fd >= 0)
        close(q->lock_fd);
    q->lock_fd = -1;
}

void
quota_free(struct quota **qp)
{
    struct quota *q = *qp;

    *qp = NULL;
    if (q == NULL)
        return;
    db_forget(q);
    if (q->owners_fd >= 0)
        close(q->owners_fd); /* its lock goes: whoever starts next settles what is left */
    pthread_mutex_destroy(&q->lock);
    quota_rules_free(&q->rules);
    free(q->path);
    free(q->lock_path);
    free(q->owners_path);
    free(q);
}

/* ---- opening ---- */

static int
make_schema(struct quota *q, struct err *e)
{
    int version;

    if (db_schema_version(q->db, &version, e))
        return -1;
    if (version > QUOTA_SCHEMA)
        return err_set(e, ERR_TEMP, "%s was made by a newer Postern (schema %d)", q->path, version);
    if (version == QUOTA_SCHEMA)
        return 0;
    if (db_begin(q->db, e))
        return -1;
    if (db_schema_version(q->db, &version, e) == 0 &&
        (version == QUOTA_SCHEMA ||
         (db_exec(q->db, schema, e) == 0 && db_set_schema_version(q->db, QUOTA_SCHEMA, e) == 0)))
        return db_commit(q->db, e);
    db_rollback(q->db);
    return -1;
}

/* Processes that open a new database at once all want it in WAL mode, and SQLite does not wait then. */
static int
open_database(struct quota *q, struct err *e)
{
    for (int tries = 0;; tries++) {
        *e = (struct err){ 0 };
        if (db_open(q->path, DB_CREATE | DB_WAL | DB_NO_AUTOCHECKPOINT | DB_IMPATIENT,
                    QUOTA_CACHE_KIB, &q->db, e) == 0)
            return 0;
        if (e->kind != ERR_TEMP || (e->sys != 0 && e->sys != EBUSY) || tries == QUOTA_OPEN_TRIES)
            return -1;
        usleep(QUOTA_OPEN_WAIT_US);
    }
}

static int
open_once(struct quota *q, struct err *e)
{
    struct stat st;

    q->lock_fd = open(q->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (q->lock_fd < 0 && errno == ENOENT) {
        char *dir = mem_dupz(q->path);
        int rc;

        *strrchr(dir, '/') = '\0';
        rc = fs_mkdirs(dir, 0700, e);
        free(dir);
        if (rc)
            return -1;
        q->lock_fd = open(q->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    }
    if (q->lock_fd < 0)
        return err_sys(e, "cannot open %s", q->lock_path);
    if (open_database(q, e) || make_schema(q, e)) {
        db_forget(q);
        return -1;
    }
    q->inode = stat(q->path, &st) ? 0 : (uint64_t)st.st_ino;
    q->epoch++;
    return 0;
}

/* Damaged: aside with it, once for all processes; everybody is counted again when he is needed. */
static void
set_aside(struct quota *q, const struct err *why)
{
    static const char *const parts[] = { "", "-wal", "-shm" };
    int fd = open(q->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct stat st;
    bool is_other;

    db_forget(q);
    if (fd < 0 || flock(fd, LOCK_EX)) {
        if (fd >= 0)
            close(fd);
        return;
    }
    is_other = q->inode != 0 && stat(q->path, &st) == 0 && (uint64_t)st.st_ino != q->inode;
    if (!is_other) {
        log_error("quota.damaged", LOG_NONE, "%s: %s; it is made again, and users are counted anew",
                  q->path, why->msg);
        for (size_t i = 0; i < COUNT_OF(parts); i++) {
            char *from = with_suffix(q->path, parts[i]), *to = with_suffix(from, ".damaged");

            if (rename(from, to) && errno != ENOENT)
                log_warn("quota.damaged", LOG_NONE, "cannot move %s aside", from);
            free(from);
            free(to);
        }
    }
    q->inode = 0;
    close(fd);
}

static int
open_any(struct quota *q, struct err *e)
{
    struct err why = { 0 };

    if (open_once(q, &why) == 0)
        return 0;
    if (why.kind == ERR_PERM) {
        struct stat st;

        q->inode = stat(q->path, &st) ? 0 : (uint64_t)st.st_ino;
        set_aside(q, &why);
        why = (struct err){ 0 };
        if (open_once(q, &why) == 0)
            return 0;
    }
    *e = why;
    e->kind = ERR_TEMP;
    return err_prefix(e, "quota");
}

int
quota_begin(struct quota *q, bool is_write, struct err *e)
{
    struct stat st;
    int rc = 0;

    pthread_mutex_lock(&q->lock);
    /* Somebody may have removed it under us ("delete it and users are counted anew"). */
    if (q->db != NULL && (stat(q->path, &st) ? errno == ENOENT : (uint64_t)st.st_ino != q->inode)) {
        db_forget(q);
        q->inode = 0;
    }
    if (q->db == NULL && open_any(q, e))
        rc = -1;
    if (rc == 0 && is_write) {
        do /* writers shared, a checkpoint alone: see lock_shared() of index.c */
            rc = flock(q->lock_fd, LOCK_SH);
        while (rc && errno == EINTR);
        if (rc) {
            err_sys(e, "cannot lock %s", q->lock_path);
        } else if ((rc = db_begin(q->db, e)) != 0) {
            flock(q->lock_fd, LOCK_UN);
            err_prefix(e, "quota");
            if (e->kind == ERR_PERM)
                set_aside(q, e);
            e->kind = ERR_TEMP;
        }
    }
    if (rc)
        pthread_mutex_unlock(&q->lock);
    return rc;
}

static void
checkpoint(struct quota *q)
{
    static atomic_uint n;
    struct err e = { 0 };
    struct stat st;
    char *log;

    if (atomic_fetch_add(&n, 1) % QUOTA_WAL_LOOK != 0)
        return;
    log = with_suffix(q->path, "-wal");
    if (stat(log, &st) == 0 && st.st_size > QUOTA_WAL_OCTETS &&
        flock(q->lock_fd, st.st_size > QUOTA_WAL_MAX_OCTETS ? LOCK_EX : LOCK_EX | LOCK_NB) == 0) {
        if (db_checkpoint(q->db, true, &e) && e.kind != ERR_TEMP)
            log_warn("quota.checkpoint", LOG_NONE, "%s: %s", q->path, e.msg);
        flock(q->lock_fd, LOCK_UN);
    }
    free(log);
}

int
quota_end(struct quota *q, bool is_write, int rc, struct err *e)
{
    struct err why = { 0 };

    if (e == NULL)
        e = &why;
    if (is_write) {
        if (rc >= 0) {
            *e = (struct err){ 0 };
            if (db_commit(q->db, e))
                rc = -1;
        } else {
            db_rollback(q->db);
        }
        flock(q->lock_fd, LOCK_UN);
        if (rc >= 0)
            checkpoint(q);
    }
    if (rc < 0 && e->kind == ERR_PERM) {
        set_aside(q, e);
        e->kind = ERR_TEMP;
    }
    pthread_mutex_unlock(&q->lock);
    return rc;
}

int
quota_log_fd(struct quota *q, dev_t *dev)
{
    char *log = with_suffix(q->path, "-wal");
    int fd = open(log, O_RDONLY | O_CLOEXEC);
    struct stat st;

    free(log);
    if (fd >= 0)
        *dev = fstat(fd, &st) ? 0 : st.st_dev;
    return fd;
}

/* ---- rows of users ---- */

struct slice
quota_domain_of(struct slice user)
{
    size_t at = sl_rfind_char(user, '@');

    return at == SL_NPOS ? sl_n(NULL, 0) : sl_from(user, at + 1);
}

int
quota_row_load(struct quota *q, struct slice user, struct quota_row *out, struct err *e)
{
    struct db_stmt *s;
    int rc;

    memset(out, 0, sizeof(*out));
    if (db_prepare(q->db,
                   "SELECT id, seq, ignored, is_counted, octets, messages, open_octets, "
                   "open_messages FROM users WHERE name = ?",
                   &s, e))
        return -1;
    db_bind_text(s, 1, user);
    rc = db_step(s, e);
    if (rc != 1)
        return rc;
    out->id = db_int(s, 0);
    out->seq = db_int(s, 1);
    out->ignored = db_int(s, 2);
    out->is_counted = db_int(s, 3) != 0;
    out->octets = db_int(s, 4);
    out->messages = db_int(s, 5);
    out->open_octets = db_int(s, 6);
    out->open_messages = db_int(s, 7);
    db_reset(s);
    return 1;
}

int
quota_row_take(struct quota *q, struct slice user, struct quota_row *out, struct err *e)
{
    struct db_stmt *s;
    int rc = quota_row_load(q, user, out, e);

    if (rc != 0)
        return rc < 0 ? -1 : 0;
    if (db_prepare(q->db, "INSERT INTO users (name, domain) VALUES (?, lower(?))", &s, e))
        return -1;
    db_bind_text(s, 1, user);
    db_bind_text(s, 2, quota_domain_of(user));
    if (db_run(s, e))
        return -1;
    out->id = db_last_id(q->db);
    return 0;
}

int
quota_row_save(struct quota *q, const struct quota_row *r, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(q->db,
                   "UPDATE users SET seq = ?, ignored = ?, is_counted = ?, octets = ?, messages = ?"
                   " WHERE id = ?",
                   &s, e))
        return -1;
    db_bind_int(s, 1, r->seq);
    db_bind_int(s, 2, r->ignored);
    db_bind_int(s, 3, r->is_counted);
    db_bind_int(s, 4, r->octets);
    db_bind_int(s, 5, r->messages);
    db_bind_int(s, 6, r->id);
    return db_run(s, e);
}

int
quota_row_usage(struct quota *q, struct slice user, const struct quota_row *r,
                const struct quota_rules *rules, struct quota_usage *out, struct err *e)
{
    struct slice domain = quota_domain_of(user);
    struct db_stmt *s;
    int rc;

    memset(out, 0, sizeof(*out));
    out->octets = r->octets + r->open_octets;
    out->messages = r->messages + r->open_messages;
    if (rules != NULL) {
        out->limit = quota_rules_user(rules);
        out->domain_limit = quota_rules_domain(rules, domain);
    }
    if (db_prepare(q->db, "SELECT octets, messages FROM domains WHERE name = lower(?)", &s, e))
        return -1;
    db_bind_text(s, 1, domain);
    rc = db_step(s, e);
    if (rc != 1)
        return rc;
    out->domain_octets = db_int(s, 0);
    out->domain_messages = db_int(s, 1);
    db_reset(s);
    return 0;
}
