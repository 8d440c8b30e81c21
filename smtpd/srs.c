/* smtpd/srs.c - see srs.h. */
#include "smtpd/srs.h"

#include "auth/srs.h"

struct srs_question { /* in the command's memory */
    srs_fn *cb;
    void *arg;
};

static void
on_verdict(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct srs_question *q = arg;
    enum srs_verdict v = SRS_NOT_OURS;

    (void)ext;
    if (f == FOUND_TEMP)
        v = SRS_UNKNOWN;
    else if (f == FOUND_YES)
        v = sl_take_prefix(&value, SL("valid ")) ? SRS_STANDS : SRS_TOO_OLD;
    q->cb(s, q->arg, v, value);
}

void
srs_ask(struct smtpd_sess *s, struct slice addr, srs_fn *cb, void *arg)
{
    struct srs_question *q;

    if (!srs_is(addr)) {
        cb(s, arg, SRS_NOT_OURS, SL(""));
        return;
    }
    q = ARENA_NEW(&s->smtp.cmd, struct srs_question);
    if (q == NULL) {
        cb(s, arg, SRS_UNKNOWN, SL(""));
        return;
    }
    *q = (struct srs_question){ .cb = cb, .arg = arg };
    find_key(s, "srs_verdict", addr, on_verdict, q);
}
