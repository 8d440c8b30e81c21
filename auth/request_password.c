/* auth/request_password.c - name and password: the database's thread, which also knows app passwords, then the hash queue. A
 * wrong password, an unknown user, an app password that is too old or for something else: all cost one hash, and are told at
 * the same time. */
#include "auth/auth_request.h"

#include "auth/account.h"
#include "auth/names.h"
#include "base/mem.h"

#include <stdlib.h>

struct find_job {
    struct backend_job job;
    uint64_t request;
    struct buf name, other, entered;
    char service[AUTH_SERVICE_OCTETS];
    struct account account;
    int rc;
    struct err e;
};

static void
on_hashed(uint64_t id, int match, const char *why)
{
    struct auth_request *r = id_get(id);

    if (r == NULL)
        return;
    if (match > 0) {
        auth_request_keep_verifier(r);
        auth_request_authenticated(r);
    } else if (match == 0) {
        auth_request_fail(r, r->why_wrong ? r->why_wrong : "Password mismatch");
    } else {
        auth_request_fail_temporarily(r, why);
    }
}

/* What the log will say when the password is not the right one. */
static const char *
why_wrong(const struct auth_request *r, const struct account *a)
{
    if (r->why_wrong)
        return r->why_wrong;
    if (r->other.n)
        return a->is_master ? NULL : "unknown master user";
    if (a->app == USERS_APP_EXPIRED)
        return "app password expired";
    if (a->app == USERS_APP_SCOPE)
        return "app password is not for this service";
    return a->is_found ? NULL : "unknown user";
}

static void
check_password(struct auth_request *r, const struct account *a)
{
    struct buf source = { 0 };
    struct hash_ask ask = { .rank = r->rank,
                            .user = buf_slice(&r->user),
                            .stored = buf_slice(&a->password),
                            .password = buf_slice(&r->sasl.password),
                            .default_scheme = r->conf->default_pass_scheme,
                            .is_dummy = r->other.n ? !a->is_master : !a->is_found };

    r->why_wrong = why_wrong(r, a);
    if (a->app == USERS_APP_EXPIRED) /* who has it, had it rightly */
        r->code = "pass_expired";
    if (a->is_found && a->wants_verifier)
        auth_request_want_verifier(r, buf_slice(&a->name), buf_slice(&a->password));
    auth_request_add_source(r, &source);
    ask.source = buf_slice(&source);
    if (!hash_submit(r->auth->hashes, &ask, on_hashed, r->id))
        auth_request_fail_busy(r);
    buf_free(&source);
}

static void
find_run(struct backend_job *j, struct table_set *tables)
{
    struct find_job *f = CONTAINER_OF(j, struct find_job, job);
    struct account_ask ask = { .name = buf_slice(&f->name),
                               .other = buf_slice(&f->other),
                               .entered = buf_slice(&f->entered),
                               .service = f->service };

    f->rc = account_look(tables, &ask, &f->account, &f->e);
}

static void
find_done(struct backend_job *j)
{
    struct find_job *f = CONTAINER_OF(j, struct find_job, job);
    struct auth_request *r = id_get(f->request);

    if (r && f->rc < 0) {
        auth_request_fail_temporarily(r, f->e.msg);
    } else if (r) {
        auth_request_note_account(r, &f->account);
        if (f->account.app != USERS_APP_GOOD) {
            check_password(r, &f->account);
        } else {
            if (!r->is_disabled)
                app_uses_note(r->auth->uses, f->account.app_id, r->service, &r->remote);
            auth_request_authenticated(r);
        }
    }
    account_free(&f->account);
    buf_free(&f->name);
    buf_free(&f->other);
    buf_wipe(&f->entered);
    free(f);
}

void
auth_request_check_password(struct auth_request *r)
{
    struct find_job *f = MEM_NEW(struct find_job);

    r->is_checking = true;
    timer_stop(&r->timer);
    if (auth_request_set_names(r, buf_slice(&r->sasl.authcid))) {
        buf_adds(&f->name, buf_slice(&r->user));
        buf_adds(&f->other, buf_slice(&r->other));
    } /* else nobody is looked for, and is as hard to find as others */
    f->request = r->id;
    f->job.run = find_run;
    f->job.done = find_done;
    buf_adds(&f->entered, buf_slice(&r->sasl.password));
    memcpy(f->service, r->service, sizeof f->service);
    backend_submit(r->auth->backend, &f->job);
}
