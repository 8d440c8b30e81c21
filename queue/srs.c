/* queue/srs.c - mail that our aliases lead to other hosts leaves with a sender of ours (auth/srs.h): there, the sender's own
 * domain would not vouch for us (RFC 7208). authd says which; what it said for one recipient holds for the others of the
 * message. Only MAIL FROM changes: whom we have to tell something is told at the address that the message came with. */
#include "queue/qmgr_int.h"

#include "base/log.h"
#include "base/mem.h"
#include "proto/smtp_addr.h"

#include <stdlib.h>

enum {
    KNOWN_MAX = 64,            /* of one message */
    MAIL_FROM_OCTETS_MAX = 254 /* RFC 5321 §4.5.3.1.3, without the brackets */
};

struct srs_known {
    const struct srs_known *next;
    struct slice sender, forwarded;
    const char *mail_from; /* NULL: as it is */
};

struct srs_ask {
    uint64_t id;
    struct qrcpt *r;
    void (*then)(void *arg, bool is_known);
    void *arg;
};

/* The domain of the address that was forwarded. */
static struct slice
forwarded(const struct qrcpt *r)
{
    size_t at = sl_rfind_char(r->r->orig, '@');

    return at == SL_NPOS ? SL("") : sl_from(r->r->orig, at + 1);
}

bool
srs_is_for(const struct qrcpt *r, const struct route *route)
{
    return qm.conf->srs_enable && r->r->is_forwarded && route->kind == ROUTE_RELAY &&
           !route->is_lmtp_inet && !r->m->is_probe && qrcpt_sender(r).n > 0;
}

static const struct srs_known *
recall(const struct qrcpt *r)
{
    for (const struct srs_known *k = r->m->srs; k; k = k->next)
        if (sl_eq(k->sender, qrcpt_sender(r)) && sl_ieq(k->forwarded, forwarded(r)))
            return k;
    return NULL;
}

/* Room in the message's memory has run out, or the address would be too long: the mail goes on as it came. */
static const char *
keep_text(struct qrcpt *r, struct slice mail_from)
{
    struct qmsg *m = r->m;
    struct slice sender = qrcpt_sender(r);
    const char *z;

    if (mail_from.n == 0)
        return NULL;
    if (mail_from.n > MAIL_FROM_OCTETS_MAX) {
        log_warn("queue.srs_long", LOG_F(LF_Z("id", m->env.id), LF_S("from", sender)),
                 "%s: from=<%.*s> is too long to be rewritten for forwarding", m->env.id,
                 SL_ARG(smtp_addr_quote(sender, &m->arena)));
        return NULL;
    }
    z = arena_printf(&m->arena, "%.*s", SL_ARG(mail_from));
    if (z)
        log_info("queue.srs",
                 LOG_F(LF_Z("id", m->env.id), LF_S("from", sender), LF_S("srs", mail_from)),
                 "%s: from=<%.*s> is forwarded as <%.*s>", m->env.id,
                 SL_ARG(smtp_addr_quote(sender, &m->arena)),
                 SL_ARG(smtp_addr_quote(mail_from, &m->arena)));
    return z;
}

static void
learn(struct qrcpt *r, struct slice mail_from)
{
    struct qmsg *m = r->m;
    struct srs_known *k = m->n_srs < KNOWN_MAX ? ARENA_NEW(&m->arena, struct srs_known) : NULL;

    r->mail_from = keep_text(r, mail_from);
    if (k == NULL)
        return;
    *k = (struct srs_known){ .next = m->srs,
                             .sender = qrcpt_sender(r),
                             .forwarded = forwarded(r),
                             .mail_from = r->mail_from };
    m->srs = k;
    m->n_srs++;
}

static void
on_answer(uint64_t id, enum lookup_rc rc, struct slice value)
{
    struct srs_ask *a = id_get(id);
    const struct srs_known *k;

    if (a == NULL)
        return;
    id_del(id);
    k = recall(a->r); /* by now another recipient's answer may have come */
    if (rc == LOOKUP_TEMP)
        log_warn("queue.srs_trouble", LOG_F(LF_Z("id", a->r->m->env.id)),
                 "%s: the sender cannot be rewritten for forwarding: table lookup problem",
                 a->r->m->env.id);
    else if (k)
        a->r->mail_from = k->mail_from;
    else
        learn(a->r, rc == LOOKUP_FOUND ? value : SL(""));
    a->then(a->arg, rc != LOOKUP_TEMP);
    free(a);
}

void
srs_find(struct qrcpt *r, void (*then)(void *arg, bool is_known), void *arg)
{
    const struct srs_known *k = recall(r);
    struct srs_ask *a;
    struct buf key = { 0 };

    if (k) {
        r->mail_from = k->mail_from;
        then(arg, true);
        return;
    }
    a = MEM_NEW(struct srs_ask);
    *a = (struct srs_ask){ .id = id_add(a), .r = r, .then = then, .arg = arg };
    if (forwarded(r).n > 0)
        buf_addf(&key, "@%.*s ", SL_ARG(forwarded(r)));
    buf_adds(&key, qrcpt_sender(r));
    lookup_ask(qm.lookup, "srs_forward", buf_slice(&key), on_answer, a->id);
    buf_free(&key);
}
