/* auth/scram_keeper.c - see scram_keeper.h. */
#include "auth/scram_keeper.h"

#include "auth/names.h"
#include "auth/secret.h"
#include "base/enc.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "core/loop.h"

#include <errno.h>
#include <stdlib.h>

enum { SECRET_FILE_OCTETS = 1024 };

struct scram_keeper {
    struct work_pool *pool;
    struct backend *backend;
    unsigned char secret[SCRAM_SECRET_OCTETS];
    uint64_t paused_until_ms;
    bool has_complained;
};

/* First on the pool's thread (work), then on the backend's (job). */
struct keep {
    struct work_job work;
    struct backend_job job;
    struct scram_keeper *keeper;
    struct buf email, stored, password;
    struct sasl_verifier verifier;
    uint32_t iterations;
    int rc;
    struct err e;
};

uint32_t
scram_iterations(const struct conf *c)
{
    uint32_t n = (uint32_t)c->auth_scram_iterations;

    return n > 0 && n < SCRAM_ITERATIONS_MIN ? SCRAM_ITERATIONS_MIN : n;
}

/* ---- the secret ---- */

static int
read_secret(const char *path, unsigned char out[SCRAM_SECRET_OCTETS], struct err *e)
{
    struct buf text = { .max = SECRET_FILE_OCTETS }, octets = { 0 };
    int rc = fs_read_file(path, &text, e);

    if (rc < 0 && e->kind == ERR_NOTFOUND && (rc = secret_make(path, e)) == 0)
        rc = fs_read_file(path, &text, e);
    if (rc == 0 &&
        (enc_b64_decode(&octets, sl_trim(buf_slice(&text))) < 0 || octets.n != SCRAM_SECRET_OCTETS))
        rc = err_set(e, ERR_CONFIG, "%s is not %d octets in base64", path, SCRAM_SECRET_OCTETS);
    if (rc == 0)
        memcpy(out, buf_slice(&octets).p, SCRAM_SECRET_OCTETS);
    if (octets.p)
        mem_wipe(octets.p, octets.cap);
    if (text.p)
        mem_wipe(text.p, text.cap);
    buf_free(&octets);
    buf_free(&text);
    return rc;
}

struct scram_keeper *
scram_keeper_new(const char *secret_path, struct backend *b)
{
    struct scram_keeper *k = MEM_NEW(struct scram_keeper);
    struct err e = { 0 };

    k->backend = b;
    k->pool = work_pool_new("scram", 1, SCRAM_KEEP_WAITING_MAX);
    if (read_secret(secret_path, k->secret, &e) < 0) {
        log_warn(
            "auth.scram", LOG_NONE,
            "%s: until authd starts again, another secret is behind what SCRAM's strangers see",
            e.msg);
        rand_octets(k->secret, sizeof k->secret);
    }
    return k;
}

void
scram_keeper_free(struct scram_keeper **kp)
{
    struct scram_keeper *k = *kp;

    if (k == NULL)
        return;
    k->backend = NULL; /* what is made now is not written */
    work_pool_free(&k->pool);
    mem_wipe(k, sizeof *k);
    free(k);
    *kp = NULL;
}

void
scram_keeper_make_up(const struct scram_keeper *k, struct slice user, uint32_t iterations,
                     struct sasl_verifier *out)
{
    struct buf key = { 0 };

    auth_name_key(user, &key);
    scram_make_up(k->secret, buf_slice(&key), iterations ? iterations : SCRAM_ITERATIONS_MIN, out);
    buf_free(&key);
}

/* ---- keeping ---- */

static void
keep_free(struct keep *p)
{
    buf_wipe(&p->email);
    buf_wipe(&p->stored);
    buf_wipe(&p->password);
    mem_wipe(p, sizeof *p);
    free(p);
}

/* Nobody's log-in is to wait for another's lock because of this. */
static void
store_run(struct backend_job *j, struct table_set *tables)
{
    struct keep *p = CONTAINER_OF(j, struct keep, job);
    struct users *u = table_set_users(tables, &p->e);

    p->rc = -1;
    if (u == NULL)
        return;
    db_set_patience(users_db(u), 0);
    p->rc = users_scram_set(u, buf_slice(&p->email), buf_slice(&p->stored), &p->verifier, &p->e);
    db_set_patience(users_db(u), DB_IMPATIENT_MS);
}

static void
store_done(struct backend_job *j)
{
    struct keep *p = CONTAINER_OF(j, struct keep, job);
    struct scram_keeper *k = p->keeper;

    if (p->rc == 0) {
        k->has_complained = false;
    } else if (p->e.sys == EBUSY) { /* another's lock is gone soon, and no fault */
        k->paused_until_ms = loop_now_ms() + SCRAM_KEEP_BUSY_MS;
    } else {
        k->paused_until_ms = loop_now_ms() + SCRAM_KEEP_PAUSE_MS;
        if (!k->has_complained)
            log_warn("auth.scram", LOG_NONE, "SCRAM verifiers are not kept: %s", p->e.msg);
        k->has_complained = true;
    }
    keep_free(p);
}

static enum work_rc
make_run(struct work_job *w)
{
    struct keep *p = CONTAINER_OF(w, struct keep, work);

    p->rc = scram_make(buf_slice(&p->password), p->iterations, &p->verifier, &p->e);
    return WORK_DONE;
}

static void
make_done(struct work_job *w)
{
    struct keep *p = CONTAINER_OF(w, struct keep, work);

    buf_wipe(&p->password);
    if (p->rc < 0 || p->keeper->backend == NULL) {
        keep_free(p); /* a password that SCRAM cannot have: he logs in with it all the same */
        return;
    }
    p->job.run = store_run;
    p->job.done = store_done;
    backend_submit(p->keeper->backend, &p->job);
}

void
scram_keep(struct scram_keeper *k, struct slice email, struct slice stored, struct slice password,
           uint32_t iterations)
{
    struct keep *p;

    if (iterations == 0 || loop_now_ms() < k->paused_until_ms)
        return;
    p = MEM_NEW(struct keep);
    p->keeper = k;
    p->iterations = iterations;
    p->work.run = make_run;
    p->work.done = make_done;
    buf_adds(&p->email, email);
    buf_adds(&p->stored, stored);
    buf_adds(&p->password, password);
    if (!work_submit(k->pool, &p->work))
        keep_free(p);
}
