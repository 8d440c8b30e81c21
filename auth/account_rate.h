/* auth/account_rate.h - how many messages and recipients an account has submitted in this hour and this day, for all
 * workers together. An hour (a day) begins with the first message after the last one is over. Counts outlive a restart:
 * they are written to a small database of authd's own a few seconds after they change, so that a crash forgets that much and
 * no more. Bounded: ACCOUNT_RATE_MAX accounts; those with nothing in the last day go first.
 * Layer: auth; on the loop, but for the new and free. */
#ifndef POSTERN_AUTH_ACCOUNT_RATE_H
#define POSTERN_AUTH_ACCOUNT_RATE_H

#include "base/slice.h"
#include "conf/conf.h"

enum {
    ACCOUNT_RATE_MAX = 100000,
    ACCOUNT_NAME_OCTETS =
        320, /* of a longer name the rest does not count: two such share their counts */
    ACCOUNT_SAVE_MS = 3000 /* from the first change to its being written */
};

struct account_rate;
/* path: of the database, made when absent. One that cannot be used is a warning: counts are in memory then. Blocks. */
struct account_rate *account_rate_new(const char *path);
void account_rate_free(struct account_rate **a); /* writes what is not written yet; NULL-safe */
void account_rate_set_limits(struct account_rate *a, const struct conf *c);

struct account_verdict {
    const char
        *limit; /* "message_limit_hour", ...: the first that this message exceeds; NULL: none */
    uint64_t max, count;
    bool tell; /* it is the account's first excess of the day: tell postmaster */
};
/* Count a message to so many recipients at now_unix_s. False: the table is full, nothing was counted. */
bool account_rate_count(struct account_rate *a, struct slice account, uint64_t recipients,
                        int64_t now_unix_s, struct account_verdict *out);
size_t account_rate_size(const struct account_rate *a);

#endif
