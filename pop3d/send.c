/* pop3d/send.c - RETR and TOP: a message in pieces, each made when the client has taken the one before. */
#include "pop3d/pop3d.h"

#include "base/mem.h"

#include <stdlib.h>

/* pop3_client_workarounds */
static bool
works_around(const struct pop3_sess *s, const char *what)
{
    const struct conf_list *l = &s->conf->pop3_client_workarounds;

    for (size_t i = 0; i < l->n; i++)
        if (sl_ieqz(sl_z(l->v[i]), what))
            return true;
    return false;
}

static bool
has_empty_line(struct slice text)
{
    return sl_has_prefix(text, SL("\r\n")) || sl_find(text, SL("\n\r\n")) != SL_NPOS;
}

static int
begin(struct pop3_sess *s)
{
    const struct pop3_msg *m = &s->v[s->msg];
    uint32_t seq = pop3_view_wake(s) == 0 ? store_view_seq(s->view, m->uid) : 0;
    bool is_header = s->is_top && s->top_lines == 0;
    struct slice text;
    uint64_t octets;

    if (s->err.kind != ERR_NONE)
        return -1;
    if (seq == 0)
        return err_set(&s->err, ERR_NOTFOUND, "the message is gone");
    if ((is_header ? store_header_open : store_file_open)(s->view, seq, &s->file, &s->err) != 0)
        return -1;
    text = store_file_octets(s->file);
    if (s->is_top)
        text = pop3_top(text, s->top_lines);
    s->lacks_end = !has_empty_line(text) && works_around(s, "oe-ns-eoh");
    s->at_line_start = true;
    s->part = 0;
    octets = pop3_size(m);
    s->n_parts = s->is_utf8 ? 0 : pop3_surrogate(s->file, text, &s->part_mem, &s->parts, &octets);
    if (s->n_parts == 0) {
        s->parts = arena_alloc(&s->part_mem, sizeof s->parts[0]);
        s->parts[0] = text;
        s->n_parts = 1;
    }
    if (s->is_top)
        buf_addz(&s->piece, "+OK\r\n");
    else
        buf_addf(&s->piece, "+OK %llu octets\r\n", (unsigned long long)octets);
    return 0;
}

static void
end(struct pop3_sess *s)
{
    if (!s->lacks_end) {
        pop3_end_text(s->at_line_start, &s->piece);
        return;
    }
    pop3_end_text(s->at_line_start, &s->piece);
    buf_truncate(&s->piece, s->piece.n - 3);
    buf_addz(&s->piece, "\r\n.\r\n");
}

static void
replace_nuls(char *p, size_t n)
{
    for (char *at; (at = memchr(p, '\0', n)) != NULL; n -= (size_t)(at + 1 - p), p = at + 1)
        *at = (char)0x80;
}

/* The first piece begins with the +OK line, the last one ends with the dot. */
static enum work_rc
run_send(struct work_job *j)
{
    struct pop3_sess *s = pop3_of_job(j);

    if (atomic_load(&s->is_cancelled) || (!s->file && begin(s) != 0))
        return WORK_DONE;
    while (s->part < s->n_parts && s->piece.n < POP3D_PIECE_OCTETS) {
        pop3_stuff(&s->parts[s->part], &s->at_line_start, POP3D_PIECE_OCTETS, &s->piece);
        if (s->parts[s->part].n == 0)
            s->part++;
    }
    if (works_around(s, "outlook-no-nuls") && s->piece.n > 0)
        replace_nuls(s->piece.p + s->piece.off, s->piece.n);
    if (s->part < s->n_parts)
        return WORK_PARK;
    end(s);
    s->is_whole = true;
    return WORK_DONE;
}

static void
count(struct pop3_sess *s, size_t octets)
{
    if (s->conn)
        *(s->is_top ? &s->top_octets : &s->retr_octets) += octets;
}

static void
parked_send(struct work_job *j)
{
    struct pop3_sess *s = pop3_of_job(j);

    count(s, s->piece.n);
    pop3_job_piece(j);
}

static void
tell_gone(struct pop3_sess *s)
{
    struct pop3_msg *m = &s->v[s->msg];
    bool is_again = (m->is & POP3_MSG_TOLD_GONE) != 0;

    m->is |= POP3_MSG_TOLD_GONE;
    pop3_sayf(s, "-ERR Message %zu expunged.\r\n", s->msg + 1);
    if (is_again) /* or it would ask for ever */
        pop3_count_bad(s);
}

static void
done_send(struct work_job *j)
{
    struct pop3_sess *s = pop3_of_job(j);

    s->is_job_out = false;
    if (s->is_whole) {
        s->bad = 0;
        count(s, s->piece.n - 3); /* without the dot, as Dovecot */
        if (s->conn)
            pop3_say(s, buf_slice(&s->piece));
        if (!s->is_top && s->conn && !s->conf->pop3_no_flag_updates)
            pop3_mark(s, s->msg, POP3_MSG_SEEN);
    } else if (s->err.kind != ERR_NONE && s->err.kind != ERR_NOTFOUND) {
        pop3_log_err(s, "reading a message");
    }
    buf_free(&s->piece);
    store_file_close(&s->file);
    arena_free(&s->part_mem);
    if (!s->conn) {
        pop3_box_update(s, false);
        return;
    }
    if (s->err.kind == ERR_NOTFOUND)
        tell_gone(s);
    else if (!s->is_whole)
        pop3_say_err(s, "The message cannot be read");
    pop3_go_on(s);
}

void
pop3_box_send(struct pop3_sess *s, size_t i, bool is_top, uint64_t lines)
{
    s->msg = i;
    s->is_top = is_top;
    s->top_lines = lines;
    s->is_whole = false;
    if (is_top) {
        s->top_n++;
    } else {
        s->retr_n++;
        if (s->lowest_retr == 0 || s->lowest_retr > i + 1)
            s->lowest_retr = (uint32_t)i + 1;
        if (s->last_seen < i + 1)
            s->last_seen = (uint32_t)i + 1;
    }
    pop3_job(s, POP3_SENDING, run_send, done_send, parked_send);
}
