/* base/rand.h - random octets from the kernel; aborts if there are none. Layer: base. */
#ifndef POSTERN_BASE_RAND_H
#define POSTERN_BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

void rand_octets(void *p, size_t n);
uint64_t rand_u64(void);
/* Even in [0, below). */
uint32_t rand_below(uint32_t below);
/* n hex digits and a NUL into out[n + 1]. */
void rand_hex(char *out, size_t n);

#endif
