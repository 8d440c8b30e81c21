/* pop3d/cmd.c - the TRANSACTION state: RFC 1939 §5, §7 (TOP, UIDL), 2449 (CAPA). Answers that need a message's octets or
 * change the mailbox are box.c's. */
#include "pop3d/pop3d.h"

#include "base/mem.h"

#include <stdio.h>

/* The message an argument names; false: the answer was given. */
static bool
find_message(struct pop3_sess *s, struct slice arg, size_t *out)
{
    uint64_t n;

    if (!sl_to_u64(arg, &n) || n == 0)
        conn_printf(s->conn, "-ERR Invalid message number: %.*s\r\n", SL_ARG(sl_head(arg, 40)));
    else if (n > s->n)
        conn_printf(s->conn, "-ERR There's no message %llu.\r\n", (unsigned long long)n);
    else if (s->v[n - 1].is_deleted)
        conn_writes(s->conn, SL("-ERR Message is deleted.\r\n"));
    else {
        *out = (size_t)n - 1;
        return true;
    }
    return false;
}

static void
totals(const struct pop3_sess *s, uint64_t *count, uint64_t *octets)
{
    *count = *octets = 0;
    for (size_t i = 0; i < s->n; i++)
        if (!s->v[i].is_deleted) {
            ++*count;
            *octets += s->v[i].size_octets;
        }
}

/* ---- long replies: written as far as the client takes them ---- */

void
pop3_list_more(struct pop3_sess *s)
{
    struct buf b = { 0 };

    while (s->list_at < s->n && !conn_is_out_full(s->conn)) {
        for (size_t end = s->list_at + 500; s->list_at < s->n && s->list_at < end; s->list_at++)
            if (!s->v[s->list_at].is_deleted)
                s->list_row(s, s->list_at, &b);
        conn_writes(s->conn, buf_slice(&b));
        buf_reset(&b);
    }
    buf_free(&b);
    if (s->list_at < s->n) {
        s->state = POP3_LISTING;
        conn_pause_input(s->conn);
        return;
    }
    conn_writes(s->conn, SL(".\r\n"));
    if (s->state == POP3_LISTING)
        pop3_go_on(s);
}

static void
add_size(struct pop3_sess *s, size_t i, struct buf *out)
{
    buf_addf(out, "%zu %llu\r\n", i + 1, (unsigned long long)s->v[i].size_octets);
}

/* What an old server has told, else as Dovecot's default "%08Xu%08Xv": a client that came from there downloads nothing
 * twice. */
static void
add_uid(struct pop3_sess *s, size_t i, struct buf *out)
{
    if (s->v[i].uidl != NULL)
        buf_addf(out, "%zu %s\r\n", i + 1, s->v[i].uidl);
    else
        buf_addf(out, "%zu %08x%08x\r\n", i + 1, (unsigned)s->v[i].uid, (unsigned)s->uidvalidity);
}

static void
list_one_or_all(struct pop3_sess *s, const struct pop3_command *c, const char *all,
                void (*row)(struct pop3_sess *, size_t, struct buf *))
{
    struct buf b = { 0 };
    size_t i;

    if (c->n_args > 0) {
        if (!find_message(s, c->args[0], &i))
            return;
        buf_addz(&b, "+OK ");
        row(s, i, &b);
        conn_writes(s->conn, buf_slice(&b));
        buf_free(&b);
        return;
    }
    conn_writes(s->conn, sl_z(all));
    s->list_row = row;
    s->list_at = 0;
    pop3_list_more(s);
}

/* ---- commands ---- */

static void
run_stat(struct pop3_sess *s, const struct pop3_command *c)
{
    uint64_t count, octets;

    (void)c;
    totals(s, &count, &octets);
    conn_printf(s->conn, "+OK %llu %llu\r\n", (unsigned long long)count,
                (unsigned long long)octets);
}

static void
run_list(struct pop3_sess *s, const struct pop3_command *c)
{
    uint64_t count, octets;
    char first[64];

    totals(s, &count, &octets);
    snprintf(first, sizeof first, "+OK %llu messages:\r\n", (unsigned long long)count);
    list_one_or_all(s, c, first, add_size);
}

static void
run_uidl(struct pop3_sess *s, const struct pop3_command *c)
{
    list_one_or_all(s, c, "+OK\r\n", add_uid);
}

static void
run_retr(struct pop3_sess *s, const struct pop3_command *c)
{
    size_t i;

    if (find_message(s, c->args[0], &i))
        pop3_box_send(s, i, false, 0);
}

static void
run_top(struct pop3_sess *s, const struct pop3_command *c)
{
    uint64_t lines;
    size_t i;

    if (!find_message(s, c->args[0], &i))
        return;
    if (!sl_to_u64(c->args[1], &lines))
        conn_printf(s->conn, "-ERR Invalid line count: %.*s\r\n", SL_ARG(sl_head(c->args[1], 40)));
    else
        pop3_box_send(s, i, true, lines);
}

static void
run_dele(struct pop3_sess *s, const struct pop3_command *c)
{
    size_t i;

    if (!find_message(s, c->args[0], &i))
        return;
    s->v[i].is_deleted = true;
    conn_writes(s->conn, SL("+OK Marked to be deleted.\r\n"));
}

static void
run_rset(struct pop3_sess *s, const struct pop3_command *c)
{
    (void)c;
    for (size_t i = 0; i < s->n; i++)
        s->v[i].is_deleted = false;
    conn_writes(s->conn, SL("+OK\r\n"));
}

static void
run_noop(struct pop3_sess *s, const struct pop3_command *c)
{
    (void)c;
    conn_writes(s->conn, SL("+OK\r\n"));
}

static void
run_capa(struct pop3_sess *s, const struct pop3_command *c)
{
    (void)c;
    conn_writes(
        s->conn,
        SL("+OK\r\nCAPA\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nPIPELINING\r\nAUTH-RESP-CODE\r\n.\r\n"));
}

static void
run_quit(struct pop3_sess *s, const struct pop3_command *c)
{
    (void)c;
    pop3_box_update(s, true);
}

/* clang-format off */
static const struct {
    const char *name;
    size_t least, most; /* arguments */
    void (*run)(struct pop3_sess *s, const struct pop3_command *c);
} commands[] = {
    { "STAT", 0, 0, run_stat },
    { "LIST", 0, 1, run_list },
    { "RETR", 1, 1, run_retr },
    { "DELE", 1, 1, run_dele },
    { "NOOP", 0, 0, run_noop },
    { "RSET", 0, 0, run_rset },
    { "QUIT", 0, 0, run_quit },
    { "TOP",  2, 2, run_top },
    { "UIDL", 0, 1, run_uidl },
    { "CAPA", 0, 0, run_capa },
};
/* clang-format on */

static void
bad(struct pop3_sess *s, const char *what, struct slice word)
{
    if (++s->bad >= POP3D_BAD_MAX) {
        conn_writes(s->conn, SL("-ERR Too many bad commands.\r\n"));
        pop3_end(s, "Too many bad commands");
        return;
    }
    conn_printf(s->conn, "-ERR %s%.*s\r\n", what, SL_ARG(sl_head(word, 40)));
}

static void
run(struct pop3_sess *s, const struct pop3_command *c)
{
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        if (!sl_ieqz(c->name, commands[i].name))
            continue;
        if (c->n_args < commands[i].least) {
            bad(s, "Too few arguments.", SL(""));
        } else if (c->n_args > commands[i].most) {
            bad(s, "Too many arguments.", SL(""));
        } else {
            s->bad = 0;
            commands[i].run(s, c);
        }
        return;
    }
    bad(s, "Unknown command: ", c->name);
}

bool
pop3_command(struct pop3_sess *s)
{
    struct pop3_command c;
    struct slice line;
    char copy[POP3_LINE_MAX + 1];
    enum frame_rc rc = conn_take_line(s->conn, POP3_LINE_MAX, LINE_LF_TOO, &line);

    if (rc == FRAME_TOO_LONG) {
        conn_writes(s->conn, SL("-ERR Input line too long.\r\n"));
        pop3_end(s, "Input line too long");
        return false;
    }
    if (rc != FRAME_OK)
        return false;
    memcpy(copy, line.p ? line.p : "", line.n); /* conn_ calls end the line's life */
    if (pop3_parse(sl_n(copy, line.n), &c))
        run(s, &c);
    else
        bad(s, "Unknown command.", SL(""));
    return true;
}
