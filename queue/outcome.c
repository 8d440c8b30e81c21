/* queue/outcome.c - the line that tells what became of a recipient, with Postfix's fields in Postfix's order: programs that
 * count mail read it. */
#include "queue/qmgr_int.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>

enum { SECONDS_OCTETS = 24, ORIG_OCTETS = 512 };

/* Postfix's figures: two significant digits, nothing below a hundredth. */
static const char *
seconds(int64_t us, char out[SECONDS_OCTETS])
{
    double s = us > 0 ? (double)us / 1000000 : 0;

    if (s < 0.01)
        return "0";
    snprintf(out, SECONDS_OCTETS, s >= 9.95 ? "%.0f" : s >= 0.995 ? "%.1f" : "%.2f", s);
    return out;
}

void
outcome_log(const struct qrcpt *r, const char *mailer, const struct outcome *o)
{
    const struct qmsg *m = r->m;
    int64_t now = clock_unix_us(), begun = o->begun_us > 0 ? o->begun_us : now;
    char total[SECONDS_OCTETS], a[SECONDS_OCTETS], b[SECONDS_OCTETS], c[SECONDS_OCTETS],
        d[SECONDS_OCTETS], orig[ORIG_OCTETS] = "";

    if (!sl_eq(r->r->orig, r->addr) && r->r->orig.n > 0 && r->r->orig.n < sizeof orig - 16)
        snprintf(orig, sizeof orig, "orig_to=<%.*s>, ", SL_ARG(r->r->orig));
    log_event(
        LOG_LV_INFO, qmgr_ident(mailer), "delivery",
        LOG_F(LF_Z("id", m->env.id), LF_S("to", r->addr), LF_S("relay", o->relay),
              LF_S("dsn", o->dsn), LF_Z("status", o->status)),
        "%s: to=<%.*s>, %srelay=%.*s, delay=%s, delays=%s/%s/%s/%s, dsn=%.*s, status=%s (%.*s)",
        m->env.id, SL_ARG(r->addr), orig, SL_ARG(o->relay), seconds(now - m->arrived_us, total),
        seconds(m->active_us - m->arrived_us, a), seconds(begun - m->active_us, b),
        seconds(o->conn_us, c), seconds(o->xfer_us, d), SL_ARG(o->dsn), o->status, SL_ARG(o->text));
}
