/* cli/cmd_sql.c - `postern sql`: MySQL's statements on the users' database. What comes from a file or a pipe is one
 * transaction: a wrong line changes nothing. At a terminal each statement is one. */
#include "auth/sql_translate.h"
#include "auth/users.h"
#include "auth/users_app.h"
#include "base/fs.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SQL_INPUT_OCTETS = 1024 * 1024 * 1024, SQL_LINE_OCTETS = 65536 };

struct run {
    struct users *users;
    enum rows_format format;
    bool is_quiet, is_terminal;
    size_t statements, changed;
};

/* One statement's text may be several of SQLite's (a table and its keys). */
static int
run_text(struct run *r, struct slice sql, bool has_rows, struct err *e)
{
    struct db *d = users_db(r->users);

    while (sl_trim(sql).n) {
        struct db_stmt *s;
        const char *tail;
        int rc;

        if (db_prepare_once(d, sql, &s, &tail, e) < 0)
            return -1;
        sql = sl_from(sql, (size_t)(tail - sql.p));
        rc = has_rows ? rows_print(s, r->format, e) : db_run(s, e);
        db_stmt_free(&s);
        if (rc < 0)
            return -1;
    }
    return 0;
}

static bool
is_row_change(struct slice verb)
{
    static const char *const verbs[] = { "INSERT", "UPDATE", "DELETE", "REPLACE" };

    for (size_t i = 0; i < COUNT_OF(verbs); i++)
        if (sl_ieqz(verb, verbs[i]))
            return true;
    return false;
}

static int
run_statement(struct run *r, const struct sql_statement *st, struct err *e)
{
    int64_t n;

    r->statements++;
    if (st->kind != SQL_QUERY && st->kind != SQL_CHANGE)
        return 0; /* transactions and foreign keys are looked after for the whole input */
    if (run_text(r, st->sql, st->kind == SQL_QUERY, e) < 0)
        return err_prefix(e, "line %u, %.*s", st->line, SL_ARG(st->verb));
    n = is_row_change(st->verb) ? db_changes(users_db(r->users)) : 0;
    r->changed += (size_t)n;
    if (r->is_terminal && st->kind == SQL_CHANGE)
        printf("Query OK, %lld row%s affected\n", (long long)n, n == 1 ? "" : "s");
    return 0;
}

/* Does the input switch the checking of foreign keys off, as dumps do? Within a transaction that cannot be changed. */
static int
scan(struct slice text, bool *keys_off, struct err *e)
{
    struct sql_statement st;
    struct sql_in in;
    int rc;

    sql_open(&in, text, false, sl_n(NULL, 0));
    while ((rc = sql_next(&in, &st, e)) > 0)
        if (st.kind == SQL_FOREIGN_KEYS_OFF)
            *keys_off = true;
    sql_close(&in);
    return rc;
}

static int
run_all(struct run *r, struct slice text, struct err *e)
{
    struct sql_statement st;
    struct sql_in in;
    int rc;

    sql_open(&in, text, false, sl_n(NULL, 0));
    while ((rc = sql_next(&in, &st, e)) > 0)
        if (run_statement(r, &st, e) < 0) {
            rc = -1;
            break;
        }
    sql_close(&in);
    return rc;
}

static void
warn_orphans(struct db *d)
{
    struct db_stmt *s;
    struct err e;

    if (db_prepare_once(d, SL("PRAGMA foreign_key_check"), &s, NULL, &e) < 0)
        return;
    if (db_step(s, &e) > 0)
        fprintf(stderr, "postern sql: warning: table %.*s has rows whose domain does not exist\n",
                SL_ARG(db_text(s, 0)));
    db_stmt_free(&s);
}

/* Nobody's app passwords must outlive him. A virtual_users of another make is the operator's affair. */
static void
tidy(struct run *r)
{
    struct err e;

    if (users_tidy(r->users, &e) < 0)
        fprintf(stderr, "postern sql: warning: app passwords and disabled users: %s\n", e.msg);
}

static int
run_whole(struct run *r, struct slice text)
{
    struct db *d = users_db(r->users);
    struct err e = { 0 };
    bool keys_off = false;
    int rc = scan(text, &keys_off, &e);

    if (rc == 0 && keys_off)
        rc = db_exec(d, "PRAGMA foreign_keys = OFF", &e);
    if (rc == 0)
        rc = db_begin(d, &e);
    if (rc == 0) {
        rc = run_all(r, text, &e);
        if (rc == 0)
            tidy(r);
        if (rc == 0 && keys_off)
            warn_orphans(d);
        fflush(stdout);
        if (rc == 0)
            rc = db_commit(d, &e);
        else
            db_rollback(d);
    }
    if (rc < 0) {
        fprintf(stderr, "postern sql: %s; nothing was changed\n", e.msg);
        return e.kind == ERR_TEMP ? EXIT_TEMPFAIL : EXIT_DATA_ERROR;
    }
    if (!r->is_quiet && r->changed)
        fprintf(stderr, "postern sql: %zu statements, %zu rows changed\n", r->statements,
                r->changed);
    return EXIT_OK;
}

/* At a terminal: statements end with ';', an error ends only its own. */
static int
run_terminal(struct run *r)
{
    struct buf text = { .max = SQL_INPUT_OCTETS };
    char *line = mem_alloc(SQL_LINE_OCTETS);
    struct err e;

    puts("Statements end with a semicolon; Ctrl-D ends.");
    for (;;) {
        struct slice now;

        fputs(text.n ? "    -> " : "postern> ", stdout);
        fflush(stdout);
        if (fgets(line, SQL_LINE_OCTETS, stdin) == NULL)
            break;
        buf_addz(&text, line);
        now = sl_trim(buf_slice(&text));
        if (now.n == 0)
            buf_reset(&text);
        if (!sl_ends(now, ';'))
            continue;
        if (run_all(r, now, &e) < 0)
            printf("ERROR: %s\n", e.msg);
        tidy(r);
        buf_reset(&text);
    }
    putchar('\n');
    buf_free(&text);
    free(line);
    return EXIT_OK;
}

struct options {
    const char *statement, *file;
    enum rows_format format;
    bool is_quiet;
};

static int
parse(const struct cli_args *a, struct options *o)
{
    for (int i = 1; i < a->argc; i++) {
        const char *arg = a->argv[i];

        if (strcmp(arg, "-e") == 0) {
            if (++i == a->argc)
                return cli_usage_error(&cmd_sql, "-e needs a statement");
            o->statement = a->argv[i];
        } else if (strcmp(arg, "--json") == 0) {
            o->format = ROWS_JSON;
        } else if (strcmp(arg, "--batch") == 0 || strcmp(arg, "-B") == 0) {
            o->format = ROWS_BATCH;
        } else if (strcmp(arg, "--quiet") == 0 || strcmp(arg, "-q") == 0) {
            o->is_quiet = true;
        } else if (arg[0] == '-' && arg[1] != '\0') {
            return cli_usage_error(&cmd_sql, "unknown option %s", arg);
        } else if (o->file) {
            return cli_usage_error(&cmd_sql, "one file only");
        } else {
            o->file = arg;
        }
    }
    if (o->statement && o->file)
        return cli_usage_error(&cmd_sql, "-e or a file, not both");
    return EXIT_OK;
}

static int
read_input(const struct options *o, struct buf *text)
{
    struct err e;
    int rc;

    if (o->statement)
        return buf_addz(text, o->statement) == 0 ? EXIT_OK : EXIT_DATA_ERROR;
    rc = o->file && strcmp(o->file, "-") != 0 ? fs_read_file(o->file, text, &e)
                                              : fs_read_fd(STDIN_FILENO, text, &e);
    if (rc == 0)
        return EXIT_OK;
    fprintf(stderr, "postern sql: %s\n", e.msg);
    return EXIT_DATA_ERROR;
}

static int
run(const struct cli_args *a)
{
    struct options o = { 0 };
    struct run r = { 0 };
    struct buf text = { .max = SQL_INPUT_OCTETS };
    struct conf *c;
    int rc = parse(a, &o);

    if (rc != EXIT_OK)
        return rc;
    c = cli_load_conf(a, false);
    if (c == NULL)
        return EXIT_CONFIG_ERROR;
    r.is_terminal = !o.statement && !o.file && isatty(STDIN_FILENO);
    r.format = o.format;
    r.is_quiet = o.is_quiet || o.statement != NULL;
    if (!r.is_terminal)
        rc = read_input(&o, &text);
    if (rc == EXIT_OK)
        rc = users_db_open(c, "sql", true, &r.users);
    if (rc == EXIT_OK)
        rc = r.is_terminal ? run_terminal(&r) : run_whole(&r, buf_slice(&text));
    users_close(&r.users);
    buf_free(&text);
    conf_unref(&c);
    return rc;
}

const struct cli_command cmd_sql = {
    .name = "sql",
    .usage = "sql [-e STATEMENT | FILE] [--json | --batch] [--quiet]",
    .summary = "run MySQL statements on the users' database",
    .help =
        "DESCRIPTION\n"
        "    Runs statements written for MySQL on Postern's own users' database (the parameter\n"
        "    users_database), as they are: the statements of the guide, of other guides, or a "
        "whole\n"
        "    mysqldump. They come from FILE, from standard input (also when FILE is -), or from "
        "-e. The\n"
        "    database is made when it is not there.\n\n"
        "    A file or a pipe is one transaction: when one statement is wrong, its line and the "
        "reason are\n"
        "    told and nothing has changed. At a terminal each statement stands for itself.\n\n"
        "    CREATE TABLE, DROP TABLE, ALTER TABLE ADD COLUMN, INSERT (several rows, SET, IGNORE, "
        "ON\n"
        "    DUPLICATE KEY UPDATE), REPLACE, UPDATE, DELETE, TRUNCATE, SELECT, SHOW TABLES and "
        "DESCRIBE\n"
        "    are known, and the functions ENCRYPT, CONCAT, CONCAT_WS, SUBSTRING, LEFT, RIGHT, SHA, "
        "SHA1,\n"
        "    SHA2, MD5, RAND, NOW, IF, REGEXP and more. CREATE DATABASE, USE, GRANT, FLUSH, SET "
        "and LOCK\n"
        "    TABLES have no meaning here and are passed over. Text compares without case, as in "
        "MySQL.\n\n"
        "OPTIONS\n"
        "    -e STATEMENT   the statements to run\n"
        "    --json         print rows as an array of objects\n"
        "    -B, --batch    print rows separated by tabs, names first\n"
        "    -q, --quiet    do not say how many rows were changed\n\n"
        "EXIT STATUS\n"
        "    0 done; 64 wrong usage; 65 a statement is wrong; 73 the database cannot be made; 75 "
        "it is\n"
        "    locked or the disk is full: try again; 77 no right to use it; 78 wrong "
        "configuration.\n\n"
        "EXAMPLES\n"
        "    postern sql mailserver.sql\n"
        "    mysqldump mailserver | postern sql\n"
        "    postern sql -e \"SELECT * FROM virtual_users\"\n",
    .run = run,
};
