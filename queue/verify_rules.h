/* queue/verify_rules.h - when a verdict counts, when an address is probed again, and what a probe's end changes: the rules of
 * Postfix's verify(8). Pure. Layer: queue. */
#ifndef POSTERN_QUEUE_VERIFY_RULES_H
#define POSTERN_QUEUE_VERIFY_RULES_H

#include "queue/verify_db.h"

/* A probe whose end is not heard of for so long is taken for lost. */
enum { VERIFY_PROBE_TTL_S = 1000 };

/* address_verify_{positive,negative}_{refresh,expire}_time, in seconds. */
struct verify_times {
    int64_t good_refresh_s, good_expire_s, bad_refresh_s, bad_expire_s;
};

struct verify_judged {
    enum verify_status status;
    bool needs_probe;
    bool has_expired; /* the row is of no more use */
};
/* row NULL: nothing is known. */
struct verify_judged verify_judge(const struct verify_row *row, int64_t now_s,
                                  const struct verify_times *t);

/* Does a probe's outcome replace what is known (NULL: nothing)? A failure does not, while the address is known to be good:
 * it stays so until it expires, as long as some probes succeed. Failures are kept only with negative caching. */
bool verify_replaces(const struct verify_row *row, enum verify_status outcome, bool keeps_failures);

#endif
