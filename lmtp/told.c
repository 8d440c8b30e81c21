/* lmtp/told.c - see told.h. */
#include "lmtp/told.h"

#include "store/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CACHE_KIB = 128 };

int
told_open(const struct conf *c, struct db **db, struct err *e)
{
    char *common = c->quota_database[0] ? NULL : location_common(c);
    struct buf path = { 0 };
    int rc;

    if (c->quota_database[0])
        buf_addf(&path, "%s.warnings", c->quota_database);
    else if (common)
        buf_addf(&path, "%s/quota-warnings.db", common);
    free(common);
    if (path.n == 0)
        return err_set(e, ERR_CONFIG,
                       "mail_location has no part that is the same for everybody: "
                       "set quota_database");
    rc = db_open(buf_z(&path), DB_CREATE | DB_WAL, CACHE_KIB, db, e);
    if (rc == 0)
        rc = db_exec(*db,
                     "CREATE TABLE IF NOT EXISTS told ("
                     " user TEXT NOT NULL PRIMARY KEY,"
                     " marks INTEGER NOT NULL," /* the rows of quota_warning he is over, as bits */
                     " ident TEXT,"             /* the message he is owed, or NULL */
                     " mark INTEGER"            /* ... and which row calls for it */
                     ") WITHOUT ROWID",
                     e);
    buf_free(&path);
    return rc;
}

int
told_load(struct db *db, struct slice user, struct told *out, struct err *e)
{
    struct db_stmt *s;
    int rc;

    *out = (struct told){ .mark = -1 };
    if (db_prepare(db, "SELECT marks, ident, mark FROM told WHERE user = ?1", &s, e) < 0)
        return -1;
    db_bind_text(s, 1, user);
    rc = db_step(s, e);
    if (rc > 0) {
        out->marks = (uint64_t)db_int(s, 0);
        snprintf(out->ident, sizeof out->ident, "%.*s", SL_ARG(db_text(s, 1)));
        out->mark = db_int(s, 2);
    }
    db_reset(s);
    return rc < 0 ? -1 : 0;
}

int
told_save(struct db *db, struct slice user, const struct told *t, struct err *e)
{
    bool is_gone = t->marks == 0 && t->ident[0] == '\0';
    struct db_stmt *s;

    if (db_prepare(db,
                   is_gone ? "DELETE FROM told WHERE user = ?1"
                           : "INSERT OR REPLACE INTO told VALUES (?1, ?2, ?3, ?4)",
                   &s, e) < 0)
        return -1;
    db_bind_text(s, 1, user);
    if (!is_gone) {
        db_bind_int(s, 2, (int64_t)t->marks);
        if (t->ident[0] != '\0')
            db_bind_text(s, 3, sl_z(t->ident));
        db_bind_int(s, 4, t->mark);
    }
    return db_run(s, e);
}

int
told_each(struct db *db, void (*fn)(void *arg, struct slice user, const struct told *t), void *arg,
          struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(db, "SELECT user, marks FROM told", &s, e) < 0)
        return -1;
    while ((rc = db_step(s, e)) > 0)
        fn(arg, db_text(s, 0), &(struct told){ .marks = (uint64_t)db_int(s, 1), .mark = -1 });
    return rc;
}
