/* auth/users.c - see users.h. */
#include "auth/users.h"

#include "auth/sql_func.h"
#include "auth/sql_translate.h"
#include "base/mem.h"
#include "proto/idn.h"

#include <stdlib.h>
#include <sys/stat.h>

enum { USERS_CACHE_KIB = 512 };

struct users {
    struct db *db;
    char *path;
    int64_t version;
    struct stat st; /* when opened */
};

int
users_open(const char *path, unsigned flags, struct users **out, struct err *e)
{
    unsigned db_flags = DB_SYNC_FULL | (flags & USERS_MAKE ? DB_CREATE : 0) |
                        (flags & USERS_IMPATIENT ? DB_IMPATIENT : 0);
    struct users *u = MEM_NEW(struct users);

    /* Rollback journal, not WAL: the file is small, changed by hand, copied and replaced by operators. */
    if (db_open(path, db_flags, USERS_CACHE_KIB, &u->db, e) < 0 ||
        sql_add_functions(u->db, e) < 0) {
        db_close(&u->db);
        free(u);
        return -1;
    }
    u->path = mem_dupz(path);
    if (stat(path, &u->st) < 0)
        memset(&u->st, 0, sizeof u->st);
    u->version = db_data_version(u->db);
    *out = u;
    return 0;
}

void
users_close(struct users **up)
{
    struct users *u = *up;

    if (u == NULL)
        return;
    db_close(&u->db);
    free(u->path);
    free(u);
    *up = NULL;
}

struct db *
users_db(struct users *u)
{
    return u->db;
}

int
users_make_tables(struct users *u, struct err *e)
{
    static const char schema[] =
        "CREATE TABLE IF NOT EXISTS `virtual_domains` ("
        " `id` int(11) NOT NULL auto_increment, `name` varchar(50) NOT NULL, PRIMARY KEY (`id`)"
        ") ENGINE=InnoDB DEFAULT CHARSET=utf8;"
        "CREATE TABLE IF NOT EXISTS `virtual_users` ("
        " `id` int(11) NOT NULL auto_increment, `domain_id` int(11) NOT NULL, `password` "
        "varchar(106) NOT NULL,"
        " `email` varchar(100) NOT NULL, PRIMARY KEY (`id`), UNIQUE KEY `email` (`email`),"
        " FOREIGN KEY (domain_id) REFERENCES virtual_domains(id) ON DELETE CASCADE"
        ") ENGINE=InnoDB DEFAULT CHARSET=utf8;"
        "CREATE TABLE IF NOT EXISTS `virtual_aliases` ("
        " `id` int(11) NOT NULL auto_increment, `domain_id` int(11) NOT NULL, `source` "
        "varchar(100) NOT NULL,"
        " `destination` varchar(100) NOT NULL, PRIMARY KEY (`id`),"
        " FOREIGN KEY (domain_id) REFERENCES virtual_domains(id) ON DELETE CASCADE"
        ") ENGINE=InnoDB DEFAULT CHARSET=utf8;";
    struct sql_statement st;
    struct sql_in in;
    int rc;

    /* The guide's own words, so that both ways to these tables give the same ones. */
    sql_open(&in, sl_z(schema), false, sl_n(NULL, 0));
    while ((rc = sql_next(&in, &st, e)) > 0) {
        char *sql = sl_dupz(st.sql);

        rc = db_exec(u->db, sql, e);
        free(sql);
        if (rc < 0)
            break;
    }
    sql_close(&in);
    return rc;
}

/* The version tells of commits, the times of another file under the same name (its number may be the old one's). */
bool
users_is_changed(struct users *u)
{
    struct stat st;
    int64_t version = db_data_version(u->db);

    /* No version: it is locked just now, which is no change. */
    return stat(u->path, &st) < 0 || st.st_dev != u->st.st_dev || st.st_ino != u->st.st_ino ||
           st.st_mtim.tv_sec != u->st.st_mtim.tv_sec ||
           st.st_mtim.tv_nsec != u->st.st_mtim.tv_nsec || (version >= 0 && version != u->version);
}

void
users_wrote(struct users *u)
{
    struct stat st;

    if (stat(u->path, &st) == 0 && st.st_dev == u->st.st_dev && st.st_ino == u->st.st_ino)
        u->st = st; /* another's commit shows in the version */
}

int
users_has_table(struct users *u, const char *table, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(u->db, "SELECT 1 FROM sqlite_master WHERE name = ?1", &s, e) < 0)
        return -1;
    db_bind_text(s, 1, sl_z(table));
    rc = db_step(s, e);
    db_reset(s);
    return rc;
}

static int
find_row(struct users *u, const char *sql, struct slice email, struct buf *name,
         struct buf *password, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(u->db, sql, &s, e) < 0)
        return -1;
    if (db_bind_count(s))
        db_bind_text(s, 1, email);
    rc = db_step(s, e);
    if (rc > 0) {
        buf_adds(name, db_text(s, 0));
        buf_adds(password, db_text(s, 1));
        db_reset(s);
    }
    return rc;
}

/* The same look-ups for everybody: how long it took must not tell who is here. */
int
users_find(struct users *u, struct slice email, struct buf *name, struct buf *password,
           struct err *e)
{
    static const char by_email[] =
        "SELECT email, password FROM virtual_users WHERE email = ?1 COLLATE NOCASE";
    static const char anybody[] = "SELECT '', password FROM virtual_users LIMIT 1";
    char others[2][IDN_KEY_OCTETS];
    size_t n = idn_other_keys(email, others);
    struct buf unused[2] = { { 0 }, { 0 } };
    int found, rc = 0;

    buf_reset(name);
    buf_reset(password);
    found = find_row(u, by_email, email, name, password, e);
    for (size_t i = 0; i <= n && found >= 0 && rc >= 0; i++) {
        rc = find_row(u, i < n ? by_email : anybody, i < n ? sl_z(others[i]) : email,
                      found ? &unused[0] : name, found ? &unused[1] : password, e);
        found = found || (i < n && rc > 0);
    }
    if (unused[1].p)
        mem_wipe(unused[1].p, unused[1].cap);
    buf_free(&unused[0]);
    buf_free(&unused[1]);
    return rc < 0 ? -1 : found;
}

int
users_has_domains(struct users *u, struct err *e)
{
    static const char any_domain[] = "SELECT 1 FROM virtual_domains LIMIT 1";
    struct db_stmt *s;
    int rc = users_has_table(u, "virtual_domains", e);

    if (rc <= 0)
        return rc < 0 ? -1 : err_set(e, ERR_NOTFOUND, "%s has no table virtual_domains", u->path);
    if (db_prepare(u->db, any_domain, &s, e) < 0)
        return -1;
    rc = db_step(s, e);
    db_reset(s);
    return rc;
}
