/* db/db_test.c */
#include "db/db.h"

#include "base/fs.h"
#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64], path[96];

static void
fresh_dir(void)
{
    if (dir[0])
        fs_remove_tree(dir, NULL);
    snprintf(dir, sizeof dir, "/tmp/db_test.XXXXXX");
    if (!mkdtemp(dir))
        abort();
    snprintf(path, sizeof path, "%s/a.db", dir);
}

static void
remove_dir(void)
{
    fs_remove_tree(dir, NULL);
}

static struct db *
open_new(unsigned flags)
{
    struct db *d = NULL;
    struct err e = { 0 };

    fresh_dir();
    if (db_open(path, DB_CREATE | flags, 0, &d, &e) != 0)
        FAIL("open: %s", e.msg);
    return d;
}

TEST(makes_a_private_file_and_keeps_rows)
{
    struct db *d = open_new(DB_WAL | DB_SYNC_FULL);
    struct db_stmt *s, *again;
    struct err e = { 0 };
    struct stat st;
    static const char insert[] = "INSERT INTO t(a, b) VALUES(?, ?)";

    NEED(d);
    CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
    CHECK_EQ_INT(db_exec(d, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)", &e), 0);
    CHECK_EQ_INT(db_begin(d, &e), 0);
    CHECK(db_in_tx(d));
    NEED(db_prepare(d, insert, &s, &e) == 0);
    CHECK_EQ_INT(db_bind_count(s), 2);
    db_bind_int(s, 1, 7);
    db_bind_blob(s, 2, sl_n("a\0b", 3));
    CHECK_EQ_INT(db_run(s, &e), 0);
    NEED(db_prepare(d, insert, &again, &e) == 0);
    CHECK(s == again);
    db_bind_null(s, 1);
    db_bind_text(s, 2, SL("text"));
    CHECK_EQ_INT(db_run(s, &e), 0);
    CHECK_EQ_INT(db_last_id(d), 8);
    CHECK_EQ_INT(db_changes(d), 1);
    CHECK_EQ_INT(db_commit(d, &e), 0);
    CHECK(!db_in_tx(d));
    db_close(&d);

    NEED(db_open(path, DB_READONLY, 0, &d, &e) == 0);
    NEED(db_prepare(d, "SELECT a, b, NULL, 12 AS n FROM t ORDER BY a", &s, &e) == 0);
    CHECK_EQ_INT(db_step(s, &e), 1);
    CHECK_EQ_INT(db_columns(s), 4);
    CHECK_EQ_STR(db_column_name(s, 3), "n");
    CHECK_EQ_INT(db_int(s, 0), 7);
    CHECK_EQ_MEM(db_text(s, 1).p, db_text(s, 1).n, "a\0b", 3);
    CHECK(db_is_null(s, 2));
    CHECK_EQ_INT(db_text(s, 2).n, 0);
    CHECK_EQ_MEM(db_text(s, 3).p, db_text(s, 3).n, "12", 2);
    CHECK_EQ_INT(db_step(s, &e), 1);
    CHECK_EQ_MEM(db_text(s, 1).p, db_text(s, 1).n, "text", 4);
    CHECK_EQ_INT(db_step(s, &e), 0);
    CHECK_EQ_INT(db_exec(d, "DELETE FROM t", &e), -1);
    db_close(&d);
    db_close(&d); /* NULL-safe */
    remove_dir();
}

TEST(memory_leaves_no_file)
{
    struct db *d = NULL;
    struct err e = { 0 };

    CHECK_EQ_INT(db_open(":memory:", DB_CREATE, 0, &d, &e), 0);
    CHECK_EQ_INT(db_exec(d, "CREATE TABLE t(a)", &e), 0);
    db_close(&d);
    CHECK(access(":memory:", F_OK) != 0);
}

TEST(errors_have_kinds)
{
    struct db *d = NULL, *other = NULL;
    struct err e = { 0 };
    int fd;

    fresh_dir();
    CHECK_EQ_INT(db_open(path, 0, 0, &d, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_NOTFOUND);
    d = open_new(0);
    NEED(d);
    CHECK_EQ_INT(db_exec(d, "SELEKT", &e), -1);
    CHECK_EQ_INT(e.kind, ERR_BUG);
    CHECK_EQ_INT(db_exec(d, "CREATE TABLE t(a UNIQUE); INSERT INTO t VALUES(1)", &e), 0);
    CHECK_EQ_INT(db_exec(d, "INSERT INTO t VALUES(1)", &e), -1);
    CHECK_EQ_INT(e.kind, ERR_EXISTS);
    /* full: SQLite's own page limit stands for the disk's */
    CHECK_EQ_INT(db_exec(d, "PRAGMA max_page_count=4", &e), 0);
    CHECK_EQ_INT(db_exec(d, "INSERT INTO t VALUES(zeroblob(100000))", &e), -1);
    CHECK_EQ_INT(e.kind, ERR_TEMP);
    CHECK(err_is_full(&e));
    db_close(&d);

    fd = open(path, O_WRONLY | O_TRUNC);
    NEED(fd >= 0);
    CHECK(write(fd,
                "this is no database, and long enough to have a header of one hundred "
                "octets, so that it is looked at",
                100) == 100);
    close(fd);
    CHECK_EQ_INT(db_open(path, 0, 0, &other, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_PERM);
    remove_dir();
}

TEST(exclusive_shuts_others_out)
{
    struct db *d = open_new(DB_EXCLUSIVE | DB_WAL);
    struct db *other = NULL;
    struct err e = { 0 };
    char wal[128];

    NEED(d);
    CHECK_EQ_INT(db_exec(d, "CREATE TABLE t(a)", &e), 0);
    snprintf(wal, sizeof wal, "%s-shm", path);
    CHECK(access(wal, F_OK) != 0); /* no shared memory */
    CHECK_EQ_INT(db_open(path, 0, 0, &other, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_TEMP);
    db_close(&d);
    remove_dir();
}

TEST(versions_checks_and_rollback)
{
    struct db *d = open_new(DB_WAL | DB_NO_AUTOCHECKPOINT), *other = NULL;
    struct db_stmt *s = NULL;
    struct err e = { 0 };
    const char *tail = NULL;
    int64_t before;
    int v = -1;

    NEED(d);
    CHECK_EQ_INT(db_schema_version(d, &v, &e), 0);
    CHECK_EQ_INT(v, 0);
    CHECK_EQ_INT(db_set_schema_version(d, 3, &e), 0);
    CHECK_EQ_INT(db_schema_version(d, &v, &e), 0);
    CHECK_EQ_INT(v, 3);
    NEED(db_open(path, 0, 64, &other, &e) == 0);
    before = db_data_version(d);
    CHECK_EQ_INT(db_exec(other, "CREATE TABLE t(a); INSERT INTO t VALUES(1)", &e), 0);
    CHECK(db_data_version(d) != before);
    db_close(&other);
    CHECK_EQ_INT(db_begin(d, &e), 0);
    CHECK_EQ_INT(db_exec(d, "DELETE FROM t", &e), 0);
    db_rollback(d);
    db_rollback(d);
    NEED(db_prepare_once(d, SL("SELECT count(*) FROM t; SELECT 2"), &s, &tail, &e) == 0);
    CHECK_EQ_INT(db_step(s, &e), 1);
    CHECK_EQ_INT(db_int(s, 0), 1);
    CHECK_EQ_STR(tail, " SELECT 2");
    db_stmt_free(&s);
    db_stmt_free(&s);
    CHECK_EQ_INT(db_checkpoint(d, true, &e), 0);
    CHECK_EQ_INT(db_check(d, &e), 0);
    db_close(&d);
    remove_dir();
}

TEST_MAIN()
