/* cli/sendmail_smtp.c - sendmail -bs: SMTP on standard input and output, each message into maildrop/. The user's own program
 * speaks here, so there are no restrictions; what it may send is decided when the message is picked up. RFC 5321, with the
 * extensions that a dropped message can carry. Blocking: one client, one process. */
#include "cli/sendmail.h"

#include "base/fs.h"
#include "base/utf8.h"
#include "proto/smtp_addr.h"
#include "proto/smtp_data.h"
#include "proto/smtp_param.h"

#include <errno.h>
#include <pwd.h>
#include <unistd.h>

enum { IN_OCTETS = 64 * 1024, ARENA_OCTETS = 1024 * 1024, TX_ARENA_OCTETS = 4 * 1024 * 1024 };

struct session {
    const struct conf *conf;
    int in_fd, out_fd;
    struct buf in;
    struct arena cmd; /* of one command */
    bool has_helo, is_over;
    unsigned errors;
    struct { /* a message */
        bool is_begun;
        struct arena mem;
        struct slice sender;
        struct smtp_mail_params params;
        struct sendmail_list to;
        unsigned notify; /* of all: a dropped message has one for all its recipients */
        uint64_t octets;
        struct drop *drop;
        struct buf out;
        bool is_8bit;
    } tx;
};

static void reply(struct session *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void
reply(struct session *s, const char *fmt, ...)
{
    struct buf b = { 0 };
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(&b, fmt, ap);
    va_end(ap);
    if (b.n > 0 && b.p[0] >= '4')
        s->errors++;
    buf_addz(&b, "\r\n");
    if (fs_write_all(s->out_fd, buf_slice(&b), NULL) != 0)
        s->is_over = true;
    buf_free(&b);
}

static void
end_tx(struct session *s)
{
    drop_abort(&s->tx.drop);
    sendmail_list_free(&s->tx.to);
    arena_free(&s->tx.mem);
    buf_free(&s->tx.out);
    memset(&s->tx, 0, sizeof s->tx);
    s->tx.mem.cap = TX_ARENA_OCTETS;
}

/* More input; false at its end. */
static bool
fill(struct session *s)
{
    char *room = buf_reserve(&s->in, IN_OCTETS);
    ssize_t n;

    do
        n = read(s->in_fd, room, IN_OCTETS);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        buf_commit(&s->in, (size_t)n);
    return n > 0;
}

/* ---- commands ---- */

static void
cmd_hello(struct session *s, const struct smtp_words *w)
{
    bool is_ehlo = sl_ieqz(w->w[0].s, "EHLO");

    if (w->n != 2) {
        reply(s, "501 Syntax: %s hostname", is_ehlo ? "EHLO" : "HELO");
        return;
    }
    end_tx(s);
    s->has_helo = true;
    if (!is_ehlo) {
        reply(s, "250 %s", s->conf->myhostname);
        return;
    }
    reply(s, "250-%s", s->conf->myhostname);
    reply(s, "250-PIPELINING");
    reply(s, "250-SIZE %lld", (long long)s->conf->message_size_limit);
    reply(s, "250-ENHANCEDSTATUSCODES");
    reply(s, "250-8BITMIME");
    reply(s, "250%sDSN", s->conf->smtputf8_enable ? "-" : " ");
    if (s->conf->smtputf8_enable)
        reply(s, "250 SMTPUTF8");
}

static unsigned
offers(const struct session *s)
{
    return SMTP_OFFER_DSN | (s->conf->smtputf8_enable ? SMTP_OFFER_UTF8 : 0);
}

static void
cmd_mail(struct session *s, const struct smtp_words *w)
{
    struct slice sender;
    const char *why;

    if (s->conf->smtpd_helo_required && !s->has_helo) {
        reply(s, "503 5.5.1 Error: send HELO/EHLO first");
    } else if (s->tx.is_begun) {
        reply(s, "503 5.5.1 Error: nested MAIL command");
    } else if (w->n < 3 || !sl_ieqz(w->w[1].s, "from:")) {
        reply(s, "501 5.5.4 Syntax: MAIL FROM:<address>");
    } else if (w->w[2].is_open ||
               smtp_path_parse(w->w[2].s, false, &s->cmd, &sender, NULL) != PARSE_OK ||
               (sender.n > 0 && !drop_is_address(sender))) {
        reply(s, "501 5.1.7 Bad sender address syntax");
    } else {
        end_tx(s);
        why = smtp_mail_params(w, 3, offers(s), &s->tx.mem, &s->tx.params);
        if (!why && s->conf->message_size_limit &&
            s->tx.params.size_octets > (uint64_t)s->conf->message_size_limit)
            why = "552 5.3.4 Message size exceeds fixed limit";
        if (why) {
            reply(s, "%s", why);
            return;
        }
        s->tx.sender = arena_dup(&s->tx.mem, sender);
        s->tx.is_begun = true;
        reply(s, "250 2.1.0 Ok");
    }
}

static void
cmd_rcpt(struct session *s, const struct smtp_words *w)
{
    struct smtp_rcpt_params params = { 0 };
    struct slice rcpt;
    const char *why;

    if (!s->tx.is_begun) {
        reply(s, "503 5.5.1 Error: need MAIL command");
    } else if (w->n < 3 || !sl_ieqz(w->w[1].s, "to:")) {
        reply(s, "501 5.5.4 Syntax: RCPT TO:<address>");
    } else if (w->w[2].is_open ||
               smtp_path_parse(w->w[2].s, false, &s->cmd, &rcpt, NULL) != PARSE_OK ||
               !drop_is_address(rcpt)) {
        reply(s, "501 5.1.3 Bad recipient address syntax");
    } else if ((why = smtp_rcpt_params(w, 3, offers(s), &s->cmd, &params)) != NULL) {
        reply(s, "%s", why);
    } else if (s->tx.to.n >= (size_t)s->conf->smtpd_recipient_limit) {
        reply(s, "452 4.5.3 Error: too many recipients");
    } else {
        sendmail_add_address(&s->tx.to, rcpt);
        s->tx.notify |= params.notify;
        reply(s, "250 2.1.5 Ok");
    }
}

static void
flush_content(struct session *s)
{
    if (s->tx.drop && s->tx.out.n > 0)
        drop_record(s->tx.drop, DROP_CONTENT, buf_slice(&s->tx.out));
    buf_reset(&s->tx.out);
}

static void
on_content(void *arg, struct slice octets)
{
    struct session *s = arg;
    uint64_t limit = (uint64_t)s->conf->message_size_limit;

    s->tx.octets += octets.n;
    if (limit && s->tx.octets > limit) {
        drop_abort(&s->tx.drop);
        return;
    }
    s->tx.is_8bit = s->tx.is_8bit || !utf8_is_ascii(octets);
    buf_adds(&s->tx.out, octets);
    if (s->tx.out.n > DROP_RECORD_OCTETS / 2)
        flush_content(s);
}

/* Up to the dot; false: the client is gone. */
static bool
read_content(struct session *s)
{
    struct smtp_data framer = { .lf_ends = true }; /* our own user: no other server has to agree */
    struct slice in;
    bool is_end;

    for (;;) {
        in = buf_slice(&s->in);
        is_end = smtp_data_dot(&framer, &in, on_content, s);
        buf_consume(&s->in, s->in.n - in.n);
        if (is_end)
            return true;
        if (!fill(s))
            return false;
    }
}

static const char *
notify_words(unsigned bits)
{
    static char out[40];

    snprintf(out, sizeof out, "%s%s%s%s", bits & SMTP_NOTIFY_NEVER ? "never," : "",
             bits & SMTP_NOTIFY_SUCCESS ? "success," : "",
             bits & SMTP_NOTIFY_FAILURE ? "failure," : "",
             bits & SMTP_NOTIFY_DELAY ? "delay," : "");
    return bits == SMTP_NOTIFY_NEVER || !(bits & SMTP_NOTIFY_NEVER) ? out : out + strlen("never,");
}

/* The rest of the envelope, when all of it is known. postdrop's exit code. */
static int
finish_drop(struct session *s, struct buf *name)
{
    struct drop *d = s->tx.drop;

    flush_content(s);
    if (s->tx.params.ret)
        drop_record(d, DROP_RET, s->tx.params.ret == SMTP_RET_FULL ? SL("FULL") : SL("HDRS"));
    if (s->tx.params.envid.n > 0)
        drop_record(d, DROP_ENVID, s->tx.params.envid);
    if (s->tx.is_8bit || s->tx.params.body)
        drop_record(d, DROP_BODY,
                    s->tx.is_8bit || s->tx.params.body == SMTP_BODY_8BITMIME ? SL("8BITMIME")
                                                                             : SL("7BIT"));
    if (s->tx.params.is_utf8)
        drop_record(d, DROP_UTF8, SL(""));
    if (s->tx.notify)
        drop_record(d, DROP_NOTIFY, sl_z(notify_words(s->tx.notify)));
    for (size_t i = 0; i < s->tx.to.n; i++)
        drop_record(d, DROP_RECIPIENT, s->tx.to.v[i]);
    return drop_end(&s->tx.drop, name);
}

static void
cmd_data(struct session *s, const struct smtp_words *w)
{
    struct buf name = { 0 };
    struct err e = { 0 };
    int code;

    if (!s->tx.is_begun) {
        reply(s, "503 5.5.1 Error: need RCPT command");
    } else if (s->tx.to.n == 0) {
        reply(s, "554 5.5.1 Error: no valid recipients");
    } else if (w->n != 1) {
        reply(s, "501 5.5.4 Syntax: DATA");
    } else if (drop_begin(s->conf, &s->tx.drop, &e) != 0) {
        fprintf(stderr, "sendmail: %s\n", e.msg);
        reply(s, "451 4.3.0 Error: queue file write error");
        end_tx(s);
    } else {
        drop_record(s->tx.drop, DROP_SENDER, s->tx.sender);
        reply(s, "354 End data with <CR><LF>.<CR><LF>");
        if (!read_content(s)) {
            s->is_over = true; /* and nothing of the message stays */
            end_tx(s);
            return;
        }
        if (s->tx.drop == NULL) {
            reply(s, "552 5.3.4 Error: message file too big");
        } else if ((code = finish_drop(s, &name)) == 0) {
            reply(s, "250 2.0.0 Ok: queued as %s", buf_z(&name));
        } else {
            reply(s, code == EXIT_TEMPFAIL ? "451 4.3.0 Error: queue file write error"
                                           : "554 5.3.0 Error: the message cannot be taken");
        }
        buf_free(&name);
        end_tx(s);
    }
}

static void
cmd_rset(struct session *s, const struct smtp_words *w)
{
    if (w->n != 1) {
        reply(s, "501 5.5.4 Syntax: RSET");
        return;
    }
    end_tx(s);
    reply(s, "250 2.0.0 Ok");
}

static void
cmd_noop(struct session *s, const struct smtp_words *w)
{
    (void)w;
    reply(s, "250 2.0.0 Ok");
}

static void
cmd_vrfy(struct session *s, const struct smtp_words *w)
{
    struct slice addr;

    if (w->n < 2)
        reply(s, "501 5.5.4 Syntax: VRFY address [SMTPUTF8]");
    else if (smtp_path_parse(w->w[1].s, false, &s->cmd, &addr, NULL) != PARSE_OK || addr.n == 0)
        reply(s, "501 5.1.3 Bad recipient address syntax");
    else
        reply(s, "252 2.0.0 %.*s", SL_ARG(sl_head(w->w[1].s, 400)));
}

static void
cmd_quit(struct session *s, const struct smtp_words *w)
{
    (void)w;
    reply(s, "221 2.0.0 Bye");
    s->is_over = true;
}

static const struct {
    const char *verb;
    void (*run)(struct session *s, const struct smtp_words *w);
} verbs[] = { { "HELO", cmd_hello }, { "EHLO", cmd_hello }, { "MAIL", cmd_mail },
              { "RCPT", cmd_rcpt },  { "DATA", cmd_data },  { "RSET", cmd_rset },
              { "NOOP", cmd_noop },  { "VRFY", cmd_vrfy },  { "QUIT", cmd_quit } };

static void
run_line(struct session *s, struct slice line)
{
    struct smtp_words w;

    smtp_words_split(line, &w);
    for (size_t i = 0; w.n > 0 && i < sizeof verbs / sizeof *verbs; i++)
        if (sl_ieqz(w.w[0].s, verbs[i].verb)) {
            verbs[i].run(s, &w);
            return;
        }
    reply(s, w.n > 0 ? "500 5.5.2 Error: command not recognized" : "500 5.5.2 Error: bad syntax");
}

int
sendmail_smtp(const struct conf *c, int in, int out)
{
    struct session s = { .conf = c, .in_fd = in, .out_fd = out, .cmd.cap = ARENA_OCTETS };
    size_t limit = (size_t)c->line_length_limit;

    s.tx.mem.cap = TX_ARENA_OCTETS;
    reply(&s, "220 %s", c->smtpd_banner);
    while (!s.is_over) {
        struct slice all = buf_slice(&s.in), line;

        if (!sl_take_until(&all, '\n', &line)) {
            if (s.in.n > limit) {
                reply(&s, "421 4.5.0 %s Error: line too long", c->myhostname);
                break;
            }
            if (!fill(&s))
                break;
            continue;
        }
        line = arena_dup(&s.cmd, line);
        buf_consume(&s.in, s.in.n - all.n);
        if (sl_ends(line, '\r'))
            line.n--;
        run_line(&s, line);
        arena_free(&s.cmd);
        s.cmd.cap = ARENA_OCTETS;
        if (s.errors > (unsigned)c->smtpd_hard_error_limit && !s.is_over) {
            reply(&s, "421 4.7.0 %s Error: too many errors", c->myhostname);
            s.is_over = true;
        }
    }
    end_tx(&s);
    buf_free(&s.in);
    return EXIT_OK;
}
