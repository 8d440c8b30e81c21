/* queue/limits.h - how many deliveries a destination gets at once: what main.cf allows each transport, and what successes
 * and failures make of it (Postfix's SCHEDULER_README). Layer: queue. Pure but for limits_reload(). */
#ifndef POSTERN_QUEUE_LIMITS_H
#define POSTERN_QUEUE_LIMITS_H

#include "conf/conf.h"

enum limits_kind {
    LIMITS_SMTP,
    LIMITS_RELAY,
    LIMITS_LMTP,
    LIMITS_LOCAL, /* commands and files: each is a destination */
    LIMITS_KINDS
};

/* "1", "1/8", "1/concurrency", "1/sqrt_concurrency" */
struct feedback {
    double number;
    enum { FEEDBACK_CONSTANT, FEEDBACK_BY_CONCURRENCY, FEEDBACK_BY_SQRT } by;
};

struct limits {
    unsigned concurrency; /* 0: none */
    unsigned initial, recipients;
    unsigned failed_cohorts; /* 0: a destination is never dead */
    struct feedback more, less;
    uint64_t rate_delay_ms; /* not 0: one delivery at a time, and a pause after it */
};

/* A destination's concurrency. */
struct window {
    unsigned n;
    double success, failure; /* parts of a step up or down */
    double failed_cohorts;
};

bool feedback_parse(struct slice in, struct feedback *out);
/* Of the configuration last given to limits_reload(). */
const struct limits *limits_of(enum limits_kind kind);
void limits_reload(const struct conf *c);

void window_init(struct window *w, const struct limits *l);
/* The limits have changed. */
void window_fit(struct window *w, const struct limits *l);
/* A delivery worked: the host could be talked to. busy: deliveries under way, this one among them. */
void window_worked(struct window *w, const struct limits *l, unsigned busy);
/* The host could not be reached. True: it is dead, and w is as new. */
bool window_failed(struct window *w, const struct limits *l);

#endif
