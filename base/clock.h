/* base/clock.h - the two clocks; a test may put its own in. Layer: base. */
#ifndef POSTERN_BASE_CLOCK_H
#define POSTERN_BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_mono_ms(void); /* never jumps; deadlines */
int64_t clock_unix_s(void);   /* wall clock; dates */
int64_t clock_unix_us(void);  /* wall clock in microseconds */

/* For tests: from now on the clocks stand at these values (mono_ms 0 and unix_us 0: real again). */
void clock_fake(uint64_t mono_ms, int64_t unix_us);

#endif
