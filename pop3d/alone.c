/* pop3d/alone.c - who may have a session now. RFC 1939 §4 wants one session a user at a time; Dovecot's default, and so ours,
 * is that there may be several, since each has its own view. */
#include "pop3d/pop3d.h"

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"

#include <unistd.h>

enum { LOCK_EVERY_MS = 500, LOCK_TRIES = 20, DELAY_USERS_MAX = 100 * 1000 };

/* ---- pop3_lock_session ---- */

void
pop3_lock_drop(struct pop3_sess *s)
{
    timer_stop(&s->lock_timer);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    s->lock_fd = -1;
}

static enum work_rc
run_lock(struct work_job *j)
{
    struct pop3_sess *s = pop3_of_job(j);

    if (!s->store && store_user_open(pop3d.store, sl_z(s->user),
                                     &(struct store_userdb){ sl_z(s->mail), sl_z(s->quota) },
                                     &s->store, &s->err) != 0)
        return WORK_DONE;
    if (store_pop3_lock(s->store, &s->lock_fd, &s->err) >= 0)
        s->err.kind = ERR_NONE;
    return WORK_DONE;
}

static void
on_again(void *arg)
{
    struct pop3_sess *s = arg;

    if (s->state == POP3_WAITING)
        pop3_begin(s);
}

static void
done_lock(struct work_job *j)
{
    struct pop3_sess *s = pop3_of_job(j);

    if (s->err.kind != ERR_NONE)
        pop3_log_err(s, "pop3_lock_session");
    if (!pop3_job_back(s))
        return;
    if (s->err.kind != ERR_NONE) {
        pop3_say(s, SL("-ERR [SYS/TEMP] Failed to create POP3 session lock.\r\n"));
        pop3_end(s, "Couldn't lock POP3 session");
    } else if (s->lock_fd >= 0) {
        pop3_box_open(s);
    } else if (++s->lock_tries < LOCK_TRIES) {
        timer_start(&s->lock_timer, LOCK_EVERY_MS, on_again, s);
    } else {
        pop3_say(s, SL("-ERR [IN-USE] Mailbox is locked by another POP3 session.\r\n"));
        pop3_end(s, "Couldn't lock POP3 session");
    }
}

void
pop3_begin(struct pop3_sess *s)
{
    if (s->conf->pop3_lock_session && s->lock_fd < 0)
        pop3_job(s, POP3_WAITING, run_lock, done_lock, NULL);
    else
        pop3_box_open(s);
}

/* ---- pop3_login_delay: RFC 2449 §6.5 ---- */

static struct map *last_logins; /* user -> monotonic ms in the pointer */

void
pop3_delay_forget(void)
{
    map_free(&last_logins, NULL);
}

/* Those whose time is over. Each user has an entry at most, and too many of them go altogether. */
static void
sweep(uint64_t now_ms, uint64_t delay_ms)
{
    struct map *kept = map_new();
    struct slice user;
    void *at;

    for (size_t it = 0; map_next(last_logins, &it, &user, &at);)
        if (now_ms - (uint64_t)(uintptr_t)at < delay_ms && map_count(kept) < DELAY_USERS_MAX / 2)
            map_set(kept, user, at);
    map_free(&last_logins, NULL);
    last_logins = kept;
}

bool
pop3_delay_admits(struct slice user, const struct conf *conf)
{
    uint64_t now_ms = clock_mono_ms(), delay_ms = (uint64_t)conf->pop3_login_delay;
    void *last;

    if (delay_ms == 0)
        return true;
    if (!last_logins)
        last_logins = map_new();
    last = map_get(last_logins, user);
    if (last && now_ms - (uint64_t)(uintptr_t)last < delay_ms)
        return false;
    if (map_count(last_logins) >= DELAY_USERS_MAX)
        sweep(now_ms, delay_ms);
    map_set(last_logins, user, (void *)(uintptr_t)(now_ms ? now_ms : 1));
    return true;
}
