/* lmtp/lmtpd_session.c - a session's beginning and end. */
#include "lmtp/lmtpd.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "core/daemon.h"

#include <stdlib.h>

enum { HARD_ERRORS = 20, IDLE_MS = 10 * 60 * 1000 };

struct lmtpd_env lmtpd_env;
static struct list sessions = { &sessions, &sessions };
static size_t n_sessions;

void
lmtpd_tx_free(struct lmtpd_sess *s)
{
    struct lmtpd_tx *tx = s->tx;

    s->tx = NULL;
    s->asking = NULL;
    if (tx == NULL)
        return;
    for (struct lmtpd_rcpt *r = tx->first; r; r = r->next)
        if (r->id)
            id_del(r->id);
    if (tx->msg)
        deliver_msg_free(&tx->msg);
    arena_free(&tx->mem);
    free(tx);
    s->ident[0] = '\0';
    s->may_be_repeat = false;
}

void
lmtpd_accept(int fd, const struct addr *peer)
{
    struct lmtpd_sess *s = MEM_NEW(struct lmtpd_sess);

    s->conf = conf_ref(lmtpd_env.conf);
    s->peer = *peer;
    s->is_local = addr_family(peer) == AF_UNIX || addr_family(peer) == AF_UNSPEC;
    s->limits = (struct smtp_server_limits){
        .myhostname = s->conf->myhostname,
        .line_octets = (size_t)s->conf->line_length_limit,
        .soft_errors = UINT32_MAX,
        .hard_errors = HARD_ERRORS,
        .junk_commands = UINT32_MAX,
        .timeout_ms = IDLE_MS,
    };
    rand_hex(s->id, 16);
    list_push_back(&sessions, &s->link);
    n_sessions++;
    daemon_session_count(1);
    smtp_sess_open(&s->smtp, &lmtpd_def, &s->limits, fd);
    smtp_reply(&s->smtp, "220 %s Dovecot ready.", s->limits.myhostname);
    smtp_sess_done(&s->smtp, true);
}

void
lmtpd_closed(struct smtp_sess *smtp, enum conn_end end, const struct err *why)
{
    struct lmtpd_sess *s = lmtpd_of(smtp);

    (void)why;
    if (end != CONN_END_OWN && s->tx)
        log_info("lmtp.lost", LOG_NONE, "lmtp: Disconnect in %s", smtp->where);
    lmtpd_tx_free(s);
    smtp_sess_free(smtp);
    list_remove(&s->link);
    n_sessions--;
    daemon_session_count(-1);
    free(s->helo);
    conf_unref(&s->conf);
    free(s);
}

size_t
lmtpd_sessions(void)
{
    return n_sessions;
}

void
lmtpd_drain_all(void)
{
    LIST_EACH(it, nxt, &sessions)
    smtp_sess_drain(&CONTAINER_OF(it, struct lmtpd_sess, link)->smtp);
}
