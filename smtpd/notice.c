/* smtpd/notice.c - a message of the server's own to postmaster. One that cannot be delivered stays in the queue on hold. It has a session without a connection, so that the
 * recipient goes through the same tables as everybody's. */
#include "smtpd/account.h"

#include "smtpd/expand.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "mime/mime.h"

#include <stdlib.h>

enum { NOTICES_MAX = 100 /* under way; more are only logged */ };

struct notice {
    struct smtpd_sess s; /* first; no conn */
    struct buf text;
    char *to;
    char id[QUEUE_ID_OCTETS];
};
static size_t n_notices;

static void
notice_free(struct notice *n)
{
    smtpd_tx_free(&n->s);
    id_del(n->s.smtp.id);
    arena_free(&n->s.smtp.cmd);
    smtpd_cfg_unref(&n->s.cfg);
    buf_free(&n->text);
    free(n->s.name);
    free(n->s.namaddr);
    free(n->to);
    free(n);
    n_notices--;
}

static void
failed(struct notice *n, const char *why)
{
    log_event(LOG_LV_WARN, n->s.cfg->cleanup_ident, "notice.failed", LOG_F(LF_Z("why", why)),
              "postmaster could not be told: %s", why);
    notice_free(n);
}

static void
on_commit(uint64_t id, int rc, const struct err *e)
{
    struct smtp_sess *smtp = id_get(id);
    struct notice *n;

    if (smtp == NULL)
        return;
    n = CONTAINER_OF(smtp, struct notice, s.smtp);
    if (rc)
        failed(n, e->msg);
    else
        notice_free(n);
}

static void
on_expanded(struct smtpd_sess *s, enum expand_rc rc, const struct queue_rcpt *rcpts, size_t n_rcpts)
{
    struct notice *n = CONTAINER_OF(s, struct notice, s);
    struct queue_env env = { .rcpts = rcpts, .n_rcpts = n_rcpts };
    struct queue_put *put;

    if (rc != EXPAND_OK || n_rcpts == 0) {
        failed(n, "the alias of postmaster cannot be followed");
        return;
    }
    memcpy(env.id, s->tx->id, sizeof(env.id));
    env.sender = sl_z(arena_printf(&s->tx->mem, "%s@%s", s->cfg->conf->double_bounce_sender,
                                   s->cfg->conf->myhostname));
    env.client_name = SL("localhost");
    env.client_ip = SL("127.0.0.1");
    env.protocol = SL("ESMTP");
    put = queue_put_new(smtpd_env.queue);
    queue_put_write(put, buf_slice(&n->text));
    queue_put_commit(put, &env, on_commit, s->smtp.id);
}

/* Lines end CRLF; what is no printable ASCII becomes '?'. */
static void
add_lines(struct buf *b, struct slice text)
{
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];

        if (c == '\n')
            buf_addz(b, "\r\n");
        else
            buf_addc(b, c >= ' ' && c < 127 ? (char)c : '?');
    }
}

static void
make_text(struct notice *n, const char *subject, struct slice text)
{
    const struct conf *c = n->s.cfg->conf;
    const char *id = n->s.tx->id;
    int64_t now = clock_unix_s();
    char date[MIME_DATE_OCTETS];
    struct buf *b = &n->text;

    mime_format_date(now, mime_local_tz_minutes(now), date);
    buf_addf(b, "Received: by %s (%s)\r\n\tid %s; %s\r\nDate: %s\r\n", c->myhostname, c->mail_name,
             id, date, date);
    buf_addf(b, "From: Postern <MAILER-DAEMON@%s>\r\nTo: %s\r\nSubject: ", c->myhostname, n->to);
    add_lines(b, sl_z(subject));
    buf_addf(b,
             "\r\nMessage-Id: <%s@%s>\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n",
             id, c->myhostname);
    buf_addz(b, "Content-Type: text/plain; charset=us-ascii\r\n\r\n");
    add_lines(b, text);
    log_event(LOG_LV_INFO, n->s.cfg->cleanup_ident, "msg.id", LOG_F(LF_Z("qid", id)),
              "%s: message-id=<%s@%s>", id, id, c->myhostname);
}

static bool
begin_tx(struct notice *n)
{
    struct smtpd_tx *tx = MEM_NEW(struct smtpd_tx);
    struct smtpd_rcpt *to;

    n->s.tx = tx;
    tx->mem.cap = SMTPD_TX_ARENA_OCTETS;
    tx->end = &tx->first;
    tx->began_unix_s = clock_unix_s();
    tx->sender.given = SL("");
    to = ARENA_NEW(&tx->mem, struct smtpd_rcpt);
    if (to == NULL || queue_id_new(smtpd_env.queue, tx->id))
        return false;
    to->addr = sl_z(n->to);
    to->orcpt = sl_z(arena_printf(&tx->mem, "rfc822;%s", n->to));
    to->notify = SMTP_NOTIFY_NEVER;
    tx->first = to;
    tx->end = &to->next;
    tx->n_rcpts = 1;
    return true;
}

void
notice_send(struct smtpd_cfg *cfg, const char *subject, struct slice text)
{
    notice_send_to(cfg, "postmaster", subject, text);
}

void
notice_send_to(struct smtpd_cfg *cfg, const char *to, const char *subject, struct slice text)
{
    struct notice *n;

    if (n_notices >= NOTICES_MAX) {
        log_event(LOG_LV_WARN, cfg->cleanup_ident, "notice.failed", LOG_NONE,
                  "postmaster could not be told (%s): too many notices are under way", subject);
        return;
    }
    n_notices++;
    n = MEM_NEW(struct notice);
    n->to = mem_dupz(to);
    n->s.cfg = smtpd_cfg_ref(cfg);
    n->s.smtp.lim = &cfg->limits;
    n->s.smtp.where = "NOTICE";
    n->s.smtp.cmd.cap = SMTP_CMD_ARENA_OCTETS;
    n->s.smtp.id = id_add(&n->s.smtp);
    n->s.name = mem_dupz("localhost");
    n->s.namaddr = mem_dupz("localhost[127.0.0.1]");
    if (!begin_tx(n)) {
        failed(n, "the queue has granted no id");
        return;
    }
    make_text(n, subject, text);
    expand_recipients(&n->s, on_expanded);
}
