#include "auth/sql_translate.h"

#include "auth/sql_func.h"
#include "base/mem.h"
#include "base/test.h"

#include <stdlib.h>
#include <unistd.h>

/* The texts of all statements, joined by " ;; "; "!" and the message where one is wrong. */
static const char *
translate(const char *text, bool is_template, struct buf *out, char *params)
{
    struct sql_statement st;
    struct sql_in in;
    struct err e = { 0 };
    int rc;

    buf_reset(out);
    sql_open(&in, sl_z(text), is_template, SL("otherdb"));
    while ((rc = sql_next(&in, &st, &e)) > 0) {
        if (out->n)
            buf_addz(out, " ;;");
        if (st.kind == SQL_NOTHING)
            buf_addz(out, " -");
        if (st.kind == SQL_FOREIGN_KEYS_OFF)
            buf_addz(out, " fk-off");
        if (st.kind == SQL_FOREIGN_KEYS_ON)
            buf_addz(out, " fk-on");
        buf_adds(out, st.sql);
        if (params) {
            memcpy(params, st.params, st.n_params);
            params[st.n_params] = '\0';
        }
    }
    if (rc < 0)
        buf_addf(out, "!%s", e.msg);
    sql_close(&in);
    return buf_z(out);
}

TEST(statements)
{
    static const struct {
        const char *name, *in, *want;
    } rows[] = {
        { "backquotes and database", "SELECT `a`.`name` FROM `mailserver`.`virtual_domains` a",
          " SELECT \"a\" . \"name\" FROM \"virtual_domains\" a" },
        { "dbname of the map file", "SELECT otherdb.t.x FROM otherdb.t", " SELECT t . x FROM t" },
        { "any database before a table", "SELECT x FROM foo.t JOIN bar.u",
          " SELECT x FROM t JOIN u" },
        { "double quotes are strings", "SELECT \"it's\"", " SELECT 'it''s'" },
        { "escapes", "SELECT 'a\\'b\\\\c\\n'", " SELECT 'a''b\\c\n'" },
        { "doubled quotes", "SELECT 'a''b', \"c\"\"d\"", " SELECT 'a''b' , 'c\"d'" },
        { "neighbours", "SELECT 'a' \"b\"", " SELECT 'ab'" },
        { "nul in a string", "SELECT 'a\\0b'", " SELECT CAST(x'610062' AS TEXT)" },
        { "hex", "SELECT 0x41, x'42'", " SELECT CAST(x'41' AS TEXT) , CAST(x'42' AS TEXT)" },
        { "comments", "SELECT 1 -- one\n, 2 # two\n, /* three */ 3", " SELECT 1 , 2 , 3" },
        { "minus is no comment", "SELECT 2--1", " SELECT 2 - - 1" },
        { "executable comment", "/*!40101 SELECT */ 1", " SELECT 1" },
        { "note to newer clients", "/*!999999\\- enable the sandbox mode */ SELECT 1",
          " SELECT 1" },
        { "operators", "SELECT a || b && !c <=> d DIV 2", " SELECT a OR b AND NOT c IS d / 2" },
        { "substring from for", "SELECT SUBSTRING(a FROM 2 FOR 3)",
          " SELECT mysql_substring ( a , 2 , 3 )" },
        { "functions", "SELECT IF(a,1,2), LEFT(b, 3), LENGTH(c)",
          " SELECT iif ( a , 1 , 2 ) , mysql_left ( b , 3 ) , octet_length_of ( c )" },
        { "insert ignore", "INSERT IGNORE INTO t VALUES (1)",
          " INSERT OR IGNORE INTO \"t\" VALUES ( 1 )" },
        { "insert set", "INSERT INTO t SET a=1, b=CONCAT('x','y')",
          " INSERT INTO \"t\" ( \"a\" , \"b\" ) VALUES ( 1 , CONCAT ( 'x' , 'y' ) )" },
        { "value", "INSERT t (a) VALUE (DEFAULT)", " INSERT INTO \"t\" ( a ) VALUES ( NULL )" },
        { "upsert", "INSERT INTO t (a) VALUES (1) ON DUPLICATE KEY UPDATE a=VALUES(a)",
          " INSERT INTO \"t\" ( a ) VALUES ( 1 ) ON CONFLICT DO UPDATE SET a = excluded. a" },
        { "update", "UPDATE LOW_PRIORITY `db`.`t` SET a=1", " UPDATE \"t\" SET a = 1" },
        { "for update", "SELECT a FROM t FOR UPDATE", " SELECT a FROM t" },
        { "collate", "SELECT a COLLATE utf8_bin, b COLLATE utf8mb4_general_ci",
          " SELECT a COLLATE BINARY , b COLLATE NOCASE" },
        { "like", "SELECT a LIKE 'x\\_%'", " SELECT a LIKE 'x\\_%' ESCAPE '\\'" },
        { "nothing to do",
          "CREATE DATABASE mailserver; USE `mailserver`; GRANT SELECT ON mailserver.* TO "
          "'u'@'127.0.0.1' IDENTIFIED BY 'x'; FLUSH PRIVILEGES; LOCK TABLES `t` WRITE; UNLOCK "
          "TABLES; CREATE USER a",
          " - ;; - ;; - ;; - ;; - ;; - ;; -" },
        { "set", "SET @a=1, FOREIGN_KEY_CHECKS=0; SET FOREIGN_KEY_CHECKS=@OLD; SET NAMES utf8",
          " fk-off ;; fk-on ;; -" },
        { "drop", "DROP TABLE IF EXISTS `a`, b CASCADE",
          " DROP TABLE IF EXISTS \"a\"; DROP TABLE IF EXISTS \"b\"" },
        { "truncate", "TRUNCATE TABLE t", " DELETE FROM \"t\"" },
        { "keys off", "ALTER TABLE `t` DISABLE KEYS", " -" },
        { "add column", "ALTER TABLE t ADD COLUMN quota int(11) NOT NULL DEFAULT 0",
          " ALTER TABLE \"t\" ADD COLUMN \"quota\" int(11) NOT NULL DEFAULT 0" },
        { "index", "CREATE UNIQUE INDEX i ON t (a(10), b DESC)",
          " CREATE UNIQUE INDEX \"t_i\" ON \"t\" ( \"a\" , \"b\" DESC )" },
        { "empty statements", ";; ; SELECT 1;;", " SELECT 1" },
        { "open quote", "SELECT 'a", "!line 1: a ' quote begins and does not end" },
        { "open comment", "SELECT /* a", "!line 1: a comment begins and does not end" },
        { "open parenthesis", "SELECT (1", "!line 1: a ')' is missing" },
        { "closed twice", "SELECT 1)", "!line 1: a ')' too many" },
        { "no statement", "\n\nFROBNICATE", "!line 3: no statement begins with 'FROBNICATE'" },
        { "variable", "SELECT @x", "!line 1: variables (@x) are not known here" },
        { "drop database", "DROP DATABASE mailserver",
          "!line 1: DROP DATABASE is not done here: remove the file of users_database yourself" },
        { "nothing", "  -- only a comment", "" },
    };
    struct buf out = { 0 };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("%s", rows[i].name);
        CHECK_EQ_STR(translate(rows[i].in, false, &out, NULL), rows[i].want);
    }
    buf_free(&out);
}

TEST(create_table)
{
    static const struct {
        const char *name, *in, *want;
    } rows[] = {
        { "auto increment",
          "CREATE TABLE t (`id` int(11) NOT NULL auto_increment, PRIMARY KEY (`id`)) ENGINE=InnoDB "
          "DEFAULT CHARSET=utf8",
          " CREATE TABLE \"t\" ( \"id\" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL )" },
        { "length",
          "CREATE TABLE t (n varchar(5) CHARACTER SET utf8 COLLATE utf8_bin NOT NULL COMMENT 'x')",
          " CREATE TABLE \"t\" ( \"n\" varchar(5) NOT NULL COLLATE BINARY CONSTRAINT \"Data too "
          "long for column 'n'\" CHECK ( length( \"n\" ) <= 5 ) )" },
        { "enum", "CREATE TABLE t (e enum('a','b') DEFAULT 'a')",
          " CREATE TABLE \"t\" ( \"e\" text DEFAULT 'a' COLLATE NOCASE )" },
        { "time",
          "CREATE TABLE t (c timestamp NOT NULL DEFAULT current_timestamp() ON UPDATE "
          "current_timestamp())",
          " CREATE TABLE \"t\" ( \"c\" timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP )" },
        { "keys",
          "CREATE TABLE IF NOT EXISTS t (a int unsigned, b int, KEY `a` (`a`,`b`), UNIQUE KEY u "
          "(b), FULLTEXT KEY f (a))",
          " CREATE TABLE IF NOT EXISTS \"t\" ( \"a\" int , \"b\" int , UNIQUE ( \"b\" ) ); CREATE "
          "INDEX IF NOT EXISTS \"t_a\" ON \"t\" ( \"a\" , \"b\" )" },
        { "foreign key",
          "CREATE TABLE t (a int, CONSTRAINT `c` FOREIGN KEY (a) REFERENCES `db`.`p` (`id`) ON "
          "DELETE SET NULL ON UPDATE NO ACTION)",
          " CREATE TABLE \"t\" ( \"a\" int , FOREIGN KEY ( \"a\" ) REFERENCES \"p\" ( \"id\" ) ON "
          "DELETE SET NULL ON UPDATE NO ACTION )" },
        { "like", "CREATE TABLE t LIKE u",
          "!line 1: CREATE TABLE t: only a list of columns is known here" },
    };
    struct buf out = { 0 };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("%s", rows[i].name);
        CHECK_EQ_STR(translate(rows[i].in, false, &out, NULL), rows[i].want);
    }
    buf_free(&out);
}

TEST(templates)
{
    static const struct {
        const char *in, *want, *params;
    } rows[] = {
        { "SELECT 1 FROM t WHERE name='%s'", " SELECT 1 FROM t WHERE name = ( ?1 COLLATE NOCASE )",
          "s" },
        { "SELECT a FROM t WHERE b='%u@x.%d'",
          " SELECT a FROM t WHERE b = ( ?1 || '@x.' || ?2 COLLATE NOCASE )", "ud" },
        { "SELECT a FROM t WHERE b LIKE '%1.%%'",
          " SELECT a FROM t WHERE b LIKE ( ?1 || '.%' COLLATE NOCASE )", "1" },
        { "SELECT a FROM t WHERE b=%s AND c=5 %% 3",
          " SELECT a FROM t WHERE b = ( ?1 COLLATE NOCASE ) AND c = 5 % 3", "s" },
        { "SELECT '100%% sure'", " SELECT ( '100% sure' )", "" },
        { "SELECT '%s%u'", " SELECT ( ?1 || '' || ?2 COLLATE NOCASE )", "su" },
    };
    char params[SQL_PARAMS_MAX + 1];
    struct buf out = { 0 };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("%s", rows[i].in);
        CHECK_EQ_STR(translate(rows[i].in, true, &out, params), rows[i].want);
        CHECK_EQ_STR(params, rows[i].params);
    }
    buf_free(&out);
}

/* ---- run for real ---- */

static int
run_all(struct db *d, const char *text, struct err *e)
{
    struct sql_statement st;
    struct sql_in in;
    int rc;

    sql_open(&in, sl_z(text), false, sl_n(NULL, 0));
    while ((rc = sql_next(&in, &st, e)) > 0) {
        char *sql = sl_dupz(st.sql);

        if (st.kind == SQL_FOREIGN_KEYS_OFF)
            rc = db_exec(d, "PRAGMA foreign_keys = OFF", e);
        else if (st.kind == SQL_FOREIGN_KEYS_ON)
            rc = db_exec(d, "PRAGMA foreign_keys = ON", e);
        else if (st.kind == SQL_CHANGE)
            rc = db_exec(d, sql, e);
        free(sql);
        if (rc < 0)
            break;
    }
    sql_close(&in);
    return rc;
}

/* The one value of a query in MySQL's words. */
static const char *
value_of(struct db *d, const char *query, struct buf *out)
{
    struct sql_statement st;
    struct db_stmt *s;
    struct sql_in in;
    struct err e = { 0 };

    buf_reset(out);
    sql_open(&in, sl_z(query), false, sl_n(NULL, 0));
    if (sql_next(&in, &st, &e) > 0 && db_prepare_once(d, st.sql, &s, NULL, &e) == 0) {
        if (db_step(s, &e) > 0)
            buf_adds(out, db_is_null(s, 0) ? SL("NULL") : db_text(s, 0));
        db_stmt_free(&s);
    }
    if (e.kind != ERR_NONE)
        buf_addf(out, "!%s", e.msg);
    sql_close(&in);
    return buf_z(out);
}

static struct db *
open_db(char *path)
{
    struct db *d = NULL;
    struct err e;
    int fd = mkstemp(path);

    if (fd >= 0)
        close(fd);
    if (db_open(path, DB_CREATE, 0, &d, &e) < 0 || sql_add_functions(d, &e) < 0)
        FAIL("%s", e.msg);
    return d;
}

TEST(functions_give_what_mysql_gives)
{
    static const struct {
        const char *query, *want;
    } rows[] = {
        { "SELECT CONCAT('a', 1, 'b')", "a1b" },
        { "SELECT CONCAT('a', NULL)", "NULL" },
        { "SELECT CONCAT_WS('@', 'a', NULL, 'b')", "a@b" },
        { "SELECT SUBSTRING('abcdef', -3)", "def" },
        { "SELECT SUBSTRING('abcdef', 2, 3)", "bcd" },
        { "SELECT SUBSTRING('abc', 0)", "" },
        { "SELECT SUBSTRING('h\xc3\xa9llo', 2, 2)", "\xc3\xa9l" },
        { "SELECT LEFT('abc', 2)", "ab" },
        { "SELECT RIGHT('abc', 2)", "bc" },
        { "SELECT SUBSTRING_INDEX('a@b@c', '@', 1)", "a" },
        { "SELECT SUBSTRING_INDEX('a@b@c', '@', 2)", "a@b" },
        { "SELECT SUBSTRING_INDEX('a@b@c', '@', -1)", "c" },
        { "SELECT LOCATE('@', 'ab@c')", "3" },
        { "SELECT SHA('abc')", "a9993e364706816aba3e25717850c26c9cd0d89d" },
        { "SELECT MD5('abc')", "900150983cd24fb0d6963f7d28e17f72" },
        { "SELECT SHA2('abc', 256)",
          "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
        { "SELECT 'Abc' REGEXP '^a.c$'", "1" },
        { "SELECT IF(1 > 2, 'y', 'n')", "n" },
        { "SELECT LENGTH('h\xc3\xa9')", "3" },
        { "SELECT ENCRYPT('password', '$6$saltstring')",
          "$6$saltstring$yOiQBWwfrDvUuaqCT8pYCs5qB8Btf3.IdfEpzVVqNV/BV2i7/7/"
          "TRbUbfxVXkYMPy6MHznmVF8SPaugFpjcgy." },
        { "SELECT RAND() >= 0 AND RAND() < 1", "1" },
        { "SELECT LENGTH(ENCRYPT('x', CONCAT('$6$', SUBSTRING(SHA(RAND()), -16))))", "106" },
    };
    char path[] = "/tmp/postern-sqlfunc-XXXXXX";
    struct db *d = open_db(path);
    struct buf out = { 0 };

    for (size_t i = 0; d && i < COUNT_OF(rows); i++) {
        TEST_ROW("%s", rows[i].query);
        if (strstr(rows[i].query, "saltstring"))
            CHECK(strncmp(value_of(d, rows[i].query, &out), "$6$saltstring$", 14) == 0 &&
                  out.n == 100);
        else
            CHECK_EQ_STR(value_of(d, rows[i].query, &out), rows[i].want);
    }
    buf_free(&out);
    db_close(&d);
    unlink(path);
}

static const char guide[] =
    "CREATE TABLE `virtual_domains` (\n  `id` int(11) NOT NULL auto_increment,\n  `name` "
    "varchar(50) NOT NULL,\n"
    "  PRIMARY KEY (`id`)\n) ENGINE=InnoDB DEFAULT CHARSET=utf8;\n"
    "CREATE TABLE `virtual_users` (\n  `id` int(11) NOT NULL auto_increment,\n  `domain_id` "
    "int(11) NOT NULL,\n"
    "  `password` varchar(106) NOT NULL,\n  `email` varchar(100) NOT NULL,\n  PRIMARY KEY (`id`),\n"
    "  UNIQUE KEY `email` (`email`),\n  FOREIGN KEY (domain_id) REFERENCES virtual_domains(id) ON "
    "DELETE CASCADE\n"
    ") ENGINE=InnoDB DEFAULT CHARSET=utf8;\n"
    "INSERT INTO `mailserver`.`virtual_domains`\n  (`id` ,`name`)\nVALUES\n  ('1', "
    "'example.com'),\n  ('2', 'Two.example');\n"
    "INSERT INTO `mailserver`.`virtual_users`\n  (`id`, `domain_id`, `password` , "
    "`email`)\nVALUES\n"
    "  ('1', '1', ENCRYPT('password', CONCAT('$6$', SUBSTRING(SHA(RAND()), -16))), "
    "'email1@example.com');\n";

TEST(the_guides_words_run)
{
    char path[] = "/tmp/postern-sqlguide-XXXXXX";
    struct db *d = open_db(path);
    struct buf out = { 0 };
    struct err e = { 0 };

    NEED(d);
    CHECK_EQ_INT(run_all(d, guide, &e), 0);
    CHECK_EQ_STR(e.msg, "");
    CHECK_EQ_STR(
        value_of(d, "SELECT email FROM virtual_users WHERE EMAIL = 'Email1@EXAMPLE.com'", &out),
        "email1@example.com");
    CHECK_EQ_STR(value_of(d, "SELECT id FROM virtual_domains WHERE name = 'two.EXAMPLE'", &out),
                 "2");
    CHECK_EQ_STR(
        value_of(d, "SELECT password = ENCRYPT('password', password) FROM virtual_users", &out),
        "1");
    CHECK(run_all(d, "INSERT INTO virtual_users VALUES (5, 1, 'x', 'EMAIL1@example.com')", &e) <
          0); /* UNIQUE */
    CHECK(run_all(d, "INSERT INTO virtual_users VALUES (5, 9, 'x', 'new@example.com')", &e) <
          0); /* no domain 9 */
    CHECK(run_all(d,
                  "INSERT INTO virtual_domains (name) VALUES "
                  "('123456789012345678901234567890123456789012345678901')",
                  &e) < 0);
    CHECK(strstr(e.msg, "Data too long for column 'name'") != NULL);
    CHECK_EQ_INT(run_all(d, "DELETE FROM virtual_domains WHERE id = 1", &e), 0);
    CHECK_EQ_STR(value_of(d, "SELECT COUNT(*) FROM virtual_users", &out), "0"); /* CASCADE */
    CHECK_EQ_INT(run_all(d, "INSERT INTO virtual_domains (name) VALUES ('three.example')", &e), 0);
    CHECK_EQ_STR(value_of(d, "SELECT id FROM virtual_domains WHERE name LIKE 'three%'", &out), "3");
    buf_free(&out);
    db_close(&d);
    unlink(path);
}

static const char dump[] =
    "/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump 10.19\n--\n"
    "/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;\n/*!40101 SET NAMES utf8mb4 "
    "*/;\n"
    "/*!40014 SET @OLD_FOREIGN_KEY_CHECKS=@@FOREIGN_KEY_CHECKS, FOREIGN_KEY_CHECKS=0 */;\n"
    "DROP TABLE IF EXISTS `virtual_aliases`;\n/*!40101 SET @saved_cs_client     = "
    "@@character_set_client */;\n"
    "CREATE TABLE `virtual_aliases` (\n  `id` int(11) NOT NULL AUTO_INCREMENT,\n  `domain_id` "
    "int(11) NOT NULL,\n"
    "  `source` varchar(100) NOT NULL,\n  `destination` varchar(100) NOT NULL,\n  PRIMARY KEY "
    "(`id`),\n"
    "  KEY `domain_id` (`domain_id`),\n"
    "  CONSTRAINT `virtual_aliases_ibfk_1` FOREIGN KEY (`domain_id`) REFERENCES `virtual_domains` "
    "(`id`) ON DELETE CASCADE\n"
    ") ENGINE=InnoDB AUTO_INCREMENT=3 DEFAULT CHARSET=utf8mb3 COLLATE=utf8mb3_general_ci;\n"
    "LOCK TABLES `virtual_aliases` WRITE;\n/*!40000 ALTER TABLE `virtual_aliases` DISABLE KEYS "
    "*/;\n"
    "INSERT INTO `virtual_aliases` "
    "VALUES\n(1,1,'o\\'brien@example.com','email1@example.com'),\n(2,1,'x@example.com','y@example."
    "com');\n"
    "/*!40000 ALTER TABLE `virtual_aliases` ENABLE KEYS */;\nUNLOCK TABLES;\n"
    "DROP TABLE IF EXISTS `virtual_domains`;\n"
    "CREATE TABLE `virtual_domains` (\n  `id` int(11) NOT NULL AUTO_INCREMENT,\n  `name` "
    "varchar(50) NOT NULL,\n  PRIMARY KEY (`id`)\n"
    ") ENGINE=InnoDB AUTO_INCREMENT=2 DEFAULT CHARSET=utf8mb3;\n"
    "INSERT INTO `virtual_domains` VALUES (1,'example.com');\n"
    "/*!40014 SET FOREIGN_KEY_CHECKS=@OLD_FOREIGN_KEY_CHECKS */;\n-- Dump completed\n";

TEST(a_dump_runs_twice)
{
    char path[] = "/tmp/postern-sqldump-XXXXXX";
    struct db *d = open_db(path);
    struct buf out = { 0 };
    struct err e = { 0 };

    NEED(d);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ_INT(run_all(d, dump, &e), 0);
        CHECK_EQ_STR(e.msg, "");
        CHECK_EQ_STR(value_of(d, "SELECT COUNT(*) FROM virtual_aliases", &out), "2");
        CHECK_EQ_STR(value_of(d, "SELECT source FROM virtual_aliases WHERE id = 1", &out),
                     "o'brien@example.com");
    }
    CHECK_EQ_STR(value_of(d, "PRAGMA foreign_key_check", &out),
                 "!line 1: no statement begins with 'PRAGMA'");
    buf_free(&out);
    db_close(&d);
    unlink(path);
}

TEST_MAIN()
