/* auth/users_quota.c - limits of users and domains (postern_quota). See users.h. */
#include "auth/users.h"

#include "proto/idn.h"

#define SELECT_LIMIT "SELECT storage, messages FROM postern_quota WHERE name = ?1"

int
users_quota_make_table(struct users *u, struct err *e)
{
    /* Numbers only: "2G" would count as 2 octets. */
    return db_exec(users_db(u),
                   "CREATE TABLE IF NOT EXISTS postern_quota ("
                   " name TEXT NOT NULL PRIMARY KEY COLLATE NOCASE,"
                   " storage INTEGER CHECK (typeof(storage) IN ('integer', 'null') AND"
                   " coalesce(storage, 0) >= 0),"
                   " messages INTEGER CHECK (typeof(messages) IN ('integer', 'null') AND"
                   " coalesce(messages, 0) >= 0)"
                   ") WITHOUT ROWID",
                   e);
}

static int
find_row(struct users *u, struct slice name, struct users_quota *out, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(users_db(u), SELECT_LIMIT, &s, e) < 0)
        return -1;
    db_bind_text(s, 1, name);
    rc = db_step(s, e);
    if (rc > 0) {
        out->octets = db_is_null(s, 0) ? -1 : db_int(s, 0);
        out->messages = db_is_null(s, 1) ? -1 : db_int(s, 1);
        db_reset(s);
    }
    return rc;
}

static int
find(struct users *u, struct slice name, struct users_quota *out, struct err *e)
{
    char others[2][IDN_KEY_OCTETS];
    int rc = find_row(u, name, out, e);
    size_t n = rc == 0 ? idn_other_keys(name, others) : 0;

    for (size_t i = 0; i < n && rc == 0; i++)
        rc = find_row(u, sl_z(others[i]), out, e);
    return rc;
}

int
users_quota_find(struct users *u, struct slice name, struct users_quota *out, struct err *e)
{
    int rc = users_has_table(u, "postern_quota", e);

    *out = (struct users_quota){ .octets = -1, .messages = -1 };
    return rc > 0 ? find(u, name, out, e) : rc;
}

int
users_quota_set(struct users *u, struct slice name, const struct users_quota *q, struct err *e)
{
    const int64_t values[] = { q->octets, q->messages };
    struct db_stmt *s;

    if (users_quota_make_table(u, e) < 0 ||
        db_prepare(users_db(u), "INSERT OR REPLACE INTO postern_quota VALUES (?1, ?2, ?3)", &s, e) <
            0)
        return -1;
    db_bind_text(s, 1, name);
    for (int i = 0; i < 2; i++)
        if (values[i] >= 0)
            db_bind_int(s, i + 2, values[i]);
    return db_run(s, e);
}

int
users_quota_forget(struct users *u, struct slice name, struct err *e)
{
    struct db_stmt *s;
    int rc = users_has_table(u, "postern_quota", e);

    if (rc <= 0)
        return rc;
    if (db_prepare(users_db(u), "DELETE FROM postern_quota WHERE name = ?1", &s, e) < 0)
        return -1;
    db_bind_text(s, 1, name);
    return db_run(s, e) < 0 ? -1 : db_changes(users_db(u)) > 0;
}

int
users_quota_forget_domain(struct users *u, struct slice domain, struct err *e)
{
    struct db_stmt *s;
    int rc = users_has_table(u, "postern_quota", e);

    if (rc <= 0)
        return rc;
    if (db_prepare(users_db(u),
                   "DELETE FROM postern_quota WHERE name = ?1 OR"
                   " substr(name, -length(?1) - 1) = '@' || ?1 COLLATE NOCASE",
                   &s, e) < 0)
        return -1;
    db_bind_text(s, 1, domain);
    return db_run(s, e);
}

/* What is too much for a rule, written by another tool, must not make all rules of the user wrong. */
static long long
held(int64_t limit)
{
    return limit < USERS_QUOTA_MAX ? limit : USERS_QUOTA_MAX;
}

static void
add_limits(struct buf *out, const struct users_quota *q)
{
    if (q->octets >= 0)
        buf_addf(out, ":bytes=%lld", held(q->octets));
    if (q->messages >= 0)
        buf_addf(out, ":messages=%lld", held(q->messages));
    buf_addc(out, '\n');
}

int
users_quota_fields(struct users *u, struct slice user, struct buf *out, struct err *e)
{
    struct slice domain = sl_from(user, sl_rfind_char(user, '@') + 1);
    struct users_quota q;
    int rc = users_has_table(u, "postern_quota", e);

    if (rc <= 0)
        return rc;
    rc = find(u, user, &q, e);
    if (rc > 0 && (q.octets >= 0 || q.messages >= 0)) {
        buf_addz(out, "quota_rule" USERS_QUOTA_RULE "=*");
        add_limits(out, &q);
    }
    if (rc >= 0 && domain.n < user.n)
        rc = find(u, domain, &q, e);
    if (rc > 0 && (q.octets >= 0 || q.messages >= 0)) {
        buf_addf(out, "quota_domain_rule=%.*s", SL_ARG(domain));
        add_limits(out, &q);
    }
    return rc < 0 ? -1 : 0;
}
