/* queue/verify_rules.c - see verify_rules.h. */
#include "queue/verify_rules.h"

struct verify_judged
verify_judge(const struct verify_row *row, int64_t now_s, const struct verify_times *t)
{
    bool is_good = row && row->status == VERIFY_OK;
    bool is_quiet = row == NULL || now_s - row->probed_s > VERIFY_PROBE_TTL_S;
    int64_t age_s = row ? now_s - row->updated_s : 0;

    if (row == NULL)
        return (struct verify_judged){ .status = VERIFY_TODO, .needs_probe = true };
    if (is_quiet && age_s > (is_good ? t->good_expire_s : t->bad_expire_s))
        return (struct verify_judged){ .status = VERIFY_TODO,
                                       .needs_probe = true,
                                       .has_expired = true };
    return (struct verify_judged){
        .status = row->status,
        .needs_probe = is_quiet && age_s > (is_good ? t->good_refresh_s : t->bad_refresh_s),
    };
}

bool
verify_replaces(const struct verify_row *row, enum verify_status outcome, bool keeps_failures)
{
    if (outcome == VERIFY_OK)
        return true;
    return keeps_failures && (row == NULL || row->status != VERIFY_OK);
}
