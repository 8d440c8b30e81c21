/* imapd/session.c - a session from adoption to its last log line. */
#include "imapd/cmd.h"

#include "base/log.h"
#include "base/mem.h"
#include "core/daemon.h"
#include "session/userip.h"

#include <stdlib.h>
#include <unistd.h>

enum { CLIENT_ID_ARENA_OCTETS = 64 * 1024 };

struct imapd_shared imapd;

/* ---- output ---- */

void
imap_sess_write(struct imap_sess *s, struct slice octets)
{
    if (!s->conn || octets.n == 0)
        return;
    s->stats.out_octets += octets.n;
    conn_writes(s->conn, octets);
}

void
imap_sess_writef(struct imap_sess *s, const char *fmt, ...)
{
    struct buf b = { 0 };
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(&b, fmt, ap);
    va_end(ap);
    imap_sess_write(s, buf_slice(&b));
    buf_free(&b);
}

void
imap_sess_bye(struct imap_sess *s, const char *text, const char *why)
{
    if (s->is_closing || !s->conn)
        return;
    imap_sess_writef(s, "* BYE %s\r\n", text);
    s->why = why;
    s->is_closing = true;
    if (s->cmd)
        atomic_store(&s->cmd->is_cancelled, true);
    conn_close(s->conn);
}

static void
bye_shutdown(struct imap_sess *s)
{
    imap_sess_bye(s, "Server shutting down.", "Disconnected: Server shutting down");
}

/* ---- the end ---- */

static void
log_end(const struct imap_sess *s)
{
    const struct imap_stats *t = &s->stats;

    log_info(
        "imap.logout",
        LOG_F(LF_Z("user", s->user), LF_Z("sid", s->name), LF_Z("why", s->why),
              LF_N("in", t->in_octets), LF_N("out", t->out_octets), LF_N("deleted", t->deleted),
              LF_N("expunged", t->expunged)),
        "imap(%s)<%d><%s>: %s in=%llu out=%llu deleted=%llu expunged=%llu trashed=0 hdr_count=%llu "
        "hdr_bytes=%llu body_count=%llu body_bytes=%llu",
        s->user, (int)getpid(), s->name, s->why, (unsigned long long)t->in_octets,
        (unsigned long long)t->out_octets, (unsigned long long)t->deleted,
        (unsigned long long)t->expunged, (unsigned long long)t->hdr_count,
        (unsigned long long)t->hdr_octets, (unsigned long long)t->body_count,
        (unsigned long long)t->body_octets);
}

static enum cmd_rc
run_close(struct imap_cmd *c)
{
    imap_unselect(c->s);
    store_user_close(&c->s->store);
    return CMD_DONE;
}

static void
done_close(struct imap_cmd *c)
{
    struct imap_sess *s = c->s;

    log_end(s);
    list_remove(&s->link);
    id_del(s->id);
    userip_leave(imap_userips, s->userip);
    imap_reader_free(&s->reader);
    store_uids_free(&s->saved);
    conf_unref(&s->conf);
    free(s->user);
    free(s->name);
    free(s->mail);
    free(s->quota);
    free(s->origin);
    free(s->capability);
    free(s->id_capability);
    s->user = NULL; /* imap_sess_continue() frees the rest */
    daemon_session_count(-1);
}

static const struct imap_row row_close = { "closing", "", 0, 0, NULL, run_close, done_close };

/* ---- the beginning ---- */

static enum cmd_rc
run_open(struct imap_cmd *c)
{
    struct store_userdb db = { .mail = sl_z(c->s->mail), .quota = sl_z(c->s->quota) };
    struct buf names = { 0 };
    struct err e = { 0 };

    if (store_user_open(imapd.store, sl_z(c->s->user), &db, &c->s->store, &e) < 0) {
        imap_fail(c, &e, SL("INBOX"), "NONEXISTENT");
        c->must_end = true;
        c->why = "Internal error: the mailboxes could not be opened";
    } else {
        imap_add_capabilities(c->s, &names);
        imap_reply(c, "OK [CAPABILITY %s] Logged in", buf_z(&names));
        buf_free(&names);
    }
    return CMD_DONE;
}

/* What login was told before. */
static void
take_client_id(struct imap_sess *s, struct slice wire)
{
    struct arena mem = { .cap = CLIENT_ID_ARENA_OCTETS };
    struct imap_id id;
    struct err e;

    if (imap_take_id(&wire, &mem, &id, &e) == PARSE_OK && id.n > 0)
        imap_note_id(s, &id);
    arena_free(&mem);
}

static const struct imap_row row_open = { "login", "", 0, 0, NULL, run_open, NULL };

static void
on_input(struct conn *conn, void *arg)
{
    struct imap_sess *s = arg;

    conn_set_deadline(conn, IMAPD_IDLE_MS);
    imap_reader_run(s);
}

static void
on_drain(struct conn *conn, void *arg)
{
    struct imap_sess *s = arg;

    (void)conn;
    if (!s->cmd)
        imap_sess_continue(s); /* the reader, or news of an IDLE, waited for it */
    else if (s->cmd->is_parked && s->cmd->rc == CMD_FLUSH)
        imap_cmd_resume(s->cmd);
}

static void
on_deadline(struct conn *conn, void *arg)
{
    struct imap_sess *s = arg;

    /* A client in IDLE is told that we are here, which finds out whether it is; a command in work is ours to end. */
    if (s->idle || (s->cmd && !s->cmd->is_input_wanted))
        conn_set_deadline(conn, IMAPD_IDLE_MS);
    else
        imap_sess_bye(s, "Disconnected for inactivity.", "Disconnected for inactivity");
}

static void
on_close(struct conn *conn, void *arg, enum conn_end end, const struct err *why)
{
    struct imap_sess *s = arg;

    (void)conn;
    s->conn = NULL;
    if (!s->why && end == CONN_END_ERROR && why && why->kind == ERR_CLIENT)
        s->why = "Disconnected: the compressed input is damaged";
    if (!s->why)
        s->why = end == CONN_END_TIMEOUT ? "Disconnected: the client takes no output"
                                         : "Connection closed";
    s->is_closing = true;
    if (!s->cmd) {
        imap_sess_continue(s);
        return;
    }
    atomic_store(&s->cmd->is_cancelled, true);
    if (s->cmd->is_parked)
        imap_cmd_resume(s->cmd);
}

static const struct conn_ops ops = {
    .on_input = on_input, .on_drain = on_drain, .on_deadline = on_deadline, .on_close = on_close
};

void
imap_sess_new(const struct imap_adopted *a)
{
    struct imap_sess *s = MEM_NEW(struct imap_sess);
    struct imap_cmd *c;

    s->id = id_add(s);
    list_push_back(&imapd.sessions, &s->link);
    s->user = sl_dupz(a->user);
    s->work_key = sl_hash(a->user) | 1;
    s->name = sl_dupz(a->name);
    s->mail = sl_dupz(a->db.mail);
    s->quota = sl_dupz(a->db.quota);
    s->capability = a->capability.n > 0 ? sl_dupz(a->capability) : NULL;
    s->userip = a->userip;
    s->origin = imap_origin_new(a);
    s->conf = conf_ref(a->conf);
    s->is_literal_minus = imap_is_literal_minus(s);
    take_client_id(s, a->client_id);
    s->conn = conn_new(a->fd, &ops, s);
    conn_set_write_timeout(s->conn, IMAPD_WRITE_MS);
    conn_unread(s->conn, a->input);
    daemon_session_count(1);

    c = imap_cmd_new(s, &row_open);
    buf_adds(&c->text, a->tag);
    c->tag = buf_slice(&c->text);
    imap_cmd_start(c);
}

/* ---- between commands ---- */

void
imap_sess_stop_watch(struct imap_sess *s)
{
    if (s->is_watched)
        store_view_watch(s->view, NULL, NULL);
    s->is_watched = false;
}

static void
end_session(struct imap_sess *s)
{
    if (!s->user) { /* closed */
        free(s);
        return;
    }
    imap_idle_free(s);
    imap_sess_stop_watch(s);
    imap_notify_free(s);
    imap_cmd_start(imap_cmd_new(s, &row_close));
}

void
imap_sess_continue(struct imap_sess *s)
{
    if (!s->conn) {
        end_session(s);
        return;
    }
    if (s->bad_count >= IMAPD_BAD_MAX)
        imap_sess_bye(s, "Too many invalid IMAP commands.",
                      "Disconnected: Too many invalid IMAP commands");
    if (s->is_drained)
        bye_shutdown(s);
    if (s->is_closing) {
        conn_close(s->conn);
        return;
    }
    imap_idle_poke(s);
    if (s->cmd)
        return;
    conn_set_deadline(s->conn, IMAPD_IDLE_MS);
    conn_resume_input(s->conn);
}

void
imap_sess_drain(void)
{
    LIST_EACH(it, next, &imapd.sessions)
    {
        struct imap_sess *s = CONTAINER_OF(it, struct imap_sess, link);

        if (s->cmd && !s->cmd->is_input_wanted)
            s->is_drained = true; /* its reply first: a BYE inside a literal would be text */
        else
            bye_shutdown(s);
    }
}
