/* auth/users_app.c - app passwords and disabled users. See users_app.h. */
#include "auth/users_app.h"

#include "base/clock.h"
#include "base/mem.h"
#include "tls/digest.h"

#include <stdio.h>

#define OF_USER                                                                                    \
    " FROM postern_app_passwords p JOIN virtual_users u ON u.id = p.user_id AND"                   \
    " u.email = p.email COLLATE NOCASE WHERE u.email = ?1 COLLATE NOCASE"

/* ---- tables ---- */

/* The triggers hold for every program that writes to the file. A row that is only written in other letters is the same user. */
static const char app_tables[] = "CREATE TABLE IF NOT EXISTS postern_app_passwords ("
                                 " id INTEGER PRIMARY KEY AUTOINCREMENT,"
                                 " user_id INTEGER NOT NULL,"
                                 " email TEXT NOT NULL COLLATE NOCASE,"
                                 " label TEXT NOT NULL COLLATE NOCASE,"
                                 " services INTEGER NOT NULL,"
                                 " salt TEXT NOT NULL,"
                                 " digest TEXT NOT NULL,"
                                 " created_unix_s INTEGER NOT NULL,"
                                 " expires_unix_s INTEGER,"
                                 " used_unix_s INTEGER,"
                                 " used_service TEXT,"
                                 " used_address TEXT,"
                                 " UNIQUE (user_id, label));";
static const char app_triggers[] =
    "CREATE TRIGGER IF NOT EXISTS postern_app_passwords_gone AFTER DELETE ON virtual_users BEGIN"
    " DELETE FROM postern_app_passwords WHERE user_id = OLD.id; END;"
    "CREATE TRIGGER IF NOT EXISTS postern_app_passwords_renamed AFTER UPDATE ON virtual_users"
    " WHEN NEW.id IS NOT OLD.id OR NEW.email IS NOT OLD.email COLLATE NOCASE BEGIN"
    " DELETE FROM postern_app_passwords WHERE user_id = OLD.id; END;";
static const char app_orphans[] =
    "DELETE FROM postern_app_passwords WHERE NOT EXISTS (SELECT 1 FROM virtual_users u WHERE"
    " u.id = user_id AND u.email = postern_app_passwords.email COLLATE NOCASE)";

/* Unlike an app password a lock stays with who gets another address. */
static const char disabled_tables[] = "CREATE TABLE IF NOT EXISTS postern_disabled ("
                                      " name TEXT NOT NULL PRIMARY KEY COLLATE NOCASE,"
                                      " since_unix_s INTEGER NOT NULL"
                                      ") WITHOUT ROWID;";
static const char disabled_triggers[] =
    "CREATE TRIGGER IF NOT EXISTS postern_disabled_gone AFTER DELETE ON virtual_users BEGIN"
    " DELETE FROM postern_disabled WHERE name = OLD.email; END;"
    "CREATE TRIGGER IF NOT EXISTS postern_disabled_renamed AFTER UPDATE ON virtual_users"
    " WHEN NEW.email IS NOT OLD.email BEGIN"
    " UPDATE OR REPLACE postern_disabled SET name = NEW.email WHERE name = OLD.email; END;";
static const char disabled_orphans[] =
    "DELETE FROM postern_disabled WHERE NOT EXISTS (SELECT 1 FROM virtual_users u WHERE"
    " u.email = postern_disabled.name COLLATE NOCASE)";

static const struct {
    const char *table, *tables, *triggers, *no_triggers, *orphans;
} kept[] = {
    { "postern_app_passwords", app_tables, app_triggers,
      "DROP TRIGGER IF EXISTS postern_app_passwords_gone;"
      "DROP TRIGGER IF EXISTS postern_app_passwords_renamed",
      app_orphans },
    { "postern_disabled", disabled_tables, disabled_triggers,
      "DROP TRIGGER IF EXISTS postern_disabled_gone;"
      "DROP TRIGGER IF EXISTS postern_disabled_renamed",
      disabled_orphans },
};
enum { APPS, DISABLED };

/* 1 there, 0 not, -1. */
static int
has_table(struct users *u, const char *name, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(users_db(u), "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1",
                   &s, e) < 0)
        return -1;
    db_bind_text(s, 1, sl_z(name));
    rc = db_step(s, e);
    db_reset(s);
    return rc;
}

static int
make_table(struct users *u, size_t which, struct err *e)
{
    return db_exec(users_db(u), kept[which].tables, e) < 0 ||
                   db_exec(users_db(u), kept[which].triggers, e) < 0
               ? -1
               : 0;
}

int
users_tidy(struct users *u, struct err *e)
{
    int has_users = has_table(u, "virtual_users", e);

    for (size_t i = 0; i < COUNT_OF(kept) && has_users > 0; i++) {
        int rc = has_table(u, kept[i].table, e);

        if (rc > 0)
            rc = db_exec(users_db(u), kept[i].triggers, e) < 0
                     ? -1
                     : db_exec(users_db(u), kept[i].orphans, e);
        else if (rc == 0) /* without the table they would forbid every change of virtual_users */
            rc = db_exec(users_db(u), kept[i].no_triggers, e);
        if (rc < 0)
            return -1;
    }
    return has_users > 0 ? users_scram_prune(u, e) : has_users;
}

/* ---- app passwords ---- */

/* The row's number and address. */
static int
user_row(struct users *u, struct slice email, int64_t *id, struct buf *name, struct err *e)
{
    struct buf password = { 0 };
    struct db_stmt *s;
    int rc = users_find(u, email, name, &password, e);

    buf_wipe(&password);
    if (rc == 0)
        return err_set(e, ERR_NOTFOUND, "there is no user %.*s", SL_ARG(email));
    if (rc < 0 ||
        db_prepare(users_db(u), "SELECT id FROM virtual_users WHERE email = ?1 COLLATE NOCASE", &s,
                   e) < 0)
        return -1;
    db_bind_text(s, 1, buf_slice(name));
    rc = db_step(s, e);
    if (rc > 0)
        *id = db_int(s, 0);
    db_reset(s);
    return rc == 0 ? err_set(e, ERR_NOTFOUND, "there is no user %.*s", SL_ARG(email)) : rc;
}

/* 0 room for one of that label, or -1. */
static int
may_add(struct users *u, int64_t user_id, const struct users_app *a, struct err *e)
{
    struct db_stmt *s;
    int64_t n, same;
    int rc;

    if (db_prepare(users_db(u),
                   "SELECT count(*), coalesce(sum(label = ?2), 0) FROM postern_app_passwords"
                   " WHERE user_id = ?1",
                   &s, e) < 0)
        return -1;
    db_bind_int(s, 1, user_id);
    db_bind_text(s, 2, sl_z(a->label));
    rc = db_step(s, e);
    n = rc > 0 ? db_int(s, 0) : 0;
    same = rc > 0 ? db_int(s, 1) : 0;
    db_reset(s);
    if (rc < 0)
        return -1;
    if (same > 0 && a->label)
        return err_set(e, ERR_CLIENT, "there is an app password \"%s\" already", a->label);
    if (n >= USERS_APPS_MAX)
        return err_set(e, ERR_CLIENT, "there are %d app passwords already, which is the most",
                       USERS_APPS_MAX);
    return 0;
}

static int
insert(struct users *u, int64_t user_id, struct slice name, const struct users_app *a,
       const char *bare, struct err *e)
{
    char salt[APP_PASSWORD_SALT_HEX + 1], digest[APP_PASSWORD_DIGEST_HEX + 1];
    struct db_stmt *s;

    app_password_salt(salt);
    if (app_password_digest(sl_z(salt), bare, digest) < 0)
        return err_set(e, ERR_CONFIG, "SHA-256 is switched off on this system");
    if (db_prepare(users_db(u),
                   "INSERT INTO postern_app_passwords (user_id, email, label, services, salt,"
                   " digest, created_unix_s, expires_unix_s) VALUES (?1, ?2,"
                   " coalesce(?3, 'app-' || (1 + coalesce((SELECT seq FROM sqlite_sequence"
                   " WHERE name = 'postern_app_passwords'), 0))), ?4, ?5, ?6, ?7, ?8)",
                   &s, e) < 0)
        return -1;
    db_bind_int(s, 1, user_id);
    db_bind_text(s, 2, name);
    if (a->label)
        db_bind_text(s, 3, sl_z(a->label));
    db_bind_int(s, 4, a->services);
    db_bind_text(s, 5, sl_z(salt));
    db_bind_text(s, 6, sl_z(digest));
    db_bind_int(s, 7, clock_unix_s());
    if (a->expires_unix_s)
        db_bind_int(s, 8, a->expires_unix_s);
    return db_run(s, e);
}

int
users_app_add(struct users *u, struct slice email, const struct users_app *a, const char *bare,
              int64_t *id, struct err *e)
{
    struct buf name = { 0 };
    int64_t user_id = 0;
    int rc = -1;

    if (db_begin(users_db(u), e) < 0)
        return -1;
    if (user_row(u, email, &user_id, &name, e) > 0 && make_table(u, APPS, e) == 0 &&
        users_tidy(u, e) == 0 && may_add(u, user_id, a, e) == 0)
        rc = insert(u, user_id, buf_slice(&name), a, bare, e);
    *id = db_last_id(users_db(u));
    buf_free(&name);
    if (rc < 0)
        db_rollback(users_db(u));
    return rc < 0 ? -1 : db_commit(users_db(u), e);
}

int
users_app_revoke(struct users *u, struct slice email, struct slice which, struct err *e)
{
    struct buf name = { 0 };
    struct db_stmt *s;
    int64_t user_id;
    uint64_t id;
    int rc = user_row(u, email, &user_id, &name, e);

    buf_free(&name);
    if (rc > 0)
        rc = has_table(u, kept[APPS].table, e);
    if (rc <= 0)
        return rc;
    if (db_prepare(users_db(u),
                   "DELETE FROM postern_app_passwords WHERE user_id = ?1 AND"
                   " (id = ?2 OR label = ?3 OR ?3 = '')",
                   &s, e) < 0)
        return -1;
    db_bind_int(s, 1, user_id);
    db_bind_int(s, 2, sl_to_u64(which, &id) && id <= INT64_MAX ? (int64_t)id : -1);
    db_bind_text(s, 3, which);
    return db_run(s, e) < 0 ? -1 : (int)db_changes(users_db(u));
}

/* ---- log-ins ---- */

struct match {
    const char *bare;
    unsigned service;
    int64_t now, id;
    enum users_app_rc rc;
};

static bool
is_it(struct slice salt, struct slice digest_hex, const char *bare)
{
    char digest[APP_PASSWORD_DIGEST_HEX + 1];

    return app_password_digest(salt, bare, digest) == 0 &&
           digest_hex.n == APP_PASSWORD_DIGEST_HEX &&
           digest_equal(digest, digest_hex.p, APP_PASSWORD_DIGEST_HEX);
}

static void
look_at(struct match *m, struct db_stmt *s)
{
    if (!is_it(db_text(s, 1), db_text(s, 2), m->bare))
        return;
    m->id = db_int(s, 0);
    m->rc = !(db_int(s, 3) & m->service)                  ? USERS_APP_SCOPE
            : !db_is_null(s, 4) && db_int(s, 4) <= m->now ? USERS_APP_EXPIRED
                                                          : USERS_APP_GOOD;
}

int
users_app_match(struct users *u, struct slice email, struct slice entered, unsigned service,
                int64_t now_unix_s, int64_t *id, struct err *e)
{
    char bare[APP_PASSWORD_CHARS + 1];
    struct match m = { .bare = bare, .service = service, .now = now_unix_s };
    struct db_stmt *s;
    int rc = has_table(u, kept[APPS].table, e), n = 0;

    if (rc <= 0 || !app_password_bare(entered, bare))
        return rc < 0 ? -1 : USERS_APP_NONE;
    if (db_prepare(users_db(u),
                   "SELECT p.id, p.salt, p.digest, p.services, p.expires_unix_s" OF_USER, &s,
                   e) < 0)
        return -1;
    db_bind_text(s, 1, email);
    for (; n < USERS_APPS_MAX && (rc = db_step(s, e)) > 0; n++)
        look_at(&m, s);
    db_reset(s);
    for (; n < USERS_APPS_MAX; n++) /* nobody learns how many there are */
        (void)is_it(SL("00000000000000000000000000000000"), SL(""), bare);
    mem_wipe(bare, sizeof bare);
    *id = m.id;
    return rc < 0 ? -1 : (int)m.rc;
}

int
users_app_used(struct users *u, int64_t id, int64_t when_unix_s, struct slice service,
               struct slice address, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(users_db(u),
                   "UPDATE postern_app_passwords SET used_unix_s = ?2, used_service = ?3,"
                   " used_address = ?4 WHERE id = ?1",
                   &s, e) < 0)
        return -1;
    db_bind_int(s, 1, id);
    db_bind_int(s, 2, when_unix_s);
    db_bind_text(s, 3, service);
    db_bind_text(s, 4, address);
    return db_run(s, e);
}

/* ---- who may not log in ---- */

int
users_is_disabled(struct users *u, struct slice email, struct err *e)
{
    struct db_stmt *s;
    int rc = has_table(u, kept[DISABLED].table, e);

    if (rc <= 0)
        return rc;
    if (db_prepare(users_db(u), "SELECT 1 FROM postern_disabled WHERE name = ?1", &s, e) < 0)
        return -1;
    db_bind_text(s, 1, email);
    rc = db_step(s, e);
    db_reset(s);
    return rc;
}

static int
set_disabled(struct users *u, struct slice name, bool is_disabled, struct err *e)
{
    struct db_stmt *s;

    if (make_table(u, DISABLED, e) < 0 ||
        db_prepare(users_db(u),
                   is_disabled ? "INSERT OR IGNORE INTO postern_disabled VALUES (?1, ?2)"
                               : "DELETE FROM postern_disabled WHERE name = ?1",
                   &s, e) < 0)
        return -1;
    db_bind_text(s, 1, name);
    if (is_disabled)
        db_bind_int(s, 2, clock_unix_s());
    return db_run(s, e) < 0 ? -1 : db_changes(users_db(u)) > 0;
}

int
users_disable(struct users *u, struct slice email, bool is_disabled, struct err *e)
{
    struct buf name = { 0 };
    int64_t id;
    int rc = user_row(u, email, &id, &name, e);

    if (rc > 0)
        rc = set_disabled(u, buf_slice(&name), is_disabled, e);
    buf_free(&name);
    return rc;
}
