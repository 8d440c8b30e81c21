/* pop3d/box.c - jobs on the work pool: open INBOX, send a message, the UPDATE state. While a job is out, the parts of the
 * session that pop3d.h says so belong to it, and the client's input waits. */
#include "pop3d/pop3d.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>
#include <unistd.h>

enum { SIZES_A_TURN = 2000 };

static struct pop3_sess *
sess_of(struct work_job *j)
{
    return CONTAINER_OF(j, struct pop3_sess, job);
}

static void
log_err(const struct pop3_sess *s, const char *what)
{
    log_error("pop3.store", LOG_F(LF_Z("user", s->user), LF_Z("sid", s->sid)),
              "pop3(%s)<%ld><%s>: %s: %s", s->user, (long)getpid(), s->sid, what, s->err.msg);
}

static void
start(struct pop3_sess *s, enum pop3_state state, enum work_rc (*run)(struct work_job *),
      void (*done)(struct work_job *), void (*parked)(struct work_job *))
{
    s->state = state;
    if (s->conn)
        conn_pause_input(s->conn);
    memset(&s->job, 0, sizeof s->job);
    memset(&s->err, 0, sizeof s->err);
    s->job.run = run;
    s->job.done = done;
    s->job.parked = parked;
    s->job.key = sl_hash(sl_z(s->user)) | 1;
    s->is_job_out = true;
    BUG_ON(!work_submit(pop3d.pool, &s->job)); /* no bound: one job a session */
}

/* The job is back. False: the client left meanwhile, and so did the session. */
static bool
is_client_there(struct pop3_sess *s)
{
    s->is_job_out = false;
    if (s->conn)
        return true;
    pop3_free(s);
    return false;
}

/* ---- opening ---- */

static int
cmp_uid(const void *key, const void *elem)
{
    uint32_t a = *(const uint32_t *)key, b = ((const struct store_uidl *)elem)->uid;

    return a < b ? -1 : a > b;
}

/* The order an old server gave, then by UID. */
static int
cmp_order(const void *a, const void *b)
{
    const struct pop3_msg *x = a, *y = b;

    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return x->uid < y->uid ? -1 : x->uid > y->uid;
}

static void
add_msg(struct pop3_sess *s, const struct store_row *row, uint64_t size_octets)
{
    const struct store_uidl *own =
        s->uidls.n == 0 ? NULL
                        : bsearch(&row->uid, s->uidls.v, s->uidls.n, sizeof s->uidls.v[0], cmp_uid);

    s->v[s->n++] = (struct pop3_msg){ .size_octets = size_octets,
                                      .uid = row->uid,
                                      .order = own == NULL ? UINT32_MAX : own->order,
                                      .uidl = own == NULL ? NULL : own->uidl,
                                      .was_seen = (row->flags.sys & STORE_SEEN) != 0 };
    s->size_octets += size_octets;
}

/* Every message of the view. Sizes come from the index. */
static int
take_sizes(struct pop3_sess *s, uint32_t exists)
{
    for (unsigned k = 0; k < SIZES_A_TURN; k++) {
        uint32_t seq = (uint32_t)s->list_at + 1;
        struct store_row row;
        struct store_msg m = { 0 };

        if (seq > exists)
            return 0;
        s->list_at++;
        if (!store_view_row(s->view, seq, &row))
            continue;
        if (store_fetch(s->view, seq, STORE_GET_SIZE, &m, &s->err) != 0) {
            if (s->err.kind == ERR_NOTFOUND)
                continue; /* expunged since */
            return -1;
        }
        add_msg(s, &row, m.size_octets);
        store_msg_free(&m);
    }
    return 1;
}

static enum work_rc
run_open(struct work_job *j)
{
    struct pop3_sess *s = sess_of(j);
    struct store_box box;
    int rc;

    if (!s->view) {
        if (store_user_open(pop3d.store, sl_z(s->user),
                            &(struct store_userdb){ sl_z(s->mail), sl_z(s->quota) }, &s->store,
                            &s->err) != 0 ||
            store_select(s->store, SL("INBOX"), false, &s->view, &s->err) != 0 ||
            store_uidls(s->view, &s->uidls, &s->err) != 0)
            return WORK_DONE;
        store_view_box(s->view, &box);
        s->uidvalidity = box.uidvalidity;
        if (box.exists > POP3D_MESSAGES_MAX) {
            err_set(&s->err, ERR_LIMIT, "too many messages: %u", (unsigned)box.exists);
            return WORK_DONE;
        }
        s->v = mem_zalloc(sizeof *s->v * (box.exists + 1));
    }
    store_view_box(s->view, &box);
    rc = take_sizes(s, box.exists);
    if (rc == 0 && s->uidls.n > 0 && s->n > 1)
        qsort(s->v, s->n, sizeof s->v[0], cmp_order);
    if (rc >= 0)
        s->err.kind = ERR_NONE;
    return rc == 1 && !atomic_load(&s->is_cancelled) ? WORK_YIELD : WORK_DONE;
}

static void
done_open(struct work_job *j)
{
    struct pop3_sess *s = sess_of(j);

    s->list_at = 0;
    if (s->err.kind != ERR_NONE)
        log_err(s, "opening INBOX");
    if (!is_client_there(s))
        return;
    if (s->err.kind != ERR_NONE) {
        conn_writes(s->conn,
                    SL("-ERR [SYS/TEMP] The mailbox cannot be opened now, try again later.\r\n"));
        pop3_end(s, "Mailbox could not be opened");
        return;
    }
    conn_writes(s->conn, SL("+OK Logged in.\r\n"));
    pop3_go_on(s);
}

void
pop3_box_open(struct pop3_sess *s)
{
    start(s, POP3_OPENING, run_open, done_open, NULL);
}

/* ---- RETR and TOP ---- */

/* The first piece begins with the +OK line, the last one ends with the dot. */
static enum work_rc
run_send(struct work_job *j)
{
    struct pop3_sess *s = sess_of(j);
    const struct pop3_msg *m = &s->v[s->msg];

    if (atomic_load(&s->is_cancelled))
        return WORK_DONE;
    if (!s->file) {
        uint32_t seq = store_view_seq(s->view, m->uid);

        if (seq == 0)
            err_set(&s->err, ERR_NOTFOUND, "the message is gone");
        if (seq == 0 || (s->is_top && s->top_lines == 0 ? store_header_open : store_file_open)(
                            s->view, seq, &s->file, &s->err) != 0)
            return WORK_DONE;
        s->rest = store_file_octets(s->file);
        s->at_line_start = true;
        if (s->is_top) {
            s->rest = pop3_top(s->rest, s->top_lines);
            buf_addz(&s->piece, "+OK\r\n");
        } else {
            buf_addf(&s->piece, "+OK %llu octets\r\n", (unsigned long long)m->size_octets);
        }
    }
    pop3_stuff(&s->rest, &s->at_line_start, POP3D_PIECE_OCTETS, &s->piece);
    if (s->rest.n > 0)
        return WORK_PARK;
    pop3_end_text(s->at_line_start, &s->piece);
    s->is_whole = true;
    return WORK_DONE;
}

static void
write_piece(struct pop3_sess *s)
{
    if (s->conn) {
        conn_writes(s->conn, buf_slice(&s->piece));
        *(s->is_top ? &s->top_octets : &s->retr_octets) += s->piece.n;
    }
    buf_free(&s->piece);
}

static void
parked_send(struct work_job *j)
{
    struct pop3_sess *s = sess_of(j);

    write_piece(s);
    if (s->conn && conn_is_out_full(s->conn))
        s->is_waiting = true;
    else
        work_resume(&s->job);
}

void
pop3_box_drained(struct pop3_sess *s)
{
    if (!s->is_waiting)
        return;
    s->is_waiting = false;
    work_resume(&s->job);
}

static void
done_send(struct work_job *j)
{
    struct pop3_sess *s = sess_of(j);

    write_piece(s);
    store_file_close(&s->file);
    if (s->is_whole) {
        *(s->is_top ? &s->top_n : &s->retr_n) += 1;
        if (!s->is_top)
            s->v[s->msg].is_seen = true;
    } else if (s->err.kind != ERR_NONE && s->err.kind != ERR_NOTFOUND) {
        log_err(s, "reading a message");
    }
    s->is_job_out = false;
    if (!s->conn) {
        pop3_box_update(s, false);
        return;
    }
    if (s->err.kind == ERR_NOTFOUND)
        conn_writes(s->conn, SL("-ERR Message no longer exists.\r\n"));
    else if (!s->is_whole)
        conn_writes(s->conn,
                    SL("-ERR [SYS/TEMP] The message cannot be read now, try again later.\r\n"));
    pop3_go_on(s);
}

void
pop3_box_send(struct pop3_sess *s, size_t i, bool is_top, uint64_t lines)
{
    s->msg = i;
    s->is_top = is_top;
    s->top_lines = lines;
    s->is_whole = s->is_waiting = false;
    start(s, POP3_SENDING, run_send, done_send, parked_send);
}

/* ---- UPDATE ---- */

static int
set_flag(struct pop3_sess *s, const struct store_uids *uids, uint32_t flag)
{
    struct store_flag_change ch = { .op = STORE_ADD, .flags = { .sys = flag }, .is_silent = true };

    return uids->n == 0 ? 0 : store_change_flags(s->view, uids, &ch, NULL, &s->err);
}

/* What goes anyway needs no \Seen; QUIT with deletions is two changes of the store, \Deleted and the expunge. */
static enum work_rc
run_update(struct work_job *j)
{
    struct pop3_sess *s = sess_of(j);
    struct store_uids seen = { 0 }, gone = { 0 };

    for (size_t i = 0; i < s->n; i++) {
        const struct pop3_msg *m = &s->v[i];

        if (s->with_deletes && m->is_deleted)
            store_uids_add(&gone, m->uid, m->uid);
        else if (m->is_seen && !m->was_seen)
            store_uids_add(&seen, m->uid, m->uid);
    }
    if (gone.n > 0 && set_flag(s, &gone, STORE_DELETED) == 0 &&
        store_expunge(s->view, &gone, &s->err) == 0)
        s->deleted = store_uids_count(&gone);
    if (s->err.kind == ERR_NONE)
        set_flag(s, &seen, STORE_SEEN);
    store_uids_free(&seen);
    store_uids_free(&gone);
    return WORK_DONE;
}

static void
done_update(struct work_job *j)
{
    struct pop3_sess *s = sess_of(j);

    if (s->err.kind != ERR_NONE)
        log_err(s, "updating INBOX");
    if (!is_client_there(s))
        return;
    if (s->err.kind != ERR_NONE)
        conn_writes(s->conn,
                    SL("-ERR [SYS/TEMP] The mailbox could not be updated, try again later.\r\n"));
    else if (s->deleted > 0)
        conn_writes(s->conn, SL("+OK Logging out, messages deleted.\r\n"));
    else
        conn_writes(s->conn, SL("+OK Logging out.\r\n"));
    pop3_end(s, "Logged out");
}

void
pop3_box_update(struct pop3_sess *s, bool with_deletes)
{
    s->with_deletes = with_deletes;
    start(s, POP3_UPDATE, run_update, done_update, NULL);
}

/* ---- the end ---- */

static enum work_rc
run_close(struct work_job *j)
{
    struct pop3_sess *s = sess_of(j);

    store_file_close(&s->file);
    store_unselect(&s->view);
    store_user_close(&s->store);
    return WORK_DONE;
}

static void
done_close(struct work_job *j)
{
    struct pop3_sess *s = sess_of(j);

    s->is_job_out = false;
    pop3_free(s);
}

void
pop3_box_close(struct pop3_sess *s)
{
    start(s, POP3_ENDING, run_close, done_close, NULL);
}
