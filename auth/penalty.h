/* auth/penalty.h - what wrong passwords cost whoever sent them: time. Failures are counted by network (/24, /56) and by user,
 * for all workers and protocols together, and forgotten one by one. Of each of them the answer is late, the later the more
 * there were; the right password is not:
 *   - while a network has a free place, a log-in is checked at once. A wrong one takes a place until it has been told, even
 *     when the client does not wait for that, so that many connections guess no faster than a few;
 *   - when it has none left, a log-in waits for one, but never longer than PENALTY_WAIT_MAX_MS, and is checked then;
 *   - who has logged in as this user from this network before waits for nothing, unless wrong passwords for this user came
 *     from there too (PENALTY_KNOWN_FAILURES); if it was from this address, only such of this address count.
 * The same wrong password of the same user, sent again, counts once: a mail program with an old password is no attack.
 * Bounded: PENALTY_RECORDS_MAX of each kind, the one longest untouched goes first. In memory only.
 * Layer: auth; on the loop; the clock is the caller's. */
#ifndef POSTERN_AUTH_PENALTY_H
#define POSTERN_AUTH_PENALTY_H

#include "base/slice.h"
#include "core/addr.h"

enum {
    PENALTY_WAIT_MAX_MS = 3000, /* no log-in waits longer for being checked */
    /* No answer is later than that, or than auth_failure_delay: a Postfix that asks goes away after ten seconds, of which
     * PENALTY_WAIT_MAX_MS may have gone before. */
    PENALTY_LATE_MAX_MS = 6000,
    PENALTY_LATE_DOUBLINGS = 3,
    PENALTY_PLACES = 8,       /* wrong answers of a network that are held at a time ... */
    PENALTY_WAITING_MAX = 24, /* ... and log-ins that wait for one of these places */
    PENALTY_SCORE_MAX = 10, /* more failures are not counted: all is forgotten in that many steps */
    PENALTY_FORGET_DELAYS = 15, /* one failure is forgotten in so many auth_failure_delay */
    PENALTY_FORGET_MS = 30000,  /* the same when that is 0 */
    PENALTY_KNOWN_FAILURES = 4,
    PENALTY_SEEN = 16, /* wrong passwords that are known again */
    PENALTY_RECORDS_MAX = 16384
};

struct penalty;
struct penalty *penalty_new(void);
void penalty_free(struct penalty **p);
/* auth_failure_delay: the first step of the delays, and the scale of forgetting. 0: nothing is delayed. */
void penalty_set_delay(struct penalty *p, uint64_t base_ms);

struct penalty_who {
    const struct addr *remote;
    bool is_by_user;   /* webmail on this host, a trusted proxy: their address is everybody's */
    struct slice user; /* canonical; may be nobody's name */
};
/* Whose turn a password takes before the processors (auth/hash_queue.h): less is better. */
enum penalty_rank {
    PENALTY_KNOWN,   /* has logged in from there */
    PENALTY_CLEAN,   /* no failures of that network */
    PENALTY_SUSPECT, /* failures */
    PENALTY_RANKS
};
struct penalty_verdict {
    enum penalty_rank rank;
    uint64_t wait_ms; /* before the password is looked at; at most PENALTY_WAIT_MAX_MS */
    bool is_refused;  /* too many of that network wait already: try later, unchecked */
};
struct penalty_verdict penalty_ask(struct penalty *p, const struct penalty_who *w, uint64_t now_ms);
/* Somebody begins (+1) or ends (-1) to wait as told. */
void penalty_waits(struct penalty *p, const struct penalty_who *w, int by);

/* Wrong. password: what tells this failure from another of this user (n 0: nothing does, it counts). Returns how late the
 * answer is to be, ms from now. */
uint64_t penalty_failed(struct penalty *p, const struct penalty_who *w, struct slice password,
                        uint64_t now_ms);
/* Right: the failures of this user from this network are taken back, nobody else's. */
void penalty_succeeded(struct penalty *p, const struct penalty_who *w, uint64_t now_ms);

/* How late a failure would be told now, without counting one; for tests. */
uint64_t penalty_delay_ms(struct penalty *p, const struct penalty_who *w, uint64_t now_ms);
size_t penalty_size(const struct penalty *p); /* records of all kinds */

#endif
