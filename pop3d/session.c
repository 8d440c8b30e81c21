/* pop3d/session.c - the life of a session. */
#include "pop3d/pop3d.h"

#include "base/log.h"
#include "base/mem.h"
#include "core/daemon.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct pop3d pop3d;

/* ---- the end ---- */

/* Dovecot's line, with its default pop3_logout_format. */
static void
log_end(const struct pop3_sess *s)
{
    log_info("pop3.end",
             LOG_F(LF_Z("user", s->user), LF_Z("sid", s->sid), LF_N("retr", s->retr_n),
                   LF_N("retr_octets", s->retr_octets), LF_N("del", s->deleted)),
             "pop3(%s)<%ld><%s>: Disconnected: %s top=%llu/%llu, retr=%llu/%llu, del=%llu/%zu, "
             "size=%llu",
             s->user, (long)getpid(), s->sid, s->end_why ? s->end_why : "Connection closed",
             (unsigned long long)s->top_n, (unsigned long long)s->top_octets,
             (unsigned long long)s->retr_n, (unsigned long long)s->retr_octets,
             (unsigned long long)s->deleted, s->n, (unsigned long long)s->size_octets);
}

void
pop3_free(struct pop3_sess *s)
{
    BUG_ON(s->is_job_out || s->conn);
    if (s->store) { /* closing may write and wait: not here on the loop */
        pop3_box_close(s);
        return;
    }
    log_end(s);
    id_del(s->id);
    list_remove(&s->link);
    pop3d.n_sessions--;
    daemon_session_count(-1);
    store_file_close(&s->file);
    conf_unref(&s->conf);
    buf_free(&s->piece);
    free(s->v);
    store_uidls_free(&s->uidls);
    free(s->user);
    free(s->mail);
    free(s->quota);
    free(s->sid);
    free(s->ip);
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

static bool
has_seen_to_save(const struct pop3_sess *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].is_seen && !s->v[i].was_seen)
            return true;
    return false;
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
        s->end_why = "Timeout: the client takes no output";
    atomic_store(&s->is_cancelled, true);
    if (s->is_job_out) {
        pop3_box_drained(s); /* a parked one is to end */
        return;
    }
    if (s->view && s->state != POP3_UPDATE && has_seen_to_save(s))
        pop3_box_update(s, false);
    else
        pop3_free(s);
}

/* ---- input ---- */

static void
take_input(struct pop3_sess *s)
{
    while (s->conn && s->state == POP3_TRANSACTION && !conn_is_out_full(s->conn))
        if (!pop3_command(s))
            break;
}

static void
on_input(struct conn *c, void *arg)
{
    struct pop3_sess *s = arg;

    if (s->state == POP3_TRANSACTION)
        conn_set_deadline(c, POP3D_IDLE_MS);
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
        pop3_box_drained(s);
    else
        take_input(s);
}

static void
on_deadline(struct conn *c, void *arg)
{
    struct pop3_sess *s = arg;

    if (s->state !=
        POP3_TRANSACTION) { /* a job or the client's reading takes its time; writing has its own limit */
        conn_set_deadline(c, POP3D_IDLE_MS);
        return;
    }
    conn_writes(c, SL("-ERR Disconnected for inactivity.\r\n"));
    pop3_end(s, "Disconnected for inactivity");
}

void
pop3_go_on(struct pop3_sess *s)
{
    if (s->state == POP3_ENDING)
        return;
    s->state = POP3_TRANSACTION;
    if (!s->conn)
        return;
    conn_set_deadline(s->conn, POP3D_IDLE_MS);
    conn_resume_input(s->conn);
}

/* ---- the beginning ---- */

void
pop3_new(int fd, struct slice user, const struct store_userdb *db, struct slice sid, const char *ip,
         struct slice input, const struct conf *conf)
{
    static const struct conn_ops ops = {
        .on_input = on_input, .on_drain = on_drain, .on_deadline = on_deadline, .on_close = on_close
    };
    struct pop3_sess *s = MEM_NEW(struct pop3_sess);

    s->id = id_add(s);
    s->user = sl_dupz(user);
    s->mail = sl_dupz(db->mail);
    s->quota = sl_dupz(db->quota);
    s->sid = sl_dupz(sid);
    s->ip = mem_dupz(ip);
    s->conf = conf_ref(conf);
    list_push_back(&pop3d.sessions, &s->link);
    pop3d.n_sessions++;
    daemon_session_count(1);
    s->conn = conn_new(fd, &ops, s);
    conn_set_in_max(s->conn, POP3D_IN_MAX);
    conn_unread(s->conn, input);
    conn_set_deadline(s->conn, POP3D_IDLE_MS);
    pop3_box_open(s);
}

void
pop3_drain(void)
{
    LIST_EACH(it, nxt, &pop3d.sessions)
    {
        struct pop3_sess *s = CONTAINER_OF(it, struct pop3_sess, link);

        if (s->state != POP3_TRANSACTION || !s->conn)
            continue; /* a QUIT under way is finished, a message sent; those that go on are ended by the limit */
        conn_writes(s->conn, SL("-ERR [SYS/TEMP] Server shutting down.\r\n"));
        pop3_end(s, "Shutting down");
    }
}
