/* auth/request_password.c - name and password: the database's thread, then the hash queue. A wrong password, an unknown user:
 * both cost one hash. */
#include "auth/auth_request.h"

#include "auth/names.h"
#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>

static void
on_hashed(uint64_t id, int match, const char *why)
{
    struct auth_request *r = id_get(id);

    if (r == NULL)
        return;
    if (match > 0)
        auth_request_authenticated(r);
    else if (match == 0)
        auth_request_fail(r, r->is_unknown ? "unknown user" : "Password mismatch");
    else
        auth_request_fail_temporarily(r, why);
}

struct find_job {
    struct backend_job job;
    uint64_t request;
    struct buf wanted, name, password;
    int rc;
    struct err e;
};

static void
find_run(struct backend_job *j, struct table_set *tables)
{
    struct find_job *f = CONTAINER_OF(j, struct find_job, job);
    uint64_t began = clock_mono_ms();
    struct users *u = table_set_users(tables, &f->e);

    f->rc = u ? users_find(u, buf_slice(&f->wanted), &f->name, &f->password, &f->e) : -1;
    if (f->rc < 0)
        table_set_note_failure(tables, began, &f->e);
}

static void
check_password(struct auth_request *r, struct find_job *f)
{
    struct buf source = { 0 };
    struct hash_ask ask = { .rank = r->rank,
                            .user = buf_slice(&r->user),
                            .stored = buf_slice(&f->password),
                            .password = buf_slice(&r->sasl.password),
                            .default_scheme = r->conf->default_pass_scheme,
                            .is_dummy = f->rc == 0 };

    r->is_unknown = ask.is_dummy;
    auth_request_add_source(r, &source);
    ask.source = buf_slice(&source);
    if (!hash_submit(r->auth->hashes, &ask, on_hashed, r->id))
        auth_request_fail_busy(r);
    buf_free(&source);
}

static void
find_done(struct backend_job *j)
{
    struct find_job *f = CONTAINER_OF(j, struct find_job, job);
    struct auth_request *r = id_get(f->request);

    if (r && f->rc < 0) {
        auth_request_fail_temporarily(r, f->e.msg);
    } else if (r) {
        if (f->rc > 0) { /* the name as the database has it */
            r->is_found = true;
            buf_reset(&r->user);
            auth_format_name(r->conf->auth_username_format, buf_slice(&f->name), &r->user);
        }
        check_password(r, f);
    }
    buf_free(&f->wanted);
    buf_free(&f->name);
    if (f->password.p)
        mem_wipe(f->password.p, f->password.cap);
    buf_free(&f->password);
    free(f);
}

void
auth_request_check_password(struct auth_request *r)
{
    struct find_job *f;

    r->is_checking = true;
    timer_stop(&r->timer);
    auth_format_name(r->conf->auth_username_format, buf_slice(&r->sasl.authcid), &r->user);
    f = MEM_NEW(struct find_job);
    f->request = r->id;
    f->job.run = find_run;
    f->job.done = find_done;
    buf_adds(&f->wanted, buf_slice(&r->user));
    backend_submit(r->auth->backend, &f->job);
}
