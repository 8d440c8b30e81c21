/* queue/limits.c - see limits.h. */
#include "queue/limits.h"

#include "base/log.h"

static struct limits table[LIMITS_KINDS];

/* ---- main.cf ---- */

static bool
take_number(struct slice s, double *v)
{
    uint64_t whole = 0, part = 0;
    size_t at = sl_find_char(s, '.');
    struct slice head = at == SL_NPOS ? s : sl_head(s, at);
    struct slice tail = at == SL_NPOS ? SL("") : sl_from(s, at + 1);
    double scale = 1;

    if ((head.n == 0 && tail.n == 0) || head.n > 9 || tail.n > 9 ||
        (head.n > 0 && !sl_to_u64(head, &whole)) || (tail.n > 0 && !sl_to_u64(tail, &part)))
        return false;
    for (size_t i = 0; i < tail.n; i++)
        scale *= 10;
    *v = (double)whole + (double)part / scale;
    return true;
}

bool
feedback_parse(struct slice in, struct feedback *out)
{
    struct slice first, word;
    double v;

    *out = (struct feedback){ .by = FEEDBACK_CONSTANT };
    if (!sl_take_until(&in, '/', &first)) {
        first = in;
        in = SL("");
    }
    if (!take_number(sl_trim(first), &out->number))
        return false;
    if (in.n == 0)
        return out->number <= 1;
    word = sl_trim(in);
    if (sl_eqz(word, "concurrency"))
        out->by = FEEDBACK_BY_CONCURRENCY;
    else if (sl_eqz(word, "sqrt_concurrency"))
        out->by = FEEDBACK_BY_SQRT;
    else if (take_number(word, &v) && v > 0)
        out->number /= v;
    else
        return false;
    return out->number <= 1;
}

static struct feedback
feedback_of(const char *name, const char *value)
{
    struct feedback f;

    if (feedback_parse(sl_z(value), &f))
        return f;
    log_error("conf.feedback", LOG_F(LF_Z("name", name)),
              "%s = %s: not a number up to 1, or one /concurrency or /sqrt_concurrency: 1 is used",
              name, value);
    return (struct feedback){ .number = 1, .by = FEEDBACK_CONSTANT };
}

#define FEEDBACK(c, name) feedback_of(#name, (c)->name)
#define LIMITS(c, t)                                                                               \
    (struct limits)                                                                                \
    {                                                                                              \
        .concurrency = (unsigned)(c)->t##_destination_concurrency_limit,                           \
        .initial = (unsigned)(c)->t##_initial_destination_concurrency,                             \
        .recipients = (unsigned)(c)->t##_destination_recipient_limit,                              \
        .failed_cohorts = (unsigned)(c)->t##_destination_concurrency_failed_cohort_limit,          \
        .more = FEEDBACK(c, t##_destination_concurrency_positive_feedback),                        \
        .less = FEEDBACK(c, t##_destination_concurrency_negative_feedback),                        \
        .rate_delay_ms = (uint64_t)(c)->t##_destination_rate_delay                                 \
    }

void
limits_reload(const struct conf *c)
{
    table[LIMITS_SMTP] = LIMITS(c, smtp);
    table[LIMITS_RELAY] = LIMITS(c, relay);
    table[LIMITS_LMTP] = LIMITS(c, lmtp);
    table[LIMITS_LOCAL] =
        (struct limits){ .concurrency = (unsigned)c->local_destination_concurrency_limit };
    for (size_t i = 0; i < LIMITS_KINDS; i++)
        if (table[i].rate_delay_ms > 0)
            table[i].concurrency = 1;
}

const struct limits *
limits_of(enum limits_kind kind)
{
    return &table[kind];
}

/* ---- windows ---- */

/* Rounded up: it is a step's length. */
static unsigned
root(unsigned n)
{
    unsigned r = 1;

    while (r * r < n && r < UINT16_MAX)
        r++;
    return r;
}

static double
step(const struct feedback *f, unsigned n)
{
    switch (f->by) {
    case FEEDBACK_BY_CONCURRENCY:
        return f->number / n;
    case FEEDBACK_BY_SQRT:
        return f->number / root(n);
    default:
        return f->number;
    }
}

void
window_fit(struct window *w, const struct limits *l)
{
    if (l->concurrency > 0 && w->n > l->concurrency)
        w->n = l->concurrency;
}

void
window_init(struct window *w, const struct limits *l)
{
    *w = (struct window){ .n = l->initial };
    window_fit(w, l);
}

/* One more after as many successes as make up 1: at their end. Only a destination that is near its limit earns more. */
void
window_worked(struct window *w, const struct limits *l, unsigned busy)
{
    double f = step(&l->more, w->n);

    w->failed_cohorts = 0;
    if ((l->concurrency > 0 && w->n >= l->concurrency) || w->n >= busy + l->initial)
        return;
    w->success += f;
    if (w->success + f / 2 < 1)
        return;
    w->n++;
    w->success -= 1;
    w->failure = 0;
}

/* One less at the beginning of as many failures as make up 1, and never none: the cohorts say when a host is dead. */
bool
window_failed(struct window *w, const struct limits *l)
{
    double f = step(&l->less, w->n);

    w->failed_cohorts += 1.0 / w->n;
    if (l->failed_cohorts > 0 && w->failed_cohorts >= l->failed_cohorts) {
        window_init(w, l);
        return true;
    }
    w->failure -= f;
    if (w->failure + f / 2 < 0) {
        w->n -= w->n > 1;
        w->failure += 1;
        w->success = 0;
    }
    return false;
}
