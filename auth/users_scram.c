/* auth/users_scram.c - SCRAM-SHA-256's verifiers (postern_scram_verifiers). See users.h. */
#include "auth/users.h"

#include "auth/scram.h"
#include "base/enc.h"
#include "base/mem.h"
#include "tls/digest.h"

#define TABLE "postern_scram_verifiers"
#define NOBODYS                                                                                    \
    "4096,AAAAAAAAAAAAAAAAAAAAAA==,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=,"                  \
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

/* Which stored text a verifier belongs to. Salted, or equal texts would show. */
static void
write_made_for(const struct sasl_verifier *v, struct slice stored, struct buf *out)
{
    unsigned char mac[DIGEST_MAX_OCTETS];
    size_t n = digest_hmac(DIGEST_SHA256, sl_n((const char *)v->salt, v->salt_n), stored, mac);

    enc_hex(out, sl_n((const char *)mac, n));
}

static bool
is_made_for(const struct sasl_verifier *v, struct slice stored, struct slice made_for)
{
    struct buf b = { 0 };
    bool is_so;

    write_made_for(v, stored, &b);
    is_so = b.n > 0 && sl_eq(buf_slice(&b), made_for);
    buf_free(&b);
    return is_so;
}

int
users_scram_find(struct users *u, struct slice email, struct slice stored,
                 struct sasl_verifier *out, struct err *e)
{
    struct db_stmt *s;
    int rc = users_has_table(u, TABLE, e);

    if (rc <= 0)
        return rc;
    if (db_prepare(users_db(u), "SELECT verifier, made_for FROM " TABLE " WHERE email = ?1", &s,
                   e) < 0)
        return -1;
    db_bind_text(s, 1, email);
    rc = db_step(s, e);
    if (rc >= 0) { /* no row: as much work */
        struct slice text = rc > 0 ? db_text(s, 0) : SL(NOBODYS);
        struct slice made_for = rc > 0 ? db_text(s, 1) : SL("");

        if (scram_read(text, out) < 0 || !is_made_for(out, stored, made_for))
            rc = 0;
        db_reset(s);
    }
    return rc;
}

bool
users_scram_is_wanted(struct users *u, struct slice email, struct slice stored, uint32_t iterations)
{
    struct sasl_verifier v;
    struct err e;
    int rc;

    if (iterations == 0 || sl_has_iprefix(stored, SL(SCRAM_SCHEME_PREFIX)))
        return false;
    rc = users_scram_find(u, email, stored, &v, &e);
    return rc == 0 || (rc > 0 && v.iterations != iterations);
}

static int
make_table(struct users *u, struct err *e)
{
    int rc = users_has_table(u, TABLE, e);

    if (rc != 0)
        return rc < 0 ? -1 : 0;
    return db_exec(users_db(u),
                   "CREATE TABLE IF NOT EXISTS " TABLE " ("
                   " email TEXT NOT NULL PRIMARY KEY COLLATE NOCASE,"
                   " verifier TEXT NOT NULL, made_for TEXT NOT NULL) WITHOUT ROWID",
                   e);
}

int
users_scram_set(struct users *u, struct slice email, struct slice stored,
                const struct sasl_verifier *v, struct err *e)
{
    struct buf text = { 0 }, made_for = { 0 };
    struct db_stmt *s;
    int rc = make_table(u, e);

    if (rc == 0)
        rc = db_prepare(users_db(u), /* not of a password that was changed meanwhile */
                        "INSERT OR REPLACE INTO " TABLE " SELECT ?1, ?2, ?3 WHERE EXISTS"
                        " (SELECT 1 FROM virtual_users WHERE email = ?1 COLLATE NOCASE AND"
                        " CAST(password AS BLOB) = CAST(?4 AS BLOB))",
                        &s, e);
    if (rc == 0) {
        scram_write(v, &text);
        write_made_for(v, stored, &made_for);
        db_bind_text(s, 1, email);
        db_bind_text(s, 2, buf_slice(&text));
        db_bind_text(s, 3, buf_slice(&made_for));
        db_bind_text(s, 4, stored);
        rc = db_run(s, e);
        mem_wipe(text.p, text.cap);
    }
    buf_free(&text);
    buf_free(&made_for);
    if (rc == 0)
        users_wrote(u);
    return rc;
}

int
users_scram_forget(struct users *u, struct slice email, struct err *e)
{
    struct db_stmt *s;
    int rc = users_has_table(u, TABLE, e);

    if (rc <= 0)
        return rc;
    if (db_prepare(users_db(u), "DELETE FROM " TABLE " WHERE email = ?1", &s, e) < 0)
        return -1;
    db_bind_text(s, 1, email);
    return db_run(s, e);
}

int
users_scram_prune(struct users *u, struct err *e)
{
    int rc = users_has_table(u, TABLE, e);

    if (rc <= 0)
        return rc;
    return db_exec(users_db(u),
                   "DELETE FROM " TABLE " WHERE NOT EXISTS (SELECT 1 FROM virtual_users v"
                   " WHERE v.email = " TABLE ".email COLLATE NOCASE)",
                   e);
}

int
users_scram_renew(struct users *u, struct slice email, struct slice stored, struct slice password,
                  uint32_t iterations, struct err *e)
{
    struct sasl_verifier v;
    struct err why = { 0 };
    int rc;

    if (iterations && scram_make(password, iterations, &v, &why) == 0)
        rc = users_scram_set(u, email, stored, &v, e);
    else /* also one of the password before */
        rc = users_scram_forget(u, email, e);
    mem_wipe(&v, sizeof v);
    return rc;
}
