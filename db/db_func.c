/* db/db_func.c - SQL functions of our own. See db.h. */
#include "db/db_int.h"

#include "base/mem.h"

#include <stdlib.h>

struct db_call {
    sqlite3_context *ctx;
    int n;
    sqlite3_value **args;
};

struct func {
    void (*fn)(struct db_call *c, void *arg);
    void *arg;
};

static void
run(sqlite3_context *ctx, int n, sqlite3_value **args)
{
    struct func *f = sqlite3_user_data(ctx);
    struct db_call c = { ctx, n, args };

    f->fn(&c, f->arg);
}

int
db_add_function(struct db *d, const char *name, int n_args, bool is_pure,
                void (*fn)(struct db_call *c, void *arg), void *arg, struct err *e)
{
    struct func *f = MEM_NEW(struct func);

    f->fn = fn;
    f->arg = arg;
    /* SQLite frees f, also when this fails. */
    if (sqlite3_create_function_v2(d->h, name, n_args,
                                   SQLITE_UTF8 | (is_pure ? SQLITE_DETERMINISTIC : 0), f, run, NULL,
                                   NULL, free) != SQLITE_OK)
        return err_set(e, ERR_BUG, "SQL function %s: %s", name, sqlite3_errmsg(d->h));
    return 0;
}

size_t
db_call_count(const struct db_call *c)
{
    return (size_t)c->n;
}

bool
db_call_is_null(const struct db_call *c, size_t at)
{
    return sqlite3_value_type(c->args[at]) == SQLITE_NULL;
}

struct slice
db_call_text(const struct db_call *c, size_t at)
{
    const char *p = (const char *)sqlite3_value_text(c->args[at]);

    return sl_n(p, p ? (size_t)sqlite3_value_bytes(c->args[at]) : 0);
}

int64_t
db_call_int(const struct db_call *c, size_t at)
{
    return sqlite3_value_int64(c->args[at]);
}

void
db_result_text(struct db_call *c, struct slice s)
{
    sqlite3_result_text64(c->ctx, s.n ? s.p : "", s.n, SQLITE_TRANSIENT, SQLITE_UTF8);
}

void
db_result_int(struct db_call *c, int64_t v)
{
    sqlite3_result_int64(c->ctx, v);
}

void
db_result_real(struct db_call *c, double v)
{
    sqlite3_result_double(c->ctx, v);
}

void
db_result_error(struct db_call *c, const char *msg)
{
    sqlite3_result_error(c->ctx, msg, -1);
}
