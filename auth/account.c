/* auth/account.c - see account.h. */
#include "auth/account.h"

#include "auth/scram_keeper.h"
#include "base/clock.h"
#include "base/mem.h"

void
account_free(struct account *a)
{
    buf_free(&a->name);
    buf_wipe(&a->password);
}

int
account_find_master(struct table_set *tables, struct slice name, struct buf *password,
                    struct err *e)
{
    buf_reset(password);
    switch (table_set_lookup(tables, SL("auth_master_users"), name, password, e)) {
    case TABLE_FOUND:
        return password->n > 0;
    case TABLE_NOTFOUND:
        return 0;
    case TABLE_TEMP:
    case TABLE_PERM:
        break;
    }
    return -1;
}

static int
look_at_master(struct table_set *tables, struct users *u, const struct account_ask *ask,
               struct account *out, struct err *e)
{
    struct buf unused = { 0 };
    int rc = account_find_master(tables, ask->name, &out->password, e), found = -1;

    out->is_master = rc > 0;
    if (rc >= 0)
        found = users_find(u, ask->other, &out->name, &unused, e);
    out->is_found = found > 0;
    buf_wipe(&unused);
    return found;
}

static int
look_at_user(struct table_set *tables, struct users *u, const struct account_ask *ask,
             struct account *out, struct err *e)
{
    int rc = users_find(u, ask->name, &out->name, &out->password, e), app;
    struct slice name = rc > 0 ? buf_slice(&out->name) : ask->name;

    if (rc < 0)
        return -1;
    out->is_found = rc > 0;
    if (ask->entered.n) /* else nothing is there to make one of */
        out->wants_verifier = users_scram_is_wanted(u, name, buf_slice(&out->password),
                                                    scram_iterations(table_set_conf(tables)));
    app = users_app_match(u, name, ask->entered, app_service_of(sl_z(ask->service)), clock_unix_s(),
                          &out->app_id, e);
    if (app >= 0)
        out->app = (enum users_app_rc)app;
    return app < 0 ? -1 : rc;
}

int
account_look(struct table_set *tables, const struct account_ask *ask, struct account *out,
             struct err *e)
{
    uint64_t began = clock_mono_ms();
    struct users *u = table_set_users(tables, e);
    int rc = -1;

    *out = (struct account){ 0 };
    if (u)
        rc = ask->other.n ? look_at_master(tables, u, ask, out, e)
                          : look_at_user(tables, u, ask, out, e);
    if (rc >= 0)
        rc = users_is_disabled(u, out->is_found ? buf_slice(&out->name) : ask->name, e);
    out->is_disabled = rc > 0;
    if (rc < 0)
        table_set_note_failure(tables, began, e);
    return rc < 0 ? -1 : 0;
}
