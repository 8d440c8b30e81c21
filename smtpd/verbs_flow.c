/* smtpd/verbs_flow.c - restriction verbs that change how the others end, or when. */
#include "smtpd/check.h"

#include "base/mem.h"

#include <stdlib.h>

enum { SLEEP_MAX_S = 300 /* as long as a client may be silent by default */ };

void
verb_defer_if_permit(struct check *c)
{
    check_defer_if_permit(c, 450, "4.7.0", "<%.*s>: %s rejected: defer_if_permit requested",
                          SL_ARG(check_reply_name(c)), c->reply_class);
}

void
verb_defer_if_reject(struct check *c)
{
    check_defer_if_reject(c, 450, "4.7.0", "<%.*s>: %s rejected: defer_if_reject requested",
                          SL_ARG(check_reply_name(c)), c->reply_class);
}

/* ---- sleep ---- */

struct sleeper {
    struct timer timer;
    uint64_t sess;
};

static void
wake(void *arg)
{
    struct sleeper *z = arg;
    struct smtp_sess *s = id_get(z->sess); /* NULL: it is gone meanwhile */

    free(z);
    if (s)
        check_done(smtpd_of(s)->check, VERDICT_DUNNO);
}

void
verb_sleep(struct check *c)
{
    struct sleeper *z = MEM_NEW(struct sleeper);
    uint64_t seconds = 0;

    (void)sl_to_u64(sl_z(c->arg), &seconds);
    z->sess = c->s->smtp.id;
    timer_start(&z->timer, (seconds < SLEEP_MAX_S ? seconds : SLEEP_MAX_S) * 1000, wake, z);
}
