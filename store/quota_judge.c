/* store/quota_judge.c - see quota.h: does it fit, and is a warning due? */
#include "store/quota_int.h"

#include <errno.h>

static bool
crosses(int64_t was, int64_t now, int64_t at)
{
    return at > 0 && was < at && now >= at;
}

const struct quota_warning *
quota_warning_due(const struct quota_rules *r, const struct quota_usage *was,
                  const struct quota_usage *now)
{
    const struct quota_warning *w;

    for (size_t i = 0; (w = quota_rules_warning(r, i)) != NULL; i++)
        if (w->is_below ? crosses(now->octets, was->octets, w->at.octets) ||
                              crosses(now->messages, was->messages, w->at.messages)
                        : crosses(was->octets, now->octets, w->at.octets) ||
                              crosses(was->messages, now->messages, w->at.messages))
            return w;
    return NULL;
}

/* grace: what may be beyond the limit when there was room before. */
static bool
fits(int64_t used, int64_t more, int64_t limit, int64_t grace, bool must_have_room)
{
    if (limit == 0)
        return true;
    if (must_have_room && used >= limit)
        return false;
    if (more == 0)
        return true;
    if (used >= limit)
        return false;
    return more <= limit - used + grace;
}

int
quota_judge(const struct quota_rules *r, const struct quota_usage *u, const struct quota_limit *at,
            int64_t octets, int64_t messages, int64_t max_octets, unsigned flags, struct err *e)
{
    int64_t grace = flags & QUOTA_GRACE ? quota_rules_grace(r) : 0;
    int64_t domain_grace = flags & QUOTA_GRACE && quota_rules_user(r).octets == 0 ? 0 : grace;
    bool now = flags & QUOTA_NOW;

    if (!quota_rules_enforce(r))
        return 0;
    if (quota_rules_max_mail(r) > 0 && max_octets > quota_rules_max_mail(r)) {
        err_set(e, ERR_LIMIT,
                "Mail size is larger than the maximum size allowed by server configuration");
        if (e)
            e->sys = EMSGSIZE; /* whatever room there is */
        return -1;
    }
    if (fits(u->octets, octets, at->octets, grace, now) &&
        fits(u->messages, messages, at->messages, 0, now) &&
        fits(u->domain_octets, octets, u->domain_limit.octets, domain_grace, now) &&
        fits(u->domain_messages, messages, u->domain_limit.messages, 0, now))
        return 0;
    return err_set(e, ERR_LIMIT, "%s", quota_rules_exceeded_message(r));
}
