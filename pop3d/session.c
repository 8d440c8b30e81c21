/* pop3d/session.c - the life of a session. */
#include "pop3d/pop3d.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/daemon.h"
#include "session/userip.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct pop3d pop3d;

/* ---- output ---- */

void
pop3_say(struct pop3_sess *s, struct slice text)
{
    s->out_octets += text.n;
    conn_writes(s->conn, text);
}

void
pop3_sayf(struct pop3_sess *s, const char *fmt, ...)
{
    struct buf b = { 0 };
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(&b, fmt, ap);
    va_end(ap);
    pop3_say(s, buf_slice(&b));
    buf_free(&b);
}

/* ---- the end ---- */

void
pop3_free(struct pop3_sess *s)
{
    BUG_ON(s->is_job_out || s->conn);
    if (s->store) { /* closing may write and wait: not here on the loop */
        pop3_box_close(s);
        return;
    }
    pop3_log_end(s);
    pop3_lock_drop(s);
    id_del(s->id);
    list_remove(&s->link);
    pop3d.n_sessions--;
    daemon_session_count(-1);
    store_file_close(&s->file);
    conf_unref(&s->conf);
    buf_free(&s->piece);
    arena_free(&s->part_mem);
    arena_free(&s->uidl_mem);
    map_free(&s->uidl_names, NULL);
    free(s->uidls);
    free(s->orders);
    free(s->v);
    free(s->user);
    free(s->mail);
    free(s->quota);
    free(s->sid);
    free(s->ip);
    userip_leave(pop3d.userips, s->userip);
    free(s);
}

void
pop3_end(struct pop3_sess *s, const char *why)
{
    if (!s->end_why)
        s->end_why = why;
    s->state = POP3_ENDING;
    if (s->conn)
        conn_close(s->conn);
}

/* A connection that ends without QUIT deletes nothing (RFC 1939 §6), but what was read was read. */
static void
on_close(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    struct pop3_sess *s = arg;

    (void)c;
    (void)why;
    s->conn = NULL;
    if (end == CONN_END_TIMEOUT && !s->end_why)
        s->end_why = "Client has not read server output for 300 secs";
    atomic_store(&s->is_cancelled, true);
    timer_stop(&s->lock_timer);
    if (s->is_job_out) {
        pop3_job_drained(s); /* a parked one is to end */
        return;
    }
    if (s->view && s->state != POP3_UPDATE && !s->was_updated && pop3_has_seen(s))
        pop3_box_update(s, false);
    else
        pop3_free(s);
}

/* ---- input ---- */

static void
end_drained(struct pop3_sess *s)
{
    pop3_say(s, SL("-ERR [SYS/TEMP] Server shutting down.\r\n"));
    pop3_end(s, "Shutting down");
}

static void
take_input(struct pop3_sess *s)
{
    while (s->conn && s->state == POP3_TRANSACTION && !conn_is_out_full(s->conn))
        if (!pop3_command(s)) {
            if (pop3d.is_drained && s->state == POP3_TRANSACTION)
                end_drained(s);
            break;
        }
}

/* The client has done something. */
static void
note_act(struct pop3_sess *s)
{
    s->last_act_ms = clock_mono_ms();
    s->is_resting = false;
    conn_set_deadline(s->conn, POP3D_REST_MS);
}

static void
on_input(struct conn *c, void *arg)
{
    struct pop3_sess *s = arg;

    (void)c;
    if (s->state == POP3_TRANSACTION)
        note_act(s);
    take_input(s);
}

static void
on_drain(struct conn *c, void *arg)
{
    struct pop3_sess *s = arg;

    (void)c;
    if (s->state == POP3_LISTING)
        pop3_list_more(s);
    else if (s->state == POP3_SENDING)
        pop3_job_drained(s);
    else
        take_input(s);
}

/* First a rest, in which the session is small; then its end. */
static void
on_deadline(struct conn *c, void *arg)
{
    struct pop3_sess *s = arg;
    uint64_t idle_ms = clock_mono_ms() - s->last_act_ms;

    if (s->state != POP3_TRANSACTION) {
        /* a job or the client's reading takes its time; writing has its own limit */
        conn_set_deadline(c, POP3D_IDLE_MS);
        return;
    }
    if (idle_ms < POP3D_IDLE_MS) {
        if (!s->is_resting)
            store_view_sleep(s->view);
        s->is_resting = true;
        conn_set_deadline(c, POP3D_IDLE_MS - idle_ms);
        return;
    }
    pop3_say(s, SL("-ERR Disconnected for inactivity.\r\n"));
    pop3_end(s, "Inactivity - no input for 600 secs");
}

void
pop3_go_on(struct pop3_sess *s)
{
    if (s->state == POP3_ENDING)
        return;
    s->state = POP3_TRANSACTION;
    if (!s->conn)
        return;
    if (pop3d.is_drained && !conn_has_input(s->conn)) {
        end_drained(s);
        return;
    }
    note_act(s);
    conn_resume_input(s->conn);
}

/* ---- the beginning ---- */

void
pop3_new(const struct pop3_adopted *a)
{
    static const struct conn_ops ops = {
        .on_input = on_input, .on_drain = on_drain, .on_deadline = on_deadline, .on_close = on_close
    };
    struct pop3_sess *s = MEM_NEW(struct pop3_sess);

    s->id = id_add(s);
    s->user = sl_dupz(a->user);
    s->mail = sl_dupz(a->db.mail);
    s->quota = sl_dupz(a->db.quota);
    s->sid = sl_dupz(a->sid);
    s->ip = mem_dupz(a->ip);
    s->userip = a->userip;
    s->conf = conf_ref(a->conf);
    s->is_utf8 = a->is_utf8;
    s->lock_fd = -1;
    list_push_back(&pop3d.sessions, &s->link);
    pop3d.n_sessions++;
    daemon_session_count(1);
    s->conn = conn_new(a->fd, &ops, s);
    conn_set_in_max(s->conn, POP3D_IN_MAX);
    conn_set_out_marks(s->conn, POP3D_OUT_HIGH, POP3D_OUT_LOW);
    conn_unread(s->conn, a->input);
    conn_set_deadline(s->conn, POP3D_IDLE_MS);
    s->state = POP3_WAITING;
    if (pop3_delay_admits(a->user, a->conf)) {
        pop3_begin(s);
        return;
    }
    pop3_sayf(s, "-ERR [LOGIN-DELAY] Mail may be looked at every %llu seconds only.\r\n",
              (unsigned long long)s->conf->pop3_login_delay / 1000);
    pop3_end(s, "Logged in again before pop3_login_delay");
}

void
pop3_drain(void)
{
    pop3d.is_drained = true;
    pop3_delay_forget();
    LIST_EACH(it, nxt, &pop3d.sessions)
    {
        struct pop3_sess *s = CONTAINER_OF(it, struct pop3_sess, link);

        if (s->state == POP3_TRANSACTION && s->conn)
            end_drained(s); /* others when a QUIT under way is finished, a message sent */
    }
}
