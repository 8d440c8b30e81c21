/* queue/qdb_clock.h - the queue's own clock, by which messages grow old. It goes on with the machine's monotonic clock, so
 * that a wall clock that jumps expires nothing; time in which qmgr did not run counts for QDB_CLOCK_AWAY_MAX_S at most, for
 * nothing was tried then. It starts as the wall clock of the day on which the database was made, in microseconds.
 * Layer: queue. Reentrant; the struct does not change while qmgr runs. */
#ifndef POSTERN_QUEUE_QDB_CLOCK_H
#define POSTERN_QUEUE_QDB_CLOCK_H

#include <stdint.h>

enum { QDB_CLOCK_AWAY_MAX_S = 24 * 60 * 60, QDB_CLOCK_JUMP_MIN_S = 60 };

struct qdb_clock {
    int64_t base_us;
    uint64_t base_mono_ms;
};

/* saved_us and saved_wall_us: what the two clocks said when that was last written down; 0: never. */
void qdb_clock_start(struct qdb_clock *c, int64_t saved_us, int64_t saved_wall_us);
int64_t qdb_clock_us(const struct qdb_clock *c);
/* How far the wall clock is ahead of the queue's, in seconds. A difference to what it was means that it was set. */
int64_t qdb_clock_wall_ahead_s(const struct qdb_clock *c);

#endif
