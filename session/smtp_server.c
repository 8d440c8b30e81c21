/* session/smtp_server.c - see smtp_server.h.
 *
 * One mode at a time says what the next octets are. The pump takes them as long as it can go on at once; a command that
 * waits pauses the conn, and the conn calls again when it was resumed. The deadline runs only while the client's turn
 * lasts. */
#include "session/smtp_server.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <stdio.h>
#include <sys/socket.h>

enum {
    M_WAIT, /* a command is being worked on; nothing is read */
    M_COMMAND,
    M_LINE,
    M_DATA,
    M_CHUNK,
    M_SKIP_CHUNK,
    M_SKIP_LINE, /* the rest of an over-long command line; then the command is run */
    M_TLS        /* handshake */
};

/* ---- waiting and the clock ---- */

static void
wait_for_answer(struct smtp_sess *s)
{
    s->mode = M_WAIT;
    conn_set_deadline(s->conn, 0);
    conn_pause_input(s->conn);
}

static void
start_turn(struct smtp_sess *s)
{
    uint64_t ms = s->mode == M_TLS ? s->lim->starttls_timeout_ms : s->lim->timeout_ms;

    s->due_ms = loop_now_ms() + ms;
    conn_set_deadline(s->conn, ms);
}

/* Something came, but not all that is waited for. */
static void
go_on_with_turn(struct smtp_sess *s)
{
    uint64_t now = loop_now_ms();

    if (s->lim->is_per_request)
        conn_set_deadline(s->conn, s->due_ms > now ? s->due_ms - now : 1);
    else
        start_turn(s);
}

/* Content came: whoever is quick enough is never cut off, however much it is. */
static void
earn_time(struct smtp_sess *s, size_t octets)
{
    uint64_t most;

    if (!s->lim->is_per_request || s->lim->min_data_rate == 0)
        return;
    most = loop_now_ms() + s->lim->timeout_ms;
    s->due_ms += octets * 1000 / s->lim->min_data_rate;
    if (s->due_ms > most)
        s->due_ms = most;
}

static void
wait_for_client(struct smtp_sess *s, uint8_t mode)
{
    s->mode = mode;
    start_turn(s);
    if (!s->in_pump)
        conn_resume_input(s->conn);
}

/* ---- replies ---- */

static void
on_tarpit(void *arg)
{
    struct smtp_sess *s = arg;

    conn_writes(s->conn, buf_slice(&s->held));
    buf_free(&s->held);
    if (s->is_closing) {
        conn_close(s->conn);
        return;
    }
    if (s->mode != M_WAIT) {
        start_turn(s);
        conn_resume_input(s->conn);
    }
}

static void
hold_back(struct smtp_sess *s)
{
    if (s->held.n == 0 || s->is_decorating)
        return;
    conn_pause_input(
        s->conn); /* also when it was resumed since: its end resumes what is paused only */
    conn_set_deadline(s->conn, 0);
    if (!timer_is_running(&s->tarpit))
        timer_start(&s->tarpit, s->lim->error_sleep_ms, on_tarpit, s);
}

static void
put_reply(struct smtp_sess *s, struct slice lines)
{
    if (s->held.n || (s->errors >= s->lim->soft_errors && s->lim->error_sleep_ms)) {
        buf_adds(&s->held, lines);
        buf_adds(&s->held, SL("\r\n"));
    } else {
        conn_writes(s->conn, lines);
        conn_writes(s->conn, SL("\r\n"));
    }
}

static void
send_reply(struct smtp_sess *s, struct slice line)
{
    if (s->lim->decorates && (sl_starts(line, '4') || sl_starts(line, '5'))) {
        s->is_decorating = true;
        s->def->decorate(s, line);
    } else {
        put_reply(s, line);
    }
}

static void
send_behind(struct smtp_sess *s)
{
    struct buf all = s->behind;
    struct slice rest = buf_slice(&all), line;

    s->behind = (struct buf){ 0 };
    while (!s->is_decorating && sl_take_until(&rest, '\n', &line))
        send_reply(s, sl_head(line, line.n - 1));
    buf_adds(&s->behind, rest);
    buf_free(&all);
}

void
smtp_reply_decorated(struct smtp_sess *s, struct slice lines)
{
    s->is_decorating = false;
    put_reply(s, lines);
    send_behind(s);
    if (s->is_decorating || s->in_pump)
        return;
    hold_back(s);
    if (s->held.n)
        return; /* the tarpit's end does the rest */
    if (s->is_closing) {
        conn_close(s->conn);
    } else if (s->mode != M_WAIT) {
        start_turn(s);
        conn_resume_input(s->conn);
    }
}

void
smtp_reply(struct smtp_sess *s, const char *fmt, ...)
{
    char line[SMTP_REPLY_OCTETS + 1];
    struct slice l;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    l = sl_n(line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
    for (size_t i = 0; i < l.n; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 127)
            line[i] = ' ';
    if (s->def->overheard)
        s->def->overheard(s, false, l);
    if (s->is_decorating) {
        buf_adds(&s->behind, l);
        buf_adds(&s->behind, SL("\r\n"));
    } else {
        send_reply(s, l);
    }
    if ((sl_has_prefix(l, SL("421")) || sl_has_prefix(l, SL("521"))) && s->end == SMTP_END_NONE)
        s->end = SMTP_END_FORBIDDEN;
}

static void
close_now(struct smtp_sess *s)
{
    s->is_closing = true;
    s->mode = M_WAIT;
    hold_back(s);
    if (s->held.n == 0 && !s->is_decorating)
        conn_close(s->conn);
}

void
smtp_sess_end(struct smtp_sess *s, enum smtp_sess_end why)
{
    if (s->end == SMTP_END_NONE)
        s->end = (uint8_t)why;
}

/* ---- a command's end ---- */

static void
count(struct smtp_sess *s, bool good)
{
    if (s->verb > SMTP_VERBS_MAX)
        return; /* not a command: the greeting, a handshake */
    s->seen[s->verb].good = (uint16_t)(s->seen[s->verb].good + good);
    s->n_good += good;
    if (!good)
        s->errors++;
    if (s->verb < s->def->n_verbs && (s->def->verbs[s->verb].flags & SMTP_V_JUNK) &&
        s->junk++ > s->lim->junk_commands)
        s->errors++;
    s->verb = UINT8_MAX;
}

static void
finish_command(struct smtp_sess *s, bool good)
{
    count(s, good);
    if (s->end == SMTP_END_NONE && s->errors >= s->lim->hard_errors) {
        smtp_sess_end(s, SMTP_END_ERRORS);
        smtp_reply(s, "%s%s%s", s->def->too_many_errors[0], s->lim->myhostname,
                   s->def->too_many_errors[1]);
    }
    if (s->is_draining && s->end == SMTP_END_NONE) {
        smtp_sess_end(s, SMTP_END_DRAIN);
        smtp_reply(s, "%s%s%s", s->def->shutting_down[0], s->lim->myhostname,
                   s->def->shutting_down[1]);
    }
    if (s->end != SMTP_END_NONE) {
        close_now(s);
        return;
    }
    if (conn_has_input(s->conn))
        arena_reset(&s->cmd);
    else
        arena_free(&s->cmd); /* idle, perhaps: hold nothing */
    wait_for_client(s, M_COMMAND);
    hold_back(s);
}

void
smtp_sess_done(struct smtp_sess *s, bool good)
{
    if (s->is_closing)
        return;
    if (s->in_pump) { /* the pump sees to it: no recursion however much is pipelined */
        s->is_done = true;
        s->is_good = good;
        return;
    }
    finish_command(s, good);
}

void
smtp_sess_forgive(struct smtp_sess *s)
{
    s->errors = s->junk = 0;
}

/* ---- commands ---- */

static size_t
find_verb(const struct smtp_server_def *def, struct slice word)
{
    for (size_t i = 0; i < def->n_verbs; i++)
        if (sl_ieqz(word, def->verbs[i].verb))
            return i;
    return SMTP_VERBS_MAX;
}

bool
smtp_is_command(const struct smtp_server_def *def, struct slice line)
{
    struct slice word;

    return sl_take_word(&line, " \t\r\v\f", &word) && find_verb(def, word) != SMTP_VERBS_MAX;
}

struct slice
smtp_shown(const struct smtp_server_def *def, struct slice lines)
{
    struct slice rest = lines, line, word;

    while (rest.n) {
        if (!sl_take_until(&rest, '\n', &line)) {
            line = rest;
            rest = sl_n(NULL, 0);
        }
        if (sl_take_word(&line, " \t\r\v\f", &word)) {
            size_t nul = sl_find_char(word, '\0'), verb;

            word = nul == SL_NPOS ? word : sl_head(word, nul); /* it ends the line */
            verb = find_verb(def, word);
            if (verb != SMTP_VERBS_MAX && (def->verbs[verb].flags & SMTP_V_SECRET))
                return sl_head(lines, (size_t)(word.p + word.n - lines.p));
        }
    }
    return lines;
}

static void
run_command(struct smtp_sess *s, struct slice line)
{
    struct smtp_words *w = ARENA_NEW(&s->cmd, struct smtp_words);
    const struct smtp_verb *v;

    BUG_ON(w == NULL);
    wait_for_answer(s);
    if (s->def->overheard)
        s->def->overheard(s, true, line);
    s->verb =
        UINT8_MAX; /* until it is one: what is no command is an error, and in no count of commands */
    if (s->def->bad_utf8 && !utf8_is_valid(line)) {
        smtp_reply(s, "%s", s->def->bad_utf8);
        s->errors++;
        smtp_sess_done(s, false);
        return;
    }
    smtp_words_split(line, w);
    if (w->n == 0) {
        smtp_reply(s, "%s", s->def->bad_syntax);
        s->errors++;
        smtp_sess_done(s, false);
        return;
    }
    s->n_commands++;
    s->verb = (uint8_t)find_verb(s->def, w->w[0].s);
    s->seen[s->verb].all++;
    v = s->verb == SMTP_VERBS_MAX ? NULL : &s->def->verbs[s->verb];
    s->where = v ? v->verb : "UNKNOWN";
    if (s->def->gate(s, v, w, line) && v)
        v->run(s, w);
}

void
smtp_sess_run(struct smtp_sess *s, struct slice line)
{
    s->n_commands--;
    s->seen[s->verb].all--;
    run_command(s, arena_dup(&s->cmd, line));
}

void
smtp_sess_uncount(struct smtp_sess *s)
{
    s->n_commands--;
    s->seen[s->verb].all--;
    s->verb = UINT8_MAX;
    if (s->junk++ > s->lim->junk_commands)
        s->errors++;
}

/* ---- input ---- */

/* How long the next command may be. AUTH brings its first response along, and a token has 2 to 5 KiB: RFC 4954 §4 wants room
 * for 12,288 octets. (Postfix cuts it off at line_length_limit.) */
static size_t
command_octets(const struct smtp_sess *s)
{
    size_t n = s->lim->line_octets;

    return s->lim->sasl_octets > n && sl_has_iprefix(conn_input(s->conn), SL("AUTH "))
               ? (size_t)s->lim->sasl_octets
               : n;
}

/* The first octets of a line that is too long are the command, as far as they go; the rest is skipped. */
static bool
take_long_line(struct smtp_sess *s)
{
    struct slice head = arena_dup(&s->cmd, sl_head(conn_input(s->conn), s->lim->line_octets));

    log_warn("smtp.long_line", LOG_F(LF_N("limit", s->lim->line_octets)),
             "request longer than %zu: %.*s...", s->lim->line_octets,
             SL_ARG(sl_head(smtp_shown(s->def, head), 30)));
    conn_consume(s->conn, head.n);
    s->long_line = head;
    s->left_octets = SMTP_SKIP_LINE_OCTETS;
    s->mode = M_SKIP_LINE;
    return true;
}

static bool
pump_command(struct smtp_sess *s)
{
    struct slice line;

    switch (conn_take_line(s->conn, command_octets(s), LINE_LF_TOO, &line)) {
    case FRAME_OK:
        s->line_is_bare = line.p[line.n] == '\n';
        line = arena_dup(&s->cmd, line);
        run_command(s, line);
        return true;
    case FRAME_TOO_LONG:
        return take_long_line(s);
    default:
        return false;
    }
}

/* Skip to the line's end. on_line is set when it was a SASL response, else the head of a command waits. */
static bool
pump_skip_line(struct smtp_sess *s)
{
    size_t had = conn_input(s->conn).n, gone;
    enum frame_rc rc = conn_skip_line(s->conn);

    gone = had - conn_input(s->conn).n;
    if (rc != FRAME_OK) {
        s->left_octets -= gone < s->left_octets ? gone : s->left_octets;
        if (s->left_octets == 0)
            conn_abort(s->conn);
        return false;
    }
    if (s->on_line) {
        void (*fn)(struct smtp_sess *, struct slice, bool) = s->on_line;

        s->on_line = NULL;
        wait_for_answer(s);
        fn(s, SL(""), true);
    } else {
        run_command(s, s->long_line);
    }
    return true;
}

static bool
pump_line(struct smtp_sess *s)
{
    void (*fn)(struct smtp_sess *, struct slice, bool) = s->on_line;
    struct slice line;

    switch (conn_take_line(s->conn, s->line_limit, LINE_LF_TOO, &line)) {
    case FRAME_OK:
        s->on_line = NULL;
        line = arena_dup(&s->cmd, line);
        wait_for_answer(s);
        fn(s, line, false);
        return true;
    case FRAME_TOO_LONG:
        s->left_octets = SMTP_SKIP_LINE_OCTETS;
        s->mode = M_SKIP_LINE;
        return true;
    default:
        return false;
    }
}

static void
sink_body(void *arg, struct slice octets)
{
    struct smtp_sess *s = arg;

    s->def->body(s, octets);
}

static bool
is_backlogged(struct smtp_sess *s)
{
    if (s->def->backlog(s) < SMTP_BACKLOG_OCTETS)
        return false;
    s->is_paused = true;
    conn_set_deadline(s->conn, 0);
    conn_pause_input(s->conn);
    return true;
}

static bool
pump_data(struct smtp_sess *s)
{
    struct slice in = conn_input(s->conn);
    size_t had = in.n;
    bool is_end;

    if (had == 0 || is_backlogged(s))
        return false;
    is_end = smtp_data_dot(&s->data, &in, sink_body, s);
    conn_consume(s->conn, had - in.n);
    earn_time(s, had - in.n);
    if (is_end) {
        wait_for_answer(s);
        s->def->body_end(s);
    }
    return true;
}

static bool
pump_chunk(struct smtp_sess *s)
{
    struct slice some;

    if (s->left_octets) {
        if (s->mode == M_CHUNK && is_backlogged(s))
            return false;
        if (conn_take_some(s->conn, s->left_octets, &some) != FRAME_OK)
            return false;
        s->left_octets -= some.n;
        earn_time(s, some.n);
        if (s->mode == M_CHUNK)
            smtp_data_chunk(&s->data, some, sink_body, s);
        if (s->left_octets)
            return true;
    }
    wait_for_answer(s);
    s->def->chunk_end(s);
    return true;
}

static bool
pump_once(struct smtp_sess *s)
{
    switch (s->mode) {
    case M_COMMAND:
        return pump_command(s);
    case M_LINE:
        return pump_line(s);
    case M_SKIP_LINE:
        return pump_skip_line(s);
    case M_DATA:
        return pump_data(s);
    case M_CHUNK:
    case M_SKIP_CHUNK:
        return pump_chunk(s);
    default:
        return false;
    }
}

static void
pump(struct smtp_sess *s)
{
    s->in_pump = true;
    while (!s->is_closing && !s->is_decorating && !timer_is_running(&s->tarpit) && pump_once(s)) {
        if (s->is_done) {
            s->is_done = false;
            finish_command(s, s->is_good);
        }
        if (s->mode != M_WAIT)
            hold_back(s);
    }
    s->in_pump = false;
    if (s->is_closing)
        return;
    if (s->mode == M_WAIT || timer_is_running(&s->tarpit) || s->is_paused)
        return;
    if (s->is_decorating) {
        conn_set_deadline(s->conn, 0);
        conn_pause_input(s->conn);
        return;
    }
    conn_resume_input(s->conn); /* it was paused on the way, and the answer came at once */
    go_on_with_turn(s);
}

/* ---- what a command may turn into ---- */

void
smtp_sess_start_message(struct smtp_sess *s, bool lf_ends)
{
    s->data = (struct smtp_data){ .lf_ends = lf_ends };
}

static void
read_mode(struct smtp_sess *s, uint8_t mode)
{
    wait_for_client(s, mode);
    if (!s->in_pump)
        hold_back(s);
}

void
smtp_sess_read_data(struct smtp_sess *s)
{
    read_mode(s, M_DATA);
}

static void
read_counted(struct smtp_sess *s, uint8_t mode, uint64_t octets)
{
    s->left_octets = octets;
    read_mode(s, mode);
    if (octets == 0 && !s->in_pump) { /* no input will come to call the pump */
        wait_for_answer(s);
        s->def->chunk_end(s);
    }
}

void
smtp_sess_read_chunk(struct smtp_sess *s, uint64_t octets)
{
    read_counted(s, M_CHUNK, octets);
}

void
smtp_sess_skip_chunk(struct smtp_sess *s, uint64_t octets)
{
    read_counted(s, M_SKIP_CHUNK, octets);
}

void
smtp_sess_finish_chunks(struct smtp_sess *s)
{
    smtp_data_finish(&s->data, sink_body, s);
}

void
smtp_sess_backlog_fell(struct smtp_sess *s)
{
    if (!s->is_paused)
        return;
    s->is_paused = false;
    start_turn(s);
    conn_resume_input(s->conn);
}

void
smtp_sess_read_line(struct smtp_sess *s, uint32_t limit,
                    void (*on_line)(struct smtp_sess *s, struct slice line, bool is_too_long))
{
    s->on_line = on_line;
    s->line_limit = limit;
    read_mode(s, M_LINE);
}

void
smtp_sess_start_tls(struct smtp_sess *s, struct tls_ctx *t)
{
    conn_consume(s->conn, conn_input(s->conn).n);
    timer_stop(&s->tarpit);
    conn_writes(s->conn, buf_slice(&s->held));
    buf_free(&s->held);
    tls_start_server(s->conn, t);
    wait_for_client(s, M_TLS);
}

void
smtp_sess_start_wrapper(struct smtp_sess *s, struct tls_ctx *t)
{
    tls_start_server(s->conn, t);
    wait_for_client(s, M_TLS);
}

bool
smtp_sess_is_tls(const struct smtp_sess *s)
{
    return conn_transport_state(s->conn) != NULL;
}

void
smtp_sess_stats(const struct smtp_sess *s, struct buf *out)
{
    for (size_t i = 0; i <= s->def->n_verbs; i++) {
        size_t row = i < s->def->n_verbs ? i : SMTP_VERBS_MAX;
        const char *name = i < s->def->n_verbs ? s->def->verbs[i].verb : "unknown";

        if (s->seen[row].all == 0)
            continue;
        for (const char *p = name; *p; p++)
            buf_addc(out, sl_lower_char(*p));
        buf_addf(out, "=%u", s->seen[row].good);
        if (s->seen[row].good != s->seen[row].all)
            buf_addf(out, "/%u", s->seen[row].all);
        buf_addc(out, ' ');
    }
    buf_addf(out, "commands=%u", s->n_good);
    if (s->n_good != s->n_commands || s->n_commands == 0)
        buf_addf(out, "/%u", s->n_commands);
}

size_t
smtp_sess_peek(struct smtp_sess *s, char *out, size_t max)
{
    struct slice in = sl_head(conn_input(s->conn), max);
    ssize_t n;

    if (in.n > 0)
        memcpy(out, in.p, in.n);
    if (in.n > 0 || smtp_sess_is_tls(s))
        return in.n;
    n = recv(conn_fd(s->conn), out, max, MSG_PEEK | MSG_DONTWAIT);
    return n > 0 ? (size_t)n : 0;
}

/* ---- the conn ---- */

static void
on_input(struct conn *c, void *arg)
{
    (void)c;
    pump(arg);
}

static void
on_deadline(struct conn *c, void *arg)
{
    struct smtp_sess *s = arg;

    (void)c;
    if (s->mode == M_WAIT || s->is_closing)
        return;
    smtp_sess_end(s, SMTP_END_TIMEOUT);
    if (s->mode != M_TLS)
        smtp_reply(s, "%s%s%s", s->def->timeout[0], s->lim->myhostname, s->def->timeout[1]);
    close_now(s);
}

static void
on_secure(struct conn *c, void *arg)
{
    struct smtp_sess *s = arg;

    (void)c;
    wait_for_answer(s);
    s->def->secured(s);
}

static void
on_close(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    struct smtp_sess *s = arg;

    (void)c;
    s->is_closing = true;
    s->def->closed(s, end, why);
}

static const struct conn_ops sess_conn_ops = {
    .on_input = on_input, .on_deadline = on_deadline, .on_secure = on_secure, .on_close = on_close
};

void
smtp_sess_open(struct smtp_sess *s, const struct smtp_server_def *def,
               const struct smtp_server_limits *lim, int fd)
{
    BUG_ON(def->n_verbs >= SMTP_VERBS_MAX);
    s->def = def;
    s->lim = lim;
    s->where = "CONNECT";
    s->cmd.cap = SMTP_CMD_ARENA_OCTETS + lim->line_octets + lim->sasl_octets;
    s->verb = UINT8_MAX;
    s->id = id_add(s);
    s->conn = conn_new(fd, &sess_conn_ops, s);
    conn_set_in_max(s->conn, CONN_IN_MAX);
    conn_set_write_timeout(s->conn, lim->timeout_ms);
    wait_for_answer(s);
}

void
smtp_sess_free(struct smtp_sess *s)
{
    id_del(s->id);
    timer_stop(&s->tarpit);
    buf_free(&s->held);
    buf_free(&s->behind);
    arena_free(&s->cmd);
}

void
smtp_sess_drain(struct smtp_sess *s)
{
    s->is_draining = true;
    if (s->is_closing || s->mode != M_COMMAND)
        return; /* the end of the command sees to it; content under way may finish */
    smtp_sess_end(s, SMTP_END_DRAIN);
    smtp_reply(s, "%s%s%s", s->def->shutting_down[0], s->lim->myhostname, s->def->shutting_down[1]);
    close_now(s);
}
