/* queue/outcome.c - the line that tells what became of a recipient, with Postfix's fields in Postfix's order: programs that
 * count mail read it. */
#include "queue/qmgr_int.h"

#include "base/clock.h"
#include "base/log.h"
#include "proto/smtp_addr.h"

#include <stdio.h>

enum { ORIG_OCTETS = 512, USE_OCTETS = 32, US_PER_S = 1000000 };

const char *
outcome_seconds(int64_t us, char out[OUTCOME_SECONDS_OCTETS])
{
    int64_t step = us < US_PER_S ? US_PER_S / 100 : us < 10 * US_PER_S ? US_PER_S / 10 : US_PER_S;
    int64_t v = us > 0 ? (us + step / 2) / step * step : 0;
    size_t n =
        (size_t)snprintf(out, OUTCOME_SECONDS_OCTETS, "%lld.%02lld", (long long)(v / US_PER_S),
                         (long long)(v % US_PER_S / (US_PER_S / 100)));

    while (out[n - 1] == '0')
        n--;
    n -= out[n - 1] == '.';
    out[n] = '\0';
    return out;
}

void
outcome_log(const struct qrcpt *r, const char *mailer, const struct outcome *o)
{
    const struct qmsg *m = r->m;
    int64_t now = clock_unix_us(), begun = o->begun_us > 0 ? o->begun_us : now;
    char total[OUTCOME_SECONDS_OCTETS], a[OUTCOME_SECONDS_OCTETS], b[OUTCOME_SECONDS_OCTETS],
        c[OUTCOME_SECONDS_OCTETS], d[OUTCOME_SECONDS_OCTETS], orig[ORIG_OCTETS] = "",
                                                              use[USE_OCTETS] = "";
    struct arena mem = { 0 }; /* quoted, an address cannot look like other fields */
    struct slice to = smtp_addr_quote(r->addr, &mem);

    if (!sl_eq(r->r->orig, r->addr) && r->r->orig.n > 0 && r->r->orig.n < sizeof orig - 16)
        snprintf(orig, sizeof orig, "orig_to=<%.*s>, ", SL_ARG(smtp_addr_quote(r->r->orig, &mem)));
    if (o->conn_use > 1)
        snprintf(use, sizeof use, ", conn_use=%u", o->conn_use);
    log_event(
        LOG_LV_INFO, qmgr_ident(mailer), "delivery",
        LOG_F(LF_Z("id", m->env.id), LF_S("to", r->addr), LF_S("relay", o->relay),
              LF_S("dsn", o->dsn), LF_Z("status", o->status)),
        "%s: to=<%.*s>, %srelay=%.*s%s, delay=%s, delays=%s/%s/%s/%s, dsn=%.*s, status=%s (%.*s)",
        m->env.id, SL_ARG(to), orig, SL_ARG(o->relay), use,
        outcome_seconds(now - m->arrived_us, total),
        outcome_seconds(m->active_us - m->arrived_us, a), outcome_seconds(begun - m->active_us, b),
        outcome_seconds(o->conn_us, c), outcome_seconds(o->xfer_us, d), SL_ARG(o->dsn), o->status,
        SL_ARG(o->text));
    arena_free(&mem);
}
