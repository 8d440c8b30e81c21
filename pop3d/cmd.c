/* pop3d/cmd.c - the TRANSACTION state: RFC 1939 §5, §7 (TOP, UIDL), 2449 §5 (CAPA), 6856 §2.1 (UTF8), §3 (LANG). What a command's
 * arguments are, and what is said when they are wrong, is as in Dovecot. */
#include "pop3d/pop3d.h"

#include "base/mem.h"

#include <stdio.h>

enum { ECHO_OCTETS = 40 }; /* of what is not understood */

/* ---- arguments ---- */

/* -ERR with what was not understood, printable. */
static void
refuse(struct pop3_sess *s, const char *what, struct slice arg)
{
    char copy[ECHO_OCTETS + 1];
    size_t n = arg.n < ECHO_OCTETS ? arg.n : ECHO_OCTETS;

    for (size_t i = 0; i < n; i++)
        copy[i] = arg.p[i] < ' ' || arg.p[i] > '~' ? '?' : arg.p[i];
    copy[n] = '\0';
    pop3_sayf(s, "-ERR %s: %s\r\n", what, copy);
}

/* True: the answer was given. */
static bool
is_number_wrong(struct pop3_sess *s, enum pop3_number rc, const char *const texts[],
                struct slice arg)
{
    if (rc == POP3_NUMBER_OK)
        return false;
    refuse(s, texts[rc], arg);
    return true;
}

/* The message an argument names; false: the answer was given. */
static bool
take_message(struct pop3_sess *s, struct slice *args, bool has_more, size_t *out)
{
    static const char *const texts[] = { [POP3_NUMBER_NONE] = "Invalid message number",
                                         [POP3_NUMBER_TOO_LARGE] = "Message number too large",
                                         [POP3_NUMBER_NOISE] = "Noise after message number" };
    uint64_t n = 0;
    enum pop3_number rc = pop3_take_number(args, has_more, UINT32_MAX, &n);

    if (is_number_wrong(s, rc, texts, *args))
        return false;
    if (n == 0 || n > s->n) {
        pop3_sayf(s, "-ERR There's no message %llu.\r\n", (unsigned long long)n);
        return false;
    }
    if (s->v[n - 1].is & POP3_MSG_DELETED) {
        pop3_say(s, SL("-ERR Message is deleted.\r\n"));
        return false;
    }
    *out = (size_t)n - 1;
    return true;
}

/* ---- marks: who has a million messages and asks for STAT again and again keeps nobody waiting ---- */

void
pop3_mark(struct pop3_sess *s, size_t i, uint16_t mark)
{
    if (mark == POP3_MSG_DELETED) {
        s->marked_n++;
        s->marked_octets += pop3_size(&s->v[i]);
    }
    s->v[i].is |= mark;
    if (s->touched_end == 0 || i < s->touched_at)
        s->touched_at = i;
    if (i >= s->touched_end)
        s->touched_end = i + 1;
}

static void
unmark_all(struct pop3_sess *s)
{
    for (size_t i = s->touched_at; i < s->touched_end; i++)
        s->v[i].is &= (uint16_t) ~(POP3_MSG_DELETED | POP3_MSG_SEEN);
    s->touched_at = s->touched_end = 0;
    s->marked_n = 0;
    s->marked_octets = 0;
}

/* ---- long replies: written as far as the client takes them ---- */

void
pop3_list_more(struct pop3_sess *s)
{
    struct buf b = { 0 };

    while (s->list_at < s->n && !conn_is_out_full(s->conn)) {
        for (size_t end = s->list_at + 500; s->list_at < s->n && s->list_at < end; s->list_at++)
            if (!(s->v[s->list_at].is & POP3_MSG_DELETED))
                s->list_row(s, s->list_at, &b);
        pop3_say(s, buf_slice(&b));
        buf_reset(&b);
    }
    buf_free(&b);
    if (s->list_at < s->n) {
        s->state = POP3_LISTING;
        conn_pause_input(s->conn);
        return;
    }
    pop3_say(s, SL(".\r\n"));
    if (s->state == POP3_LISTING)
        pop3_go_on(s);
}

void
pop3_list(struct pop3_sess *s, void (*row)(struct pop3_sess *, size_t, struct buf *))
{
    s->list_row = row;
    s->list_at = 0;
    pop3_list_more(s);
}

static void
add_size(struct pop3_sess *s, size_t i, struct buf *out)
{
    buf_addf(out, "%zu %llu\r\n", i + 1, (unsigned long long)pop3_size(&s->v[i]));
}

/* ---- commands: true when it was understood ---- */

static bool
run_stat(struct pop3_sess *s, struct slice args)
{
    (void)args;
    pop3_sayf(s, "+OK %zu %llu\r\n", s->n - s->marked_n,
              (unsigned long long)(s->size_octets - s->marked_octets));
    return true;
}

static bool
run_list(struct pop3_sess *s, struct slice args)
{
    size_t i;

    if (args.n == 0) {
        pop3_sayf(s, "+OK %zu messages:\r\n", s->n - s->marked_n);
        pop3_list(s, add_size);
        return true;
    }
    if (!take_message(s, &args, false, &i))
        return false;
    pop3_sayf(s, "+OK %zu %llu\r\n", i + 1, (unsigned long long)pop3_size(&s->v[i]));
    return true;
}

static bool
run_uidl(struct pop3_sess *s, struct slice args)
{
    size_t i = SIZE_MAX;

    if (args.n > 0 && !take_message(s, &args, false, &i))
        return false;
    pop3_uidl(s, i);
    return true;
}

static bool
run_retr(struct pop3_sess *s, struct slice args)
{
    size_t i;

    if (!take_message(s, &args, false, &i))
        return false;
    pop3_box_send(s, i, false, 0);
    return true;
}

static bool
run_top(struct pop3_sess *s, struct slice args)
{
    static const char *const texts[] = { [POP3_NUMBER_NONE] = "Invalid size",
                                         [POP3_NUMBER_TOO_LARGE] = "Size too large",
                                         [POP3_NUMBER_NOISE] = "Noise after size" };
    uint64_t lines = 0;
    size_t i;

    if (!take_message(s, &args, true, &i) ||
        is_number_wrong(s, pop3_take_number(&args, false, UINT64_MAX, &lines), texts, args))
        return false;
    pop3_box_send(s, i, true, lines);
    return true;
}

static bool
run_dele(struct pop3_sess *s, struct slice args)
{
    size_t i;

    if (!take_message(s, &args, false, &i))
        return false;
    pop3_mark(s, i, POP3_MSG_DELETED);
    pop3_say(s, SL("+OK Marked to be deleted.\r\n"));
    return true;
}

static bool
run_rset(struct pop3_sess *s, struct slice args)
{
    (void)args;
    unmark_all(s);
    s->last_seen = 0;
    if (s->conf->pop3_enable_last)
        pop3_box_unsee(s);
    else
        pop3_say(s, SL("+OK\r\n"));
    return true;
}

static bool
run_noop(struct pop3_sess *s, struct slice args)
{
    (void)args;
    pop3_say(s, SL("+OK\r\n"));
    return true;
}

/* RFC 1460 §5: the highest message that was looked at. */
static bool
run_last(struct pop3_sess *s, struct slice args)
{
    if (!s->conf->pop3_enable_last) {
        refuse(s, "Unknown command", SL("LAST"));
        return false;
    }
    (void)args;
    pop3_sayf(s, "+OK %u\r\n", (unsigned)s->last_seen);
    return true;
}

static bool
run_capa(struct pop3_sess *s, struct slice args)
{
    struct buf out = { 0 };

    (void)args;
    buf_addz(&out, "+OK\r\n");
    pop3_add_capa(&out,
                  &(struct pop3_capa){ .login_delay_s = (uint64_t)s->conf->pop3_login_delay / 1000,
                                       .expire = s->conf->pop3_expire });
    buf_addz(&out, ".\r\n");
    pop3_say(s, buf_slice(&out));
    buf_free(&out);
    return true;
}

/* RFC 6856 §5 lets a client that hears of UTF8 only from a message reissue its command after this one. */
static bool
run_utf8(struct pop3_sess *s, struct slice args)
{
    if (args.n > 0) {
        refuse(s, "UTF8 takes no argument", args);
        return false;
    }
    s->is_utf8 = true;
    pop3_say(s, SL("+OK UTF-8 it is.\r\n"));
    return true;
}

static bool
run_lang(struct pop3_sess *s, struct slice args)
{
    struct buf out = { 0 };

    pop3_add_lang(&out, args);
    pop3_say(s, buf_slice(&out));
    buf_free(&out);
    return true;
}

static bool
run_quit(struct pop3_sess *s, struct slice args)
{
    (void)args;
    pop3_box_update(s, true);
    return true;
}

static const struct {
    const char *name;
    bool (*run)(struct pop3_sess *s, struct slice args);
} commands[] = {
    { "STAT", run_stat }, { "LIST", run_list }, { "RETR", run_retr }, { "DELE", run_dele },
    { "NOOP", run_noop }, { "RSET", run_rset }, { "QUIT", run_quit }, { "TOP", run_top },
    { "UIDL", run_uidl }, { "LAST", run_last }, { "CAPA", run_capa }, { "UTF8", run_utf8 },
    { "LANG", run_lang },
};

bool
pop3_count_bad(struct pop3_sess *s)
{
    if (++s->bad <= POP3D_BAD_MAX)
        return false;
    pop3_say(s, SL("-ERR Too many bad commands.\r\n"));
    pop3_end(s, "Too many bad commands.");
    return true;
}

static bool
run(struct pop3_sess *s, const struct pop3_command *c)
{
    char name[ECHO_OCTETS];
    size_t n = c->name.n < sizeof name ? c->name.n : sizeof name;

    for (size_t i = 0; i < COUNT_OF(commands); i++)
        if (sl_ieqz(c->name, commands[i].name))
            return commands[i].run(s, c->args);
    for (size_t i = 0; i < n; i++)
        name[i] =
            (char)(c->name.p[i] >= 'a' && c->name.p[i] <= 'z' ? c->name.p[i] - 32 : c->name.p[i]);
    if (n == 0)
        pop3_say(s, SL("-ERR Unknown command.\r\n"));
    else
        refuse(s, "Unknown command", sl_n(name, n));
    return false;
}

bool
pop3_command(struct pop3_sess *s)
{
    struct pop3_command c;
    struct slice line;
    char copy[POP3_LINE_MAX + 1];
    enum frame_rc rc = conn_take_line(s->conn, POP3_LINE_MAX, LINE_LF_TOO, &line);

    if (rc == FRAME_TOO_LONG) {
        pop3_say(s, SL("-ERR Input line too long.\r\n"));
        pop3_end(s, "Input line too long");
        return false;
    }
    if (rc != FRAME_OK)
        return false;
    memcpy(copy, line.p ? line.p : "", line.n); /* conn_ calls end the line's life */
    s->in_octets += line.n + 2;
    pop3_parse(sl_n(copy, line.n), &c);
    if (!run(s, &c))
        pop3_count_bad(s);
    else if (s->state != POP3_SENDING) /* that may still be wrong */
        s->bad = 0;
    return true;
}
