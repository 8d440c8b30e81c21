/* auth/request_account.c - who a request is of, and as whom it comes in: names (user*master, authzid), what the tables say of
 * them, and the way of all who were authenticated. Masters are who auth_master_users has; their password is the master's own,
 * so that being somebody in the users' database under the same name is not enough. */
#include "auth/auth_request.h"

#include "auth/account.h"
#include "auth/names.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

/* ---- names ---- */

bool
auth_request_set_names(struct auth_request *r, struct slice said)
{
    const char *why;

    if (r->user.n == 0 && !auth_names_of_client(r->conf, said, buf_slice(&r->sasl.authzid),
                                                &r->user, &r->other, &why))
        r->why_wrong = why;
    return r->why_wrong == NULL;
}

void
auth_request_note_account(struct auth_request *r, const struct account *a)
{
    struct buf *who = r->other.n ? &r->other : &r->user;

    r->is_looked = true;
    r->is_found = a->is_found;
    r->is_master = a->is_master;
    r->is_disabled = a->is_disabled;
    if (!a->is_found)
        return;
    buf_reset(who); /* as the database has it */
    auth_format_name(r->conf->auth_username_format, buf_slice(&a->name), who);
}

/* ---- the way of all who were authenticated ---- */

static void
become_other(struct auth_request *r)
{
    struct buf was = r->user;

    r->user = r->other;
    r->other = (struct buf){ 0 };
    buf_free(&r->master);
    r->master = was;
}

/* It is proven to be r->user; only now is it told apart what it may not. */
static void
admit(struct auth_request *r)
{
    if (r->other.n && !r->is_master) {
        auth_request_fail(r, "it is no master, and may log in only as itself");
        return;
    }
    if (r->other.n)
        become_other(r);
    if (!r->is_found) {
        auth_request_fail(r, "unknown user");
    } else if (r->is_disabled) {
        r->code = "user_disabled";
        auth_request_fail(r, "user is disabled");
    } else {
        auth_request_succeed(r);
    }
}

struct look_job {
    struct backend_job job;
    uint64_t request;
    struct buf name, other;
    char service[AUTH_SERVICE_OCTETS];
    struct account account;
    int rc;
    struct err e;
};

static void
look_run(struct backend_job *j, struct table_set *tables)
{
    struct look_job *l = CONTAINER_OF(j, struct look_job, job);
    struct account_ask ask = { .name = buf_slice(&l->name),
                               .other = buf_slice(&l->other),
                               .service = l->service };

    l->rc = account_look(tables, &ask, &l->account, &l->e);
}

static void
look_done(struct backend_job *j)
{
    struct look_job *l = CONTAINER_OF(j, struct look_job, job);
    struct auth_request *r = id_get(l->request);

    if (r && l->rc < 0) {
        auth_request_fail_temporarily(r, l->e.msg);
    } else if (r) {
        auth_request_note_account(r, &l->account);
        admit(r);
    }
    account_free(&l->account);
    buf_free(&l->name);
    buf_free(&l->other);
    free(l);
}

void
auth_request_authenticated(struct auth_request *r)
{
    struct look_job *l;
    const char *why;

    if (r->is_looked) {
        admit(r);
        return;
    }
    /* EXTERNAL and the like: the name came from elsewhere. */
    if (r->other.n == 0 && r->sasl.authzid.n > 0 &&
        !auth_name_of_client(r->conf, buf_slice(&r->sasl.authzid), &r->other, &why)) {
        auth_request_fail(r, why);
        return;
    }
    if (sl_eq(buf_slice(&r->other), buf_slice(&r->user)))
        buf_reset(&r->other);
    l = MEM_NEW(struct look_job);
    l->request = r->id;
    l->job.run = look_run;
    l->job.done = look_done;
    buf_adds(&l->name, buf_slice(&r->user));
    buf_adds(&l->other, buf_slice(&r->other));
    memcpy(l->service, r->service, sizeof l->service);
    backend_submit(r->auth->backend, &l->job);
}
