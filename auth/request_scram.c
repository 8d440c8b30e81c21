/* auth/request_scram.c - the verifier that SCRAM asks for: out of the stored password ({SCRAM-SHA-256}), or kept of it, or,
 * for who has none, made up. Of the two a client sees the same until it has sent its proof, and then the same failure. */
#include "auth/auth_request.h"

#include "auth/account.h"
#include "auth/scram.h"
#include "auth/scram_keeper.h"
#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>

struct find_job {
    struct backend_job job;
    uint64_t request;
    struct buf name, other;
    char service[AUTH_SERVICE_OCTETS];
    struct account account;
    struct sasl_verifier verifier;
    int rc, has_verifier;
    struct err e;
};

static void
find_run(struct backend_job *j, struct table_set *tables)
{
    struct find_job *f = CONTAINER_OF(j, struct find_job, job);
    struct account_ask ask = { .name = buf_slice(&f->name),
                               .other = buf_slice(&f->other),
                               .service = f->service };
    const struct account *a = &f->account;
    struct slice stored, name;
    uint64_t began = clock_mono_ms();
    struct users *u;

    f->rc = account_look(tables, &ask, &f->account, &f->e);
    if (f->rc < 0)
        return;
    name = a->is_found && ask.other.n == 0 ? buf_slice(&a->name) : ask.name;
    stored = buf_slice(&a->password);
    u = table_set_users(tables, &f->e);
    /* of a stranger too: the time is the same */
    f->has_verifier = u ? users_scram_find(u, name, stored, &f->verifier, &f->e) : -1;
    if (f->has_verifier < 0)
        table_set_note_failure(tables, began, &f->e);
    else if (ask.other.n > 0 || !a->is_found)
        f->has_verifier = 0;
    if ((ask.other.n ? a->is_master : a->is_found) &&
        sl_take_iprefix(&stored, SL(SCRAM_SCHEME_PREFIX)) && scram_read(stored, &f->verifier) == 0)
        f->has_verifier = 1;
}

static void
give(struct auth_request *r, struct find_job *f)
{
    const struct account *a = &f->account;
    struct sasl_verifier made_up;

    /* For everybody: it takes its time. Of the name that was asked for: what the database has would be another's for who exists
     * only. */
    scram_keeper_make_up(r->auth->scram, buf_slice(f->name.n ? &f->name : &r->user),
                         scram_iterations(r->conf), &made_up);
    auth_request_note_account(r, a);
    if (r->other.n && !a->is_master && r->why_wrong == NULL)
        r->why_wrong = "unknown master user";
    else if (r->other.n == 0 && !a->is_found && r->why_wrong == NULL)
        r->why_wrong = "unknown user";
    else if (f->has_verifier == 0 && r->other.n)
        r->why_wrong = "no SCRAM verifier is kept of masters whose password is not stored as one";
    else if (f->has_verifier == 0)
        r->why_wrong = "no SCRAM verifier is kept for this password: a login with PLAIN makes one";
    if (f->has_verifier == 0)
        f->verifier = made_up;
    auth_request_go_on(r, sasl_give_verifier(&r->sasl, &f->verifier));
}

static void
find_done(struct backend_job *j)
{
    struct find_job *f = CONTAINER_OF(j, struct find_job, job);
    struct auth_request *r = id_get(f->request);

    if (r && (f->rc < 0 || f->has_verifier < 0))
        auth_request_fail_temporarily(r, f->e.msg);
    else if (r)
        give(r, f);
    account_free(&f->account);
    buf_free(&f->name);
    buf_free(&f->other);
    mem_wipe(f, sizeof *f);
    free(f);
}

void
auth_request_want_verifier(struct auth_request *r, struct slice name, struct slice stored)
{
    buf_reset(&r->scram_name);
    buf_reset(&r->scram_stored);
    buf_adds(&r->scram_name, name);
    buf_adds(&r->scram_stored, stored);
}

void
auth_request_keep_verifier(struct auth_request *r)
{
    if (r->scram_name.n)
        scram_keep(r->auth->scram, buf_slice(&r->scram_name), buf_slice(&r->scram_stored),
                   buf_slice(&r->sasl.password), scram_iterations(r->conf));
}

void
auth_request_find_verifier(struct auth_request *r)
{
    struct find_job *f = MEM_NEW(struct find_job);

    if (auth_request_set_names(r, buf_slice(&r->sasl.authcid))) {
        buf_adds(&f->name, buf_slice(&r->user));
        buf_adds(&f->other, buf_slice(&r->other));
    } /* not a name of anybody here: he is looked for all the same */
    f->request = r->id;
    f->job.run = find_run;
    f->job.done = find_done;
    memcpy(f->service, r->service, sizeof f->service);
    backend_submit(r->auth->backend, &f->job);
}
