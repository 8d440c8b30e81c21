/* queue/qdb_clock.c - see qdb_clock.h. */
#include "queue/qdb_clock.h"

#include "base/clock.h"

enum { US_PER_S = 1000000, US_PER_MS = 1000 };

void
qdb_clock_start(struct qdb_clock *c, int64_t saved_us, int64_t saved_wall_us)
{
    int64_t wall_us = clock_unix_us(), away_us = wall_us - saved_wall_us,
            most_us = (int64_t)QDB_CLOCK_AWAY_MAX_S * US_PER_S;

    if (saved_us <= 0)
        c->base_us = wall_us;
    else
        c->base_us = saved_us + (away_us < 0 ? 0 : away_us > most_us ? most_us : away_us);
    c->base_mono_ms = clock_mono_ms();
}

int64_t
qdb_clock_us(const struct qdb_clock *c)
{
    return c->base_us + (int64_t)(clock_mono_ms() - c->base_mono_ms) * US_PER_MS;
}

int64_t
qdb_clock_wall_ahead_s(const struct qdb_clock *c)
{
    return (clock_unix_us() - qdb_clock_us(c)) / US_PER_S;
}
