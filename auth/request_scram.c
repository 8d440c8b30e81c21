/* auth/request_scram.c - the verifier that SCRAM asks for: out of the stored password ({SCRAM-SHA-256}), or kept of it, or,
 * for who has none, made up. Of the two a client sees the same until it has sent its proof, and then the same failure. */
#include "auth/auth_request.h"

#include "auth/names.h"
#include "auth/scram.h"
#include "auth/scram_keeper.h"
#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>

struct find_job {
    struct backend_job job;
    uint64_t request;
    struct buf wanted, name, stored;
    struct sasl_verifier verifier;
    int is_user, has_verifier;
    bool is_nobody; /* not a name of anybody here: he is looked for all the same */
    struct err e;
};

static void
find_run(struct backend_job *j, struct table_set *tables)
{
    struct find_job *f = CONTAINER_OF(j, struct find_job, job);
    struct slice stored, wanted = buf_slice(&f->wanted);
    uint64_t began = clock_mono_ms();
    struct users *u = table_set_users(tables, &f->e);

    if (f->is_nobody)
        wanted = SL("");
    f->is_user = u ? users_find(u, wanted, &f->name, &f->stored, &f->e) : -1;
    if (f->is_user > 0)
        wanted = buf_slice(&f->name);
    stored = buf_slice(&f->stored);
    if (f->is_user >= 0) /* of a stranger too: the time is the same */
        f->has_verifier = users_scram_find(u, wanted, stored, &f->verifier, &f->e);
    if (f->is_user > 0 && sl_take_iprefix(&stored, SL(SCRAM_SCHEME_PREFIX)) &&
        scram_read(stored, &f->verifier) == 0)
        f->has_verifier = 1;
    if (f->is_user < 0 || f->has_verifier < 0)
        table_set_note_failure(tables, began, &f->e);
}

static void
give(struct auth_request *r, struct find_job *f)
{
    if (f->is_user > 0) { /* the name as the database has it */
        buf_reset(&r->user);
        auth_format_name(r->conf->auth_username_format, buf_slice(&f->name), &r->user);
    }
    r->is_found = f->is_user > 0 && f->has_verifier > 0;
    if (f->is_user == 0 && r->why_wrong == NULL)
        r->why_wrong = "unknown user";
    else if (f->has_verifier == 0)
        r->why_wrong = "no SCRAM verifier is kept for this password: a login with PLAIN makes one";
    if (!r->is_found)
        scram_keeper_make_up(r->auth->scram, buf_slice(&r->user), scram_iterations(r->conf),
                             &f->verifier);
    auth_request_go_on(r, sasl_give_verifier(&r->sasl, &f->verifier));
}

static void
find_done(struct backend_job *j)
{
    struct find_job *f = CONTAINER_OF(j, struct find_job, job);
    struct auth_request *r = id_get(f->request);

    if (r && (f->is_user < 0 || f->has_verifier < 0))
        auth_request_fail_temporarily(r, f->e.msg);
    else if (r)
        give(r, f);
    buf_free(&f->wanted);
    buf_free(&f->name);
    if (f->stored.p)
        mem_wipe(f->stored.p, f->stored.cap);
    buf_free(&f->stored);
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

    buf_reset(&r->user);
    if (!auth_name_of_client(r->conf, buf_slice(&r->sasl.authcid), &r->user, &r->why_wrong))
        f->is_nobody = true;
    f->request = r->id;
    f->job.run = find_run;
    f->job.done = find_done;
    buf_adds(&f->wanted, buf_slice(&r->user));
    backend_submit(r->auth->backend, &f->job);
}
