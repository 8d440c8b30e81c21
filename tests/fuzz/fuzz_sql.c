/* MySQL's statements as SQLite's: whatever comes in, what comes out is one piece of SQL that SQLite can look at. */
#include "auth/sql_func.h"
#include "auth/sql_translate.h"
#include "db/db.h"
#include "tests/fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct db *db;
    struct slice in = sl_n((const char *)data, n), text;
    unsigned choice = fuzz_choice(&in);
    struct sql_statement st;
    struct sql_in sql;
    struct err e = { 0 };
    int rc;

    if (db == NULL)
        MUST(db_open(":memory:", DB_CREATE, 0, &db, &e) == 0 && sql_add_functions(db, &e) == 0);
    text = fuzz_dup(in);
    sql_open(&sql, text, choice & 1, choice & 2 ? SL("mail") : SL(""));
    while ((rc = sql_next(&sql, &st, &e)) == 1) {
        struct db_stmt *s = NULL;

        MUST(st.n_params <= SQL_PARAMS_MAX && st.line >= 1);
        if (st.kind == SQL_QUERY && db_prepare_once(db, st.sql, &s, NULL, &e) == 0)
            db_stmt_free(&s);
    }
    if (rc < 0)
        MUST(e.kind != ERR_NONE);
    sql_close(&sql);
    fuzz_free(text);
    return 0;
}
