/* relay/server.c - the LMTP that qmgr speaks to relayd (relay_int.h). The peer is our own, so this is strict and small; an
 * error in its speech ends the connection. */
#include "relay/generic.h"

#include "base/enc.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/daemon.h"
#include "core/loop.h"

#include <stdio.h>
#include <stdlib.h>

enum { LINE_OCTETS_MAX = 32 * 1024 }; /* XROUTE with its hops is the longest */

static size_t n_busy;

/* ---- the transaction's end ---- */

static void
reset_tx(struct session *s)
{
    for (size_t i = 0; s->results && i < s->n_rcpts; i++) {
        free(s->results[i].text);
        free(s->results[i].relay);
    }
    free(s->results);
    s->results = NULL;
    generic_free(s);
    free(s->rcpts);
    s->rcpts = NULL;
    s->n_rcpts = s->cap_rcpts = 0;
    arena_reset(&s->arena);
    buf_free(&s->body);
    content_free(s);
    memset(&s->tx, 0, sizeof s->tx);
    s->nexthop = SL("");
    s->has_route = s->has_mail = s->in_body = s->is_discarding = s->is_flowing = false;
    tls_unref(&s->policy.ctx);
    conf_unref(&s->conf);
}

void
server_free(struct session *s)
{
    reset_tx(s);
    arena_free(&s->arena);
    id_del(s->id);
    daemon_session_count(-1);
    free(s);
}

static void
reply_all(struct session *s)
{
    for (size_t i = 0; i < s->n_rcpts; i++) {
        const struct rcpt_result *r = &s->results[i];
        unsigned code = r->outcome == SMTP_SENT ? 250 : r->outcome == SMTP_DEFERRED ? 450 : 550;

        conn_printf(
            s->conn, "%u-%s relay=%s conn=%llu xfer=%llu host=%d use=%u dsn=%d\r\n%u %s %s\r\n",
            code, r->dsn, r->relay, (unsigned long long)r->conn_us, (unsigned long long)r->xfer_us,
            r->is_host, r->uses, r->has_dsn, code, r->dsn, r->text);
    }
}

/* The results may be there before the content was read: the rest of it is dropped first. */
void
server_finish(struct session *s)
{
    s->is_flowing = false;
    if (s->in_body && s->body_left > 0) {
        s->is_discarding = true;
        conn_resume_input(s->conn);
        return;
    }
    reply_all(s);
    n_busy--;
    reset_tx(s);
    conn_resume_input(s->conn);
}

/* ---- commands ---- */

/* "<path>" with quoted strings inside. */
static bool
take_path(struct slice *in, struct slice *path)
{
    bool is_quoted = false;

    if (!sl_starts(*in, '<'))
        return false;
    for (size_t i = 1; i < in->n; i++) {
        char c = in->p[i];

        if (is_quoted && c == '\\') {
            i++;
        } else if (c == '"') {
            is_quoted = !is_quoted;
        } else if (c == '>' && !is_quoted) {
            *path = sl_n(in->p + 1, i - 1);
            *in = sl_from(*in, i + 1);
            return true;
        }
    }
    return false;
}

static struct slice
decoded(struct session *s, struct slice xtext)
{
    struct buf b = { 0 };
    struct slice out = { 0 };

    if (enc_xtext_decode(&b, xtext) == 0)
        out = arena_dup(&s->arena, buf_slice(&b));
    buf_free(&b);
    return out;
}

static bool
run_mail(struct session *s, struct slice arg)
{
    struct slice path, word;

    if (!s->has_route || s->has_mail || !sl_take_iprefix(&arg, SL("FROM:")) ||
        !take_path(&arg, &path))
        return false;
    s->conf = conf_ref(daemon_conf());
    s->tx.sender = arena_dup(&s->arena, path);
    while (sl_take_word(&arg, " ", &word)) {
        if (sl_take_iprefix(&word, SL("SIZE=")))
            (void)sl_to_u64(word, &s->tx.size);
        else if (sl_ieqz(word, "BODY=8BITMIME"))
            s->tx.is_8bit = true;
        else if (sl_ieqz(word, "SMTPUTF8"))
            s->tx.is_utf8 = true;
        else if (sl_ieqz(word, "RET=FULL"))
            s->tx.ret = RET_FULL;
        else if (sl_ieqz(word, "RET=HDRS"))
            s->tx.ret = RET_HDRS;
        else if (sl_take_iprefix(&word, SL("ENVID=")))
            s->tx.envid = decoded(s, word);
    }
    s->has_mail = true;
    conn_printf(s->conn, "250 2.1.0 Ok\r\n");
    return true;
}

static unsigned
notify_of(struct slice list)
{
    struct slice word;
    unsigned bits = 0;

    while (sl_take_word(&list, ",", &word))
        bits |= sl_ieqz(word, "NEVER")     ? NOTIFY_NEVER
                : sl_ieqz(word, "SUCCESS") ? NOTIFY_SUCCESS
                : sl_ieqz(word, "FAILURE") ? NOTIFY_FAILURE
                : sl_ieqz(word, "DELAY")   ? NOTIFY_DELAY
                                           : 0u;
    return bits;
}

static bool
run_rcpt(struct session *s, struct slice arg)
{
    struct slice path, word, type;
    struct smtp_tx_rcpt *r;

    if (!s->has_mail || s->n_rcpts == RCPTS_MAX || !sl_take_iprefix(&arg, SL("TO:")) ||
        !take_path(&arg, &path))
        return false;
    s->rcpts = mem_grow(s->rcpts, &s->cap_rcpts, s->n_rcpts + 1, sizeof *s->rcpts);
    r = &s->rcpts[s->n_rcpts++];
    memset(r, 0, sizeof *r);
    r->addr = arena_dup(&s->arena, path);
    while (sl_take_word(&arg, " ", &word)) {
        if (sl_take_iprefix(&word, SL("NOTIFY=")))
            r->notify = notify_of(word);
        else if (sl_take_iprefix(&word, SL("ORCPT=")) && sl_take_until(&word, ';', &type)) {
            struct slice addr = decoded(s, word);
            char *z = arena_printf(&s->arena, "%.*s;%.*s", SL_ARG(type), SL_ARG(addr));

            r->orcpt = sl_z(z);
        }
    }
    conn_printf(s->conn, "250 2.1.5 Ok\r\n");
    return true;
}

/* "TLS.0=", "AUTH.3=": what belongs to one hop. */
static bool
take_hop_word(struct session *s, struct slice word)
{
    struct slice name, number;
    uint32_t i;

    if (!sl_take_until(&word, '.', &name) || !sl_take_until(&word, '=', &number) ||
        !sl_to_u32(number, &i) || i >= s->n_hops)
        return false;
    if (sl_eqz(name, "TLS"))
        s->hops[i].tls_policy = decoded(s, word);
    else if (sl_eqz(name, "AUTH"))
        s->hops[i].auth = decoded(s, word);
    return true;
}

static bool
run_route(struct session *s, struct slice arg)
{
    struct slice how, hop, rest, word;

    if (s->has_mail || !sl_take_word(&arg, " ", &how) || !sl_take_word(&arg, " ", &hop))
        return false;
    s->is_lmtp = sl_ieqz(how, "lmtp");
    rest = s->nexthop = arena_dup(&s->arena, hop);
    s->n_hops = 0;
    while (s->n_hops < HOPS_MAX && sl_take_word(&rest, "|", &hop))
        s->hops[s->n_hops++] = (struct hop){ .name = hop };
    s->has_route = s->n_hops > 0;
    s->manner = (struct manner){ 0 };
    s->queue_id = SL("NOQUEUE");
    while (sl_take_word(&arg, " ", &word)) {
        if (sl_eqz(word, "WRAPPER=1"))
            s->manner.is_wrapper = true;
        else if (sl_eqz(word, "MORE=1"))
            s->manner.has_more = true;
        else if (sl_take_prefix(&word, SL("ID=")))
            s->queue_id = arena_dup(&s->arena, word);
        else
            (void)take_hop_word(s, word);
    }
    conn_printf(s->conn, "250 2.0.0 Ok\r\n");
    return s->has_route;
}

static bool
run_bdat(struct session *s, struct slice arg)
{
    struct slice size, last;

    if (s->n_rcpts == 0 || !sl_take_word(&arg, " ", &size) || !sl_to_u64(size, &s->body_left) ||
        !sl_take_word(&arg, " ", &last) || !sl_ieqz(last, "LAST"))
        return false;
    s->in_body = true;
    s->tx.size = s->body_left;
    s->is_small = s->body_left <= QUEUE_INLINE_OCTETS;
    n_busy++;
    if (!s->is_small || s->body_left == 0) {
        conn_pause_input(s->conn); /* until a host wants it */
        send_start(s);
    }
    return true;
}

/* Like a BDAT whose content is all there: hosts are asked, nothing is sent. */
static bool
run_probe(struct session *s)
{
    if (s->n_rcpts == 0)
        return false;
    s->in_body = s->is_small = s->tx.is_probe = true;
    s->body_left = s->tx.size = 0;
    n_busy++;
    conn_pause_input(s->conn);
    send_start(s);
    return true;
}

static bool
run_command(struct session *s, struct slice line)
{
    struct slice verb, arg;

    if (!sl_take_word(&line, " ", &verb))
        return false;
    arg = sl_trim(line);
    if (sl_ieqz(verb, "LHLO")) {
        conn_printf(
            s->conn,
            "250-%s\r\n250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n"
            "250-CHUNKING\r\n250 XROUTE\r\n",
            daemon_conf()->myhostname);
        s->is_greeted = true;
        return true;
    }
    if (sl_ieqz(verb, "QUIT")) {
        conn_printf(s->conn, "221 2.0.0 Bye\r\n");
        conn_close(s->conn);
        return true;
    }
    if (!s->is_greeted)
        return false;
    if (sl_ieqz(verb, "XROUTE"))
        return run_route(s, arg);
    if (sl_ieqz(verb, "MAIL"))
        return run_mail(s, arg);
    if (sl_ieqz(verb, "RCPT"))
        return run_rcpt(s, arg);
    if (sl_ieqz(verb, "BDAT"))
        return run_bdat(s, arg);
    if (sl_ieqz(verb, "XPROBE"))
        return run_probe(s);
    if (sl_ieqz(verb, "RSET"))
        reset_tx(s);
    else if (!sl_ieqz(verb, "NOOP"))
        return false;
    conn_printf(s->conn, "250 2.0.0 Ok\r\n");
    return true;
}

/* ---- content ---- */

/* False: nothing more to be had now. */
static bool
read_body(struct session *s)
{
    struct slice some;

    if (!s->is_small && !s->is_flowing && !s->is_discarding)
        return false; /* no host wants it yet */
    if (s->body_left == 0 || (s->is_flowing && content_is_full(s))) {
        if (s->is_flowing)
            conn_pause_input(s->conn); /* on_drain goes on */
        return false;
    }
    if (conn_take_some(s->conn, s->body_left, &some) != FRAME_OK)
        return false;
    s->body_left -= some.n;
    if (s->is_small && !s->is_discarding)
        buf_adds(&s->body, some);
    else if (s->is_flowing && s->client && s->content)
        content_write(s, some);
    else if (s->is_flowing && s->client)
        smtp_client_body(s->client, some);
    if (s->body_left > 0)
        return true;
    if (s->is_discarding) {
        server_finish(s);
    } else if (s->is_small) {
        conn_pause_input(s->conn);
        if (content_is_wanted(s))
            content_small(s);
        else
            send_start(s);
    } else if (s->is_flowing) {
        s->is_flowing = false;
        conn_pause_input(s->conn);
        if (s->client && s->content)
            content_end(s);
        else if (s->client)
            smtp_client_body_end(s->client);
    }
    return !s->in_body;
}

void
server_wants_body(struct session *s)
{
    if (s->conn == NULL)
        return;
    s->is_flowing = true;
    conn_resume_input(s->conn);
}

void
server_body_room(struct session *s)
{
    if (s->conn)
        conn_resume_input(s->conn);
}

static void
read_input(struct session *s)
{
    struct slice line;

    for (;;) {
        enum frame_rc rc;

        if (s->in_body) {
            if (!read_body(s))
                return;
            continue;
        }
        rc = conn_take_line(s->conn, LINE_OCTETS_MAX, LINE_CRLF, &line);
        if (rc == FRAME_MORE)
            return;
        if (rc == FRAME_END) {
            conn_close(s->conn);
            return;
        }
        if (rc == FRAME_TOO_LONG || !run_command(s, line)) {
            log_error("relay.protocol", LOG_NONE, "qmgr said what relayd does not know");
            conn_abort(s->conn);
            return;
        }
    }
}

static void
on_input(struct conn *c, void *arg)
{
    struct session *s = arg;

    (void)c;
    if (s->is_sending && !s->is_flowing && !s->is_discarding)
        return; /* buffered until the results are out */
    read_input(s);
}

static void
on_close(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    struct session *s = arg;

    (void)c, (void)end, (void)why;
    s->conn = NULL;
    if (s->in_body)
        n_busy--;
    if (s->is_sending)
        send_abort(s);
    else
        server_free(s);
}

static const struct conn_ops ops = { .on_input = on_input, .on_close = on_close };

void
server_accept(int fd)
{
    struct session *s = MEM_NEW(struct session);

    s->id = id_add(s);
    s->arena.cap = TX_OCTETS_MAX;
    s->conn = conn_new(fd, &ops, s);
    daemon_session_count(1);
    conn_printf(s->conn, "220 %s LMTP relayd\r\n", daemon_conf()->myhostname);
}

size_t
server_busy(void)
{
    return n_busy;
}
