/* lmtp/lmtpd_body.c - content and its delivery: one reply for each recipient (RFC 2033 §4.2), each after its copy is on
 * disk. The store makes the deliveries of all sessions durable together. */
#include "lmtp/lmtpd.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/smtp_addr.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* ---- content ---- */

void
lmtpd_body(struct smtp_sess *smtp, struct slice octets)
{
    struct lmtpd_tx *tx = lmtpd_of(smtp)->tx;

    tx->size_octets += octets.n;
    deliver_msg_write(tx->msg, octets);
}

static void
on_ready(uint64_t id)
{
    struct smtp_sess *smtp = id_get(id);

    if (smtp)
        smtp_sess_backlog_fell(smtp);
}

size_t
lmtpd_backlog(struct smtp_sess *smtp)
{
    const struct lmtpd_tx *tx = lmtpd_of(smtp)->tx;
    size_t n = tx && tx->msg ? deliver_msg_backlog(tx->msg) : 0;

    if (n >= SMTP_BACKLOG_OCTETS) /* the client is about to be held up: wake it again, this time */
        deliver_msg_on_ready(tx->msg, on_ready, smtp->id);
    return n;
}

static void
start_content(struct lmtpd_sess *s)
{
    s->tx->msg = deliver_msg_new(lmtpd_env.deliverer);
    smtp_sess_start_message(&s->smtp, false);
}

/* ---- delivery ---- */

/* What a final delivery puts in front: RFC 5321 §4.4. */
static void
trace_lines(const struct lmtpd_sess *s, const struct lmtpd_rcpt *r, struct buf *b)
{
    struct slice sender = smtp_addr_quote(s->tx->sender, &s->tx->mem),
                 to = smtp_addr_quote(r->given, &s->tx->mem);
    const char *how = lmtpd_env.conf->lmtp_hdr_delivery_address;
    /* Nothing that tells one copy from another: they can be one file. */
    bool is_anonymous = strcmp(how, "none") == 0;
    char date[64], ip[ADDR_TEXT_OCTETS] = "";
    time_t t = (time_t)clock_unix_s();
    struct tm tm;

    localtime_r(&t, &tm);
    if (strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S %z", &tm) == 0)
        date[0] = '\0';
    if (!s->is_local)
        addr_ip_text(&s->peer, ip);
    buf_addf(b, "Return-Path: <%.*s>\r\n", SL_ARG(sender));
    if (!is_anonymous)
        buf_addf(b, "Delivered-To: %.*s\r\n", SL_ARG(sl_eqz(sl_z(how), "original") ? to : r->user));
    buf_addf(b,
             "Received: from %s%s%s%s\r\n\tby %s with LMTP\r\n\tid %s.%u\r\n\t(envelope-from "
             "<%.*s>)\r\n",
             s->helo, ip[0] ? " ([" : "", ip, ip[0] ? "])" : "", s->limits.myhostname, s->id,
             s->n_messages, SL_ARG(sender));
    if (is_anonymous)
        buf_addf(b, "\t; %s\r\n", date);
    else
        buf_addf(b, "\tfor <%.*s>; %s\r\n", SL_ARG(to), date);
}

static void
answer_all(struct lmtpd_sess *s)
{
    for (const struct lmtpd_rcpt *r = s->tx->first; r; r = r->next)
        smtp_reply(&s->smtp, "%s", r->reply);
    smtp_sess_forgive(&s->smtp);
    lmtpd_tx_free(s);
    smtp_sess_done(&s->smtp, true);
}

static void
on_place(uint64_t id, const char *mailbox)
{
    struct lmtpd_rcpt *r = id_get(id);

    if (r != NULL)
        r->placed = arena_dup(&r->s->tx->mem, sl_z(mailbox));
}

static void
on_delivered(uint64_t id, int rc, const struct err *e)
{
    struct lmtpd_rcpt *r = id_get(id);
    struct lmtpd_sess *s;

    if (r == NULL)
        return; /* the client has gone; what was written stays, and it will come again */
    id_del(id);
    s = r->s;
    r->id = 0;
    r->is_saved = rc == 0;
    if (rc == 0) {
        snprintf(r->reply, sizeof(r->reply), "250 2.0.0 <%.*s> %s Saved", SL_ARG(r->given), s->id);
        log_info(
            "lmtp.saved",
            LOG_F(LF_S("user", r->user), LF_Z("ident", s->ident), LF_N("size", s->tx->size_octets)),
            "lmtp(%.*s)<%d><%s>: saved mail to %.*s", SL_ARG(r->user), (int)getpid(), s->id,
            SL_ARG(r->placed));
    } else {
        bool is_over = !err_is_full(e) && e->kind == ERR_LIMIT;
        const char *code = err_is_full(e)                        ? "452 4.3.1"
                           : !is_over                            ? "451 4.3.0"
                           : e->sys == EMSGSIZE                  ? "552 5.2.3" /* for ever */
                           : lmtpd_env.conf->quota_full_tempfail ? "452 4.2.2"
                                                                 : "552 5.2.2";
        const char *text = err_is_full(e) ? "Out of disk space"
                           : is_over      ? e->msg /* quota_exceeded_message */
                                          : "Temporary internal error";

        snprintf(r->reply, sizeof(r->reply), "%s <%.*s> %s", code, SL_ARG(r->given), text);
        log_event(is_over ? LOG_LV_INFO : LOG_LV_ERROR, NULL, "lmtp.failed",
                  LOG_F(LF_S("user", r->user), LF_Z("why", e->msg)),
                  "lmtp(%.*s)<%d><%s>: save failed to %.*s: %s", SL_ARG(r->user), (int)getpid(),
                  s->id, SL_ARG(r->placed.n > 0 ? r->placed : SL("INBOX")), e->msg);
    }
    if (--s->tx->n_open == 0)
        answer_all(s);
}

/* Recipient i of the message called ident: the first has its name, the others one of their own. */
static struct slice
ident_of(struct lmtpd_sess *s, size_t i)
{
    if (s->ident[0] == '\0')
        return SL("");
    if (i == 0)
        return sl_z(s->ident);
    return sl_z(arena_printf(&s->tx->mem, "%s.%zu", s->ident, i));
}

static void
deliver_all(struct lmtpd_sess *s)
{
    const struct conf *c = lmtpd_env.conf;
    size_t i = 0;

    s->smtp.where = "END-OF-MESSAGE";
    s->n_messages++;
    s->tx->n_open = s->tx->n_rcpts;
    for (struct lmtpd_rcpt *r = s->tx->first, *next; r; r = next) {
        struct buf trace = { 0 };
        struct deliver_rcpt to = { .user = r->user,
                                   .db = r->db,
                                   .mailbox = SL("INBOX"),
                                   .or_inbox = true,
                                   .no_create = !c->lda_mailbox_autocreate,
                                   .must_subscribe = c->lda_mailbox_autosubscribe,
                                   .ident = ident_of(s, i++),
                                   .may_be_repeat = s->may_be_repeat,
                                   .on_place = on_place };

        if (c->lmtp_save_to_detail_mailbox && r->detail.n > 0)
            to.mailbox = r->detail;
        next = r->next;
        trace_lines(s, r, &trace);
        to.prepend = buf_slice(&trace);
        r->id = id_add(r);
        deliver(s->tx->msg, &to, on_delivered, r->id);
        buf_free(&trace);
    }
}

void
lmtpd_body_end(struct smtp_sess *smtp)
{
    deliver_all(lmtpd_of(smtp));
}

/* ---- DATA, BDAT ---- */

static const char *
not_ready(const struct lmtpd_sess *s)
{
    if (s->tx == NULL)
        return "503 5.5.1 MAIL needed first";
    return s->tx->n_rcpts == 0 ? "554 5.5.1 No valid recipients" : NULL;
}

void
lmtpd_cmd_data(struct smtp_sess *smtp, const struct smtp_words *w)
{
    struct lmtpd_sess *s = lmtpd_of(smtp);
    const char *why = not_ready(s);

    if (w->n != 1)
        why = "501 5.5.4 Invalid parameters";
    else if (why == NULL && s->tx->in_bdat)
        why = "503 5.5.1 DATA after BDAT";
    if (why) {
        lmtpd_refuse(s, why);
        return;
    }
    start_content(s);
    smtp_reply(smtp, "354 OK");
    s->smtp.where = "DATA";
    smtp_sess_read_data(smtp);
}

void
lmtpd_cmd_bdat(struct smtp_sess *smtp, const struct smtp_words *w)
{
    struct lmtpd_sess *s = lmtpd_of(smtp);
    bool is_last = w->n == 3;
    uint64_t n = 0;

    if (w->n < 2 || w->n > 3 || !sl_to_u64(w->w[1].s, &n) || n > INT64_MAX ||
        (is_last && !sl_ieq(w->w[2].s, SL("LAST")))) {
        lmtpd_refuse(s, "521 5.5.4 Invalid BDAT");
        return;
    }
    s->chunk_octets = n;
    s->skip_chunk = not_ready(s) != NULL;
    if (s->skip_chunk) {
        smtp_sess_skip_chunk(smtp, n);
        return;
    }
    s->tx->bdat_last = is_last;
    if (!s->tx->in_bdat)
        start_content(s);
    s->tx->in_bdat = true;
    smtp_sess_read_chunk(smtp, n);
}

void
lmtpd_chunk_end(struct smtp_sess *smtp)
{
    struct lmtpd_sess *s = lmtpd_of(smtp);

    if (s->skip_chunk) {
        lmtpd_refuse(s, not_ready(s));
    } else if (s->tx->bdat_last) {
        smtp_sess_finish_chunks(smtp);
        deliver_all(s);
    } else {
        smtp_reply(smtp, "250 2.0.0 Added %llu octets", (unsigned long long)s->chunk_octets);
        smtp_sess_done(smtp, true);
    }
}
