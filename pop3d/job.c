/* pop3d/job.c - a job's way out and back. While it is out, the parts of the session that pop3d.h says so belong to it, and the
 * client's input waits. */
#include "pop3d/pop3d.h"

#include "base/log.h"
#include "base/mem.h"

#include <unistd.h>

struct pop3_sess *
pop3_of_job(struct work_job *j)
{
    return CONTAINER_OF(j, struct pop3_sess, job);
}

void
pop3_log_err(const struct pop3_sess *s, const char *what)
{
    log_error("pop3.store", LOG_F(LF_Z("user", s->user), LF_Z("sid", s->sid)),
              "pop3(%s)<%ld><%s>: %s: %s", s->user, (long)getpid(), s->sid, what, s->err.msg);
}

void
pop3_say_err(struct pop3_sess *s, const char *what)
{
    if (s->err.kind == ERR_PERM || s->err.kind == ERR_LIMIT)
        pop3_sayf(s, "-ERR [SYS/PERM] %s.\r\n", what);
    else
        pop3_sayf(s, "-ERR [SYS/TEMP] %s now, try again later.\r\n", what);
}

void
pop3_job(struct pop3_sess *s, enum pop3_state state, enum work_rc (*run)(struct work_job *),
         void (*done)(struct work_job *), void (*parked)(struct work_job *))
{
    s->state = state;
    if (s->conn)
        conn_pause_input(s->conn);
    memset(&s->job, 0, sizeof s->job);
    memset(&s->err, 0, sizeof s->err);
    s->is_waiting = false;
    s->job.run = run;
    s->job.done = done;
    s->job.parked = parked;
    s->job.key = sl_hash(sl_z(s->user)) | 1;
    s->is_job_out = true;
    BUG_ON(!work_submit(pop3d.pool, &s->job)); /* no bound: one job a session */
}

bool
pop3_job_back(struct pop3_sess *s)
{
    s->is_job_out = false;
    if (s->conn)
        return true;
    pop3_free(s);
    return false;
}

int
pop3_view_wake(struct pop3_sess *s)
{
    return store_view_wake(s->view, &s->err);
}

/* ---- a reply in pieces ---- */

void
pop3_job_piece(struct work_job *j)
{
    struct pop3_sess *s = pop3_of_job(j);

    if (s->conn)
        pop3_say(s, buf_slice(&s->piece));
    buf_free(&s->piece);
    if (s->conn && conn_is_out_full(s->conn))
        s->is_waiting = true;
    else
        work_resume(&s->job);
}

void
pop3_job_drained(struct pop3_sess *s)
{
    if (!s->is_waiting)
        return;
    s->is_waiting = false;
    work_resume(&s->job);
}
